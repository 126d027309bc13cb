"""The resources of the analysis engine, without a worker."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Self

from pipeline.config.settings import Settings
from pipeline.media.pictures import PictureLimits
from pipeline.sandbox.sandbox import Sandbox, open_sandbox
from pipeline.sessions.base import Pack
from pipeline.stages.decode import DECODE_FUNCTION
from pipeline.stages.quality import quality_limits
from pipeline.types import QualityLimits


@dataclass(frozen=True, slots=True)
class AnalysisTools:
    """``analysis.engine.AnalysisResources`` with a pack that the deployment need not serve."""

    pack: Pack
    limits: PictureLimits
    quality_limits: QualityLimits
    sandbox: Sandbox | None = None

    @classmethod
    def of(cls, pack: Pack, settings: Settings, sandbox: Sandbox | None = None) -> Self:
        """With the limits of the settings."""
        return cls(
            pack, PictureLimits.from_settings(settings), quality_limits(settings), sandbox
        )


@contextmanager
def open_tools(pack: Pack, settings: Settings) -> Iterator[AnalysisTools]:
    """The tools with ``pack``; pictures are decoded in a sandbox of their own, if the settings
    want one."""
    sandbox = open_sandbox(settings, [DECODE_FUNCTION])
    try:
        yield AnalysisTools.of(pack, settings, sandbox)
    finally:
        if sandbox is not None:
            sandbox.close()
