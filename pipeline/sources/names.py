"""Names of files: as text that can be kept and shown, and what they say of a person."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from typing import Literal

from pipeline.sources.base import About, ItemRefused, RefusalReason

Layout = Literal["auto", "flat", "person"]
"""Who is on a picture, by its path: ``person``: the folder it lies in has the person's
name; ``flat``: the file has; ``auto``: the folder where there is one, else the file."""

MAX_NAME = 255  # characters of a person's name, as the gallery keeps it
MAX_SOURCE_NAME = 1024  # characters of an item's name within its source

# What a terminal obeys, what turns the reading order, and what ends a line; a backslash,
# so that two names never become one text.
UNPRINTABLE = re.compile(
    r"[\\\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)
ESCAPED = re.compile(r"\\x([0-9a-f]{2})|\\u([0-9a-f]{4})")
WINDOWS_DRIVE = re.compile(r"[A-Za-z]:")


def printable(name: str) -> str:
    """``enrolled_name`` (undecodable bytes in it as surrogates, as Python names files) as text in
    which those bytes and control characters are written ``\\xNN``. Different names stay
    different; one that is too long ends in its hash."""
    text = UNPRINTABLE.sub(_escape, name)
    if len(text) <= MAX_SOURCE_NAME:
        return text
    digest = hashlib.sha256(text.encode()).hexdigest()[:16]
    return f"{text[: MAX_SOURCE_NAME - 20]}...~{digest}"


def from_printable(text: str) -> str:
    """The name that ``shown`` made ``text`` of, unless it was too long."""
    return ESCAPED.sub(lambda match: chr(int(match[1] or match[2], 16)), text)


def _escape(match: re.Match[str]) -> str:
    number = ord(match[0])
    if 0xDC80 <= number <= 0xDCFF:
        number -= 0xDC00  # the byte that this surrogate stands for
    return f"\\x{number:02x}" if number < 0x100 else f"\\u{number:04x}"


def decode_name(raw: bytes, encoding: str | None = None) -> str:
    """A name from bytes: UTF-8, else ``encoding``, else the bytes as surrogates."""
    for candidate in ("utf-8", encoding):
        if candidate:
            try:
                return raw.decode(candidate)
            except UnicodeDecodeError:
                continue
    return raw.decode("utf-8", "surrogateescape")


def inner_path(name: str) -> tuple[str, ...]:
    """The parts of a path inside an archive, a bucket or a manifest's folder.

    Raises ``ItemRefused`` for names that lead anywhere else on any system: absolute
    ones, with a drive, with ``..``, with NUL.
    """
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if name.startswith(("/", "\\")) or WINDOWS_DRIVE.match(name):
        raise ItemRefused(RefusalReason.UNSAFE_NAME, "an absolute path")
    if any(step == ".." for part in parts for step in part.split("\\")):
        raise ItemRefused(RefusalReason.UNSAFE_NAME, "a path with ..")
    if "\0" in name:
        raise ItemRefused(RefusalReason.UNSAFE_NAME, "a name with NUL")
    if not parts:
        raise ItemRefused(RefusalReason.UNSAFE_NAME, "no name")
    return tuple(parts)


def about_from_path(parts: tuple[str, ...], layout: Layout) -> About:
    """What a path says by its layout. Raises ``ItemRefused`` where it names nobody."""
    if layout == "person" and len(parts) < 2:
        raise ItemRefused(RefusalReason.NO_PERSON, "in no person's folder")
    if layout == "flat" or len(parts) < 2:
        stem, _, ending = parts[-1].rpartition(".")
        name = stem or ending
    else:
        name = parts[-2]
    return About(name=person_name(name))


def person_name(text: str) -> str:
    """The name as the gallery keeps it: composed characters, no spaces around it."""
    return unicodedata.normalize("NFC", printable(text)).strip()[:MAX_NAME]


class NameSet:
    """Which names came before, in 8 bytes of hash each: a million names take some 60 MB,
    and that two of them collide has a chance of 1 in 30 million."""

    def __init__(self) -> None:
        self._hashes: set[int] = set()

    def __len__(self) -> int:
        return len(self._hashes)

    def add(self, name: str) -> bool:
        """Note ``enrolled_name``; whether it is new."""
        raw = name.encode("utf-8", "surrogatepass")
        mark = int.from_bytes(hashlib.blake2b(raw, digest_size=8).digest())
        before = len(self._hashes)
        self._hashes.add(mark)
        return len(self._hashes) > before
