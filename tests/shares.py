"""The uncertainty of a share that was counted."""

from __future__ import annotations

import math


def interval(count: int, of: int) -> tuple[float, float]:
    """The 95 % interval of the share ``count`` / ``of`` of independent trials, 0 to 1 (Wilson,
    1927); everything is possible without any trial."""
    if of == 0:
        return 0.0, 1.0
    z, share = 1.959964, count / of
    middle = share + z * z / (2 * of)
    half = z * math.sqrt(share * (1 - share) / of + z * z / (4 * of * of))
    scale = 1 + z * z / of
    return max((middle - half) / scale, 0.0), min((middle + half) / scale, 1.0)
