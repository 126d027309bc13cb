"""What an identifier that clients choose may look like, in one place."""

from __future__ import annotations

import re

UNPRINTABLE = r"\u0000-\u001f\u007f-\u009f\u2028\u2029"
"""Characters that no identifier has, as a class of a regular expression: controls, and
what ends a line."""

_UNPRINTABLE = re.compile(f"[{UNPRINTABLE}\ud800-\udfff]")

MAX_COLLECTION_KEY_BYTES = 32
"""Bytes in UTF-8 of a collection's key, as its column holds them."""


def is_printable(text: str) -> bool:
    """Whether a text is Unicode without control characters: other texts are never looked
    up, since not every database takes them."""
    return _UNPRINTABLE.search(text) is None


def is_collection_key(text: str) -> bool:
    """Whether a collection can have this key."""
    return is_printable(text) and 0 < len(text.encode()) <= MAX_COLLECTION_KEY_BYTES
