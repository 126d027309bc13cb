"""What the metrics say of a process itself."""

from __future__ import annotations

from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version

from pipeline.metrics.catalogue import PACK_INFO, PROCESS_INFO
from pipeline.metrics.instruments import GaugeSource

# Digits of a model's SHA-256 that are shown: enough to tell two models apart.
SHOWN_DIGITS = 12


def process_gauges(role: str, stages: Iterable[str] = ()) -> GaugeSource:
    """The role of a process, and the stages that it serves."""
    reading = PROCESS_INFO.reading(1, role, ",".join(stages), service_version())
    return lambda: (reading,)


def pack_gauges(pack: str, recognition_model: str) -> GaugeSource:
    """The model pack of a process and the SHA-256 of its recognition model."""
    reading = PACK_INFO.reading(1, pack, recognition_model[:SHOWN_DIGITS])
    return lambda: (reading,)


def service_version() -> str:
    """The version of the installed package; empty for a bare checkout."""
    try:
        return version("faceline")
    except PackageNotFoundError:
        return ""
