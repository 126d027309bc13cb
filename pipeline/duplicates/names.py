"""Names as numbers that arrays can compare."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pipeline.batches.person_names import comparable_name, is_person_name

UNNAMED = 0
"""The number of every name that identifies no person."""

NameNumbers = NDArray[np.int64]
"""One number for each name, shape (count,), int64: equal for equal names, ``UNNAMED`` for
those that identify no person."""


def name_numbers(names: Sequence[str]) -> NameNumbers:
    """Names as numbers. Surrounding and repeated spaces and case make no difference. Two of
    a million names collide with a probability below 1e-7."""
    return np.fromiter((name_number(name) for name in names), np.int64, len(names))


def name_number(name: str) -> int:
    """The number of one name."""
    if not is_person_name(name):
        return UNNAMED
    digest = hashlib.blake2b(comparable_name(name).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big", signed=True) or 1
