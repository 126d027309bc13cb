"""How an operator ends a command that runs for long."""

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
    """Whether the operator asked for the end; his second Ctrl-C does not wait."""

    requested: threading.Event = field(default_factory=threading.Event)

    @contextmanager
    def handle_signals(self) -> Iterator[None]:
        """While Ctrl-C, SIGTERM and the end of the terminal ask for the end."""
        numbers = [signal.SIGINT, signal.SIGTERM]
        # What `nohup` has switched off stays off.
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
            logging.disable()  # what is cut off now, as a connection, would log how
            raise KeyboardInterrupt
        self.requested.set()
