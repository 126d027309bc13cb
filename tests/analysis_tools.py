"""The resources of the analysis engine, without a worker."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from pipeline.config.settings import Settings
from pipeline.media.pictures import PictureLimits
from pipeline.sandbox.sandbox import Sandbox, open_sandbox
from pipeline.sessions.base import Pack
from pipeline.stages import decode
from pipeline.stages.quality import quality_limits
from pipeline.types import QualityLimits


@dataclass(frozen=True, slots=True)
class AnalysisTools:
    """See ``analysis.engine.AnalysisResources``."""

    pack: Pack
    limits: PictureLimits
    quality_limits: QualityLimits
    sandbox: Sandbox | None = None


def analysis_tools(pack: Pack, settings: Settings, sandbox: Sandbox | None = None) -> AnalysisTools:
    limits = PictureLimits.from_settings(settings)
    return AnalysisTools(pack, limits, quality_limits(settings), sandbox)


@contextmanager
def sandboxed(pack: Pack, settings: Settings) -> Iterator[AnalysisTools]:
    """As ``analysis_tools``, with a sandbox that runs."""
    sandbox = open_sandbox(settings, [decode.DECODE_FUNCTION])
    assert sandbox is not None, "pictures are decoded without one here"
    with sandbox:
        yield analysis_tools(pack, settings, sandbox)
