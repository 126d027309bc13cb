"""Runs the checks of ``faceline doctor`` beside each other."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from pipeline.config.settings import Settings
from pipeline.deployment.findings import Check, Verdict
from pipeline.errors import FaceError

# Seconds for which a subject that waits for another machine is awaited. With the start of the
# command, a report is there within five.
PATIENCE_S = 3.0


Subject = Callable[[Settings], Iterator[Check]]
"""The checks of one subject. A ``FaceError`` becomes a failed check of it."""


def look(subject: Subject, name: str, settings: Settings) -> Iterator[Check]:
    """The checks of a subject; the last one is its error, if it raises one."""
    try:
        yield from subject(settings)
    except FaceError as error:
        yield Check(name, Verdict.BAD, error.message)


@dataclass(slots=True)
class Asked:
    """A subject whose checks run in a thread, as they wait for another machine."""

    name: str
    subject: Subject
    advice: str
    found: list[Check] = field(default_factory=list)
    _ended: threading.Event = field(default_factory=threading.Event)
    _error: Exception | None = None

    def begin(self, settings: Settings) -> None:
        # A daemon: one that hangs does not keep the command from ending.
        threading.Thread(target=self._run, args=(settings,), daemon=True).start()

    def _run(self, settings: Settings) -> None:
        try:
            for check in look(self.subject, self.name, settings):
                self.found.append(check)
        except Exception as error:  # noqa: BLE001 - raised again by the caller
            self._error = error
        finally:
            self._ended.set()

    def result(self, until: float) -> Sequence[Check]:
        """The checks, at ``until`` (monotonic s) those that there are. Raises what the subject
        raises."""
        ended = self._ended.wait(max(until - time.monotonic(), 0.0))
        if self._error is not None:
            raise self._error
        if ended:
            return self.found
        late = f"no answer within {PATIENCE_S:g} s"
        return [*self.found, Check(self.name, Verdict.BAD, late, self.advice)]
