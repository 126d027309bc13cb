"""An enrolment as it was asked for."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from infra.cli.reports import check_target
from pipeline.batches.model import BatchOptions
from pipeline.config.settings import Settings
from pipeline.errors import InvalidParameter


@dataclass(frozen=True, slots=True)
class EnrolRequest:
    """An enrolment that is asked for. ``source``: as ``sources.open`` takes it, absolute."""

    settings: Settings
    source: str
    options: BatchOptions
    tenant: str | None = None
    create_collections: bool = False
    report_to: Path | None = None
    wait: bool = True
    json: bool = False

    def check(self) -> None:
        """What is asked wrongly is said now, not in an hour. Raises ``InvalidParameter``."""
        if self.report_to is not None:
            check_target(self.report_to)
            if not self.wait:
                raise InvalidParameter(
                    "--report writes what became of every item, and --no-wait does not wait for "
                    "that: write it later with `faceline batches report`"
                )
