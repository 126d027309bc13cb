"""The rules for identifiers that clients choose, in one place, and for showing their text."""

from __future__ import annotations

import re

UNPRINTABLE = r"\u0000-\u001f\u007f-\u009f\u2028\u2029"
"""Characters that no identifier has, as a class of a regular expression: controls, and
what ends a line."""

TEXT_END = r"(?![\s\S])"
"""The end of a text in a pattern of Python and ECMA 262. ``$`` also stands before a last
line feed in Python."""

# Characters that begin a line or move the cursor: controls, and marks of the direction of text.
# Joiners stay: emoji need them.
_MOVING = re.compile("[\x00-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069]")

_UNPRINTABLE = re.compile(f"[{UNPRINTABLE}\ud800-\udfff]")

MAX_COLLECTION_KEY_BYTES = 32
"""Bytes in UTF-8 of a collection's key, as its column holds them."""


def utf8_pattern(max_bytes: int, *, printable: bool = False) -> str:
    """A pattern (ECMA 262, Unicode) of texts with at most ``max_bytes`` bytes in UTF-8.

    JSON schema counts characters only. The pattern is exact for texts whose characters
    take equally many bytes (ASCII; Chinese; emoji), and refuses some mixed ones that are
    short enough: it never accepts a text that is too long.
    """
    if printable:
        classes = (
            r"[ -~]", r"[ -~\u00a0-\u07ff]", r"[ -~\u00a0-\u2027\u202a-\uffff]",
            f"[^{UNPRINTABLE}]",
        )
    else:
        classes = (r"[\u0001-\u007f]", r"[\u0001-\u07ff]", r"[\u0001-\uffff]", r"[^\u0000]")
    choices = (f"{each}{{0,{max_bytes // size}}}" for size, each in enumerate(classes, 1))
    return f"^(?:{'|'.join(choices)}){TEXT_END}"


def is_printable(text: str) -> bool:
    """Whether a text is Unicode without control characters: other texts are never looked
    up, since not every database takes them."""
    return _UNPRINTABLE.search(text) is None


def escape_controls(text: str) -> str:
    """``text``, from an untrusted source, so that it can forge no line of a terminal or log."""
    return _MOVING.sub(lambda found: ascii(found[0])[1:-1], text)


PATH_SYNTAX = (
    rf"[/\\]|%2[Ff]|%5[Cc]|^ *(?:\.|%2[Ee]){{1,2}} *{TEXT_END}"
)
"""What makes a text more than a name in the path of a URL, as a pattern of Python and ECMA
262: separators, and the dot segments, also percent-encoded. Clients, browsers and proxies
resolve them before the request arrives: the id ``../facesLib`` under ``/faces/image/`` is
another address."""

_PATH_SYNTAX = re.compile(PATH_SYNTAX)

PATH_NAME_RULE = "must not be . or .. or have a slash or a backslash: it stands in paths"


def is_path_name(text: str) -> bool:
    """Whether a new id can stand in the path of a URL and reach the server as it is, from any
    client. Ids that were given before this rule stay valid wherever they are named."""
    return is_printable(text) and _PATH_SYNTAX.search(text) is None


def is_collection_key(text: str) -> bool:
    """Whether a collection can have this key."""
    return is_printable(text) and 0 < len(text.encode()) <= MAX_COLLECTION_KEY_BYTES


COLLECTION_KEY_SCHEMA = {
    "maxLength": MAX_COLLECTION_KEY_BYTES, "x-maxBytes": MAX_COLLECTION_KEY_BYTES,
    "pattern": utf8_pattern(MAX_COLLECTION_KEY_BYTES, printable=True),
}
"""The limits of a collection's key, or of no key, as keywords of JSON schema."""
