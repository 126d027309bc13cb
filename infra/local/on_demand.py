"""A process of the embedded stack that runs only while there is work for it."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from infra.local.processes import ManagedCommand, Supervisor

# Seconds between two looks for work: a batch takes minutes.
CHECK_EVERY_S = 2.0


@dataclass(slots=True)
class OnDemand:
    """Starts ``command`` when ``wanted()``, and stops it when it has not been wanted for
    ``idle_s`` seconds (0: never). ``wanted`` gives None when it cannot say: all stays as it
    is."""

    supervisor: Supervisor
    command: ManagedCommand
    wanted: Callable[[], bool | None]
    idle_s: float
    clock: Callable[[], float] = time.monotonic
    _due: float = 0.0
    _idle_since: float | None = None

    def look(self) -> None:
        """Start or stop the process if it is time to look."""
        now = self.clock()
        if now < self._due:
            return
        self._due = now + CHECK_EVERY_S
        wanted = self.wanted()
        if wanted is None:
            return
        if wanted:
            self._idle_since = None
            if not self.supervisor.running(self.command.name):
                self.supervisor.start(self.command)
        elif self.supervisor.running(self.command.name):
            if self._idle_since is None:
                self._idle_since = now
            if 0 < self.idle_s <= now - self._idle_since:
                self.supervisor.end(self.command.name)
