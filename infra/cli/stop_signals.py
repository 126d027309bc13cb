"""Ends a long-running command on Ctrl-C and SIGTERM."""

from __future__ import annotations

import logging
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import FrameType


@dataclass(slots=True)
class StopRequest:
    """Whether the operator has asked the command to end. A second Ctrl-C ends it at once."""

    requested: threading.Event = field(default_factory=threading.Event)

    @contextmanager
    def handle_signals(self) -> Iterator[None]:
        """Within this context Ctrl-C, SIGTERM and the end of the terminal set
        ``requested``."""
        numbers = [signal.SIGINT, signal.SIGTERM]
        # `nohup` ignores SIGHUP, and it stays ignored.
        if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
            numbers.append(signal.SIGHUP)
        before = {number: signal.signal(number, self._handle) for number in numbers}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _handle(self, number: int, _frame: FrameType | None) -> None:
        if number == signal.SIGINT and self.requested.is_set():
            logging.disable()  # interrupted connections would log errors
            raise KeyboardInterrupt
        self.requested.set()
