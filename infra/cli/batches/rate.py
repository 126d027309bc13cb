"""How fast a long work goes, and how long it still takes."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

WINDOW_S = 30.0  # the rate is that of the last so many seconds

STEP_S = 0.5  # between two moments that are kept


@dataclass(slots=True)
class RateMeter:
    """Told every now and then how much is done. ``clock`` gives seconds."""

    clock: Callable[[], float] = time.monotonic
    _samples: deque[tuple[float, int]] = field(default_factory=deque)

    def record(self, done: int) -> None:
        """``done`` is all that is done by now; what was done at the first call was done
        before, and counts for no rate."""
        now = self.clock()
        moments = self._samples
        if len(moments) > 1 and now - moments[-2][0] < STEP_S:
            moments.pop()
        moments.append((now, done))
        while len(moments) > 2 and moments[1][0] <= now - WINDOW_S:
            moments.popleft()

    @property
    def rate(self) -> float:
        """Done a second, of late; 0 while nobody can tell."""
        if len(self._samples) < 2:
            return 0.0
        (began, before), (now, done) = self._samples[0], self._samples[-1]
        return max(done - before, 0) / (now - began) if now > began else 0.0

    def left_s(self, left: float) -> float | None:
        """Seconds that ``left`` more take; None while nobody can tell."""
        rate = self.rate
        return left / rate if rate > 0 else None


def format_duration(seconds: float) -> str:
    """``0:07``, ``12:30``, ``3:07:30``, ``2 d 3 h``."""
    whole = round(seconds)
    if whole >= 86400:
        return f"{whole // 86400} d {whole % 86400 // 3600} h"
    minutes, hours = whole // 60 % 60, whole // 3600
    if hours:
        return f"{hours}:{minutes:02}:{whole % 60:02}"
    return f"{minutes}:{whole % 60:02}"
