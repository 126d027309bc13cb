"""Which names identify a person, and when two names are the same."""

from __future__ import annotations

import re

# Names that the service writes where a caller gives none: empty, ``ID0``, ``ID1``
# (document d), or the time as 17 digits (document a). Numbers from a source are names, for
# example of employees or of identities in a data set.
_GENERATED = re.compile(r"(ID\d+|\d{17})?")


def is_person_name(name: str) -> bool:
    """Whether the name identifies a person."""
    return _GENERATED.fullmatch(name.strip()) is None


def comparable_name(name: str) -> str:
    """A name without what makes no difference: case, surrounding and repeated spaces."""
    return " ".join(name.split()).casefold()
