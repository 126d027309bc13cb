"""File names: as printable text, and as the source of a person's name."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from typing import Literal

from pipeline.sources.base import About, ItemRefused, RefusalReason

Layout = Literal["auto", "flat", "person"]
"""Where a path has the person's name. ``person``: in the folder that holds the file;
``flat``: in the file name; ``auto``: in the folder if there is one, else in the file."""

MAX_NAME = 255  # characters of a person's name, as in the gallery
MAX_SOURCE_NAME = 1024  # characters of an item's name within its source

# Characters that control a terminal, change the reading direction or end a line. The
# backslash is among them so that two names never become one text.
UNPRINTABLE = re.compile(
    r"[\\\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)
ESCAPED = re.compile(r"\\x([0-9a-f]{2})|\\u([0-9a-f]{4})")
UNDECODED = re.compile(r"\\x[89a-f][0-9a-f]")
WINDOWS_DRIVE = re.compile(r"[A-Za-z]:")


def printable(name: str) -> str:
    """``name`` as text in which control characters and undecodable bytes (surrogates, as
    Python has them) are written ``\\xNN``. Different names stay different. A name that is
    too long ends in its hash."""
    text = UNPRINTABLE.sub(_escape, name)
    if len(text) <= MAX_SOURCE_NAME:
        return text
    digest = hashlib.sha256(text.encode()).hexdigest()[:16]
    return f"{text[: MAX_SOURCE_NAME - 20]}...~{digest}"


def from_printable(text: str) -> str:
    """The name that ``printable`` made ``text`` from, unless it was too long."""
    return ESCAPED.sub(lambda match: chr(int(match[1] or match[2], 16)), text)


def undecoded_bytes(text: str) -> bytes:
    """The bytes of the name that ``printable`` made ``text`` from, if some of them are not
    UTF-8; empty when all are."""
    if UNDECODED.search(text) is None:
        return b""
    parts = ESCAPED.split(text)  # the text before, and the two groups of each escape
    raw = bytearray(parts[0].encode())
    for byte, code, after in zip(parts[1::3], parts[2::3], parts[3::3], strict=True):
        raw += bytes.fromhex(byte) if byte else chr(int(code, 16)).encode("utf-8", "replace")
        raw += after.encode()
    return bytes(raw)


def _escape(match: re.Match[str]) -> str:
    number = ord(match[0])
    if 0xDC80 <= number <= 0xDCFF:
        number -= 0xDC00  # the byte that this surrogate stands for
    return f"\\x{number:02x}" if number < 0x100 else f"\\u{number:04x}"


def decode_name(raw: bytes, encoding: str | None = None) -> str:
    """A name from its bytes: as UTF-8, else as ``encoding``, else with surrogates."""
    for candidate in ("utf-8", encoding):
        if candidate:
            try:
                return raw.decode(candidate)
            except UnicodeDecodeError:
                continue
    return raw.decode("utf-8", "surrogateescape")


def inner_path(name: str) -> tuple[str, ...]:
    """The parts of a path inside an archive, a bucket or a manifest's folder.

    Raises ``ItemRefused`` for names that lead elsewhere on any system: absolute paths,
    drives, ``..``, NUL.
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
    """The person that a path names. Raises ``ItemRefused`` when it names none."""
    if layout == "person" and len(parts) < 2:
        raise ItemRefused(RefusalReason.NO_PERSON, "not in a person's folder")
    if layout == "flat" or len(parts) < 2:
        stem, _, ending = parts[-1].rpartition(".")
        name = stem or ending
    else:
        name = parts[-2]
    if len(person := _composed(name)) > MAX_NAME:
        raise ItemRefused(
            RefusalReason.UNSAFE_NAME, f"the person's name has more than {MAX_NAME} characters"
        )
    return About(name=person)


def person_name(text: str) -> str:
    """The name as the gallery keeps it: composed characters (NFC), no surrounding spaces."""
    return _composed(text)[:MAX_NAME]


def _composed(text: str) -> str:
    return unicodedata.normalize("NFC", printable(text)).strip()


class NameSet:
    """A set of names that keeps 8 bytes of hash for each. A million names need some 60 MB,
    and the chance that two of them collide is 1 in 30 million."""

    def __init__(self) -> None:
        self._hashes: set[int] = set()

    def __len__(self) -> int:
        return len(self._hashes)

    def add(self, name: str) -> bool:
        """Adds ``name``; whether it is new."""
        raw = name.encode("utf-8", "surrogatepass")
        short = int.from_bytes(hashlib.blake2b(raw, digest_size=8).digest())
        before = len(self._hashes)
        self._hashes.add(short)
        return len(self._hashes) > before
