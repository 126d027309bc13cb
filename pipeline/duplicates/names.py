"""Which names identify a person, and names as numbers that arrays can compare."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

UNNAMED = 0
"""The number of every name that identifies no person."""

# Names that the service writes where a caller gives none: empty, ``ID0``, ``ID1``
# (document d), or the time as 17 digits (document a). Numbers from a source are names, for
# example of employees or of identities in a data set.
_GENERATED = re.compile(r"(ID\d+|\d{17})?")

NameNumbers = NDArray[np.int64]
"""One number for each name, shape (count,), int64: equal for equal names, ``UNNAMED`` for
those that identify no person."""


def is_person_name(name: str) -> bool:
    """Whether the name identifies a person."""
    return _GENERATED.fullmatch(name.strip()) is None


def name_numbers(names: Sequence[str]) -> NameNumbers:
    """Names as numbers. Surrounding and repeated spaces and case make no difference. Two of
    a million names collide with a probability below 1e-7."""
    return np.fromiter((name_number(name) for name in names), np.int64, len(names))


def name_number(name: str) -> int:
    """The number of one name."""
    if not is_person_name(name):
        return UNNAMED
    text = " ".join(name.split()).casefold()
    digest = hashlib.blake2b(text.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big", signed=True) or 1
