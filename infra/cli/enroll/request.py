"""An enrolment as the operator asked for it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from infra.cli.reports import check_target
from pipeline.batches.model import BatchOptions
from pipeline.config.settings import Settings
from pipeline.errors import InvalidParameter
from pipeline.sources.base import PictureSource
from pipeline.sources.open import open_source


@dataclass(frozen=True, slots=True)
class EnrolRequest:
    """An enrolment as the operator asked for it. ``source``: as in ``sources.open``, with an
    absolute path."""

    settings: Settings
    source: str
    options: BatchOptions
    tenant: str | None = None
    create_collections: bool = False
    report_to: Path | None = None
    wait: bool = True
    json: bool = False

    def check(self) -> None:
        """Refuse a wrong request now instead of after an hour. Raises
        ``InvalidParameter``."""
        if self.report_to is not None:
            check_target(self.report_to)
            if not self.wait:
                raise InvalidParameter(
                    "--report writes the outcome of every item, and --no-wait does not wait for "
                    "it: write it later with `faceline batches report`"
                )

    def open_source(self, settings: Settings) -> PictureSource:
        """Raises ``InvalidParameter``."""
        asked = self.options
        return open_source(
            self.source, settings, layout=asked.layout, anywhere=asked.anywhere,
            encoding=asked.encoding, bucket=asked.bucket, take_litter=asked.take_litter,
        )
