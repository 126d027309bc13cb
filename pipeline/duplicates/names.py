"""Which names say who somebody is, and names as numbers that can be compared in arrays."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

UNNAMED = 0
"""The number of every name that says nothing."""

# What the service itself writes where a caller gives no name: nothing, ``ID0``, ``ID1``
# (document d), or the moment as 17 digits (document a). Numbers that a source gives are
# names: of employees, of identities in a data set.
_GENERATED = re.compile(r"(ID\d+|\d{17})?")

NameNumbers = NDArray[np.int64]
"""One number a name, shape (count,), int64; equal for equal names, ``UNNAMED`` for those
that say nothing."""


def is_person_name(name: str) -> bool:
    """Whether a face with this name has been given to somebody."""
    return _GENERATED.fullmatch(name.strip()) is None


def name_numbers(names: Sequence[str]) -> NameNumbers:
    """Names as numbers. Blanks around a name do not count, and neither does case: a
    million names meet by chance with a probability below 1e-7."""
    return np.fromiter((name_number(name) for name in names), np.int64, len(names))


def name_number(name: str) -> int:
    """The number of one name."""
    if not is_person_name(name):
        return UNNAMED
    text = " ".join(name.split()).casefold()
    digest = hashlib.blake2b(text.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big", signed=True) or 1
