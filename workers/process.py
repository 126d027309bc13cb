"""The runtime of this process: opened once, after the fork.

A worker of batches, which may have nothing to do for weeks, opens it at its first job.
"""

from __future__ import annotations

from pipeline.config import Settings
from pipeline.errors import ConfigurationError
from pipeline.plans import Stage
from workers.runtime import Runtime, open_runtime

_opened: list[Runtime] = []
_awaited: list[tuple[Settings, str]] = []


def start(settings: Settings, group: str) -> None:
    """Open it. Raises what ``open_runtime`` raises."""
    served = frozenset(Stage(stage) for stage in settings.served_stages)
    _opened[:] = [open_runtime(settings, group, served)]


def start_late(settings: Settings, group: str) -> None:
    """Open it when it is asked for."""
    _awaited[:] = [(settings, group)]


def runtime() -> Runtime:
    """Raises ``ConfigurationError`` in a process that is no worker, and what
    ``open_runtime`` raises when it is only opened now."""
    if not _opened and _awaited:
        start(*_awaited[0])
    if not _opened:
        raise ConfigurationError("this process was not started as a worker")
    return _opened[0]
