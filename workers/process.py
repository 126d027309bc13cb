"""The runtime of this process: opened once, after the fork."""

from __future__ import annotations

from pipeline.config import Settings
from pipeline.errors import ConfigurationError
from pipeline.plans import Stage
from workers.runtime import Runtime, open_runtime

_opened: list[Runtime] = []


def start(settings: Settings, group: str) -> None:
    """Open it. Raises what ``open_runtime`` raises."""
    served = frozenset(Stage(stage) for stage in settings.served_stages)
    _opened[:] = [open_runtime(settings, group, served)]


def runtime() -> Runtime:
    """Raises ``ConfigurationError`` in a process that is no worker."""
    if not _opened:
        raise ConfigurationError("this process was not started as a worker")
    return _opened[0]
