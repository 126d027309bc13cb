"""The common base of tar and zip archives: opening, limits, member names, damage."""

from __future__ import annotations

import lzma
import struct
import tarfile
import zipfile
import zlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from pipeline.sources.base import Item, ItemRefused, RefusalReason, RefusedItem
from pipeline.sources.names import Layout, NameSet, about_from_path, inner_path, printable
from pipeline.sources.path_source import PathSource, open_file

# The exceptions of the standard library's archive modules on damaged bytes.
DAMAGE = (
    OSError, EOFError, zlib.error, lzma.LZMAError, zipfile.BadZipFile, tarfile.TarError,
    NotImplementedError, ValueError, struct.error,
)

# What the libraries' exceptions mean.
_WORDS: dict[type[BaseException], str] = {
    EOFError: "it is cut off",
    zlib.error: "its packed data is damaged",
    lzma.LZMAError: "its packed data is damaged",
    OSError: "its packed data is damaged or cannot be read",
    zipfile.BadZipFile: "its directory or a checksum is damaged",
    NotImplementedError: "it is packed in a way that is not taken",
}

MAGIC = (
    (b"PK\x03\x04", "zip"),
    (b"PK\x05\x06", "zip"),  # an empty archive
    (b"\x1f\x8b", "gz"),
    (b"BZh", "bz2"),
    (b"\xfd7zXZ\x00", "xz"),
    (b"7z\xbc\xaf\x27\x1c", "7z"),
    (b"Rar!\x1a\x07", "rar"),
)


def archive_kind(start: bytes) -> str | None:
    """The kind of archive that starts with the 262 bytes ``start``; None: not an archive."""
    if start[257:262] == b"ustar":
        return "tar"
    return next((name for magic, name in MAGIC if start.startswith(magic)), None)


@dataclass(frozen=True, slots=True)
class ArchiveLimits:
    """How much is read from one archive.

    ``max_bytes`` limits the unpacked size of all members. ``max_ratio`` limits how many
    bytes a packed byte unpacks to; it applies once ``ratio_floor`` bytes are unpacked,
    because small members with their headers reach 200 to 1. Pictures hardly compress, and
    gzip cannot exceed 1,030 to 1.
    """

    max_members: int = 2_000_000
    max_bytes: int = 4 << 40
    max_ratio: int = 300
    ratio_floor: int = 512 << 20


@dataclass(frozen=True, slots=True)
class ArchiveOptions:
    """``layout``: how a member's path names its person. ``encoding``: for member
    names that are not UTF-8; without it, undecodable bytes are kept in escaped form. ``name``:
    what damage is reported under, instead of the file's name."""

    layout: Layout = "auto"
    encoding: str | None = None
    limits: ArchiveLimits = ArchiveLimits()
    name: str = ""


class ArchiveLimitExceeded(ItemRefused):
    """The archive exceeds a limit and is read no further."""


class ArchiveUsage:
    """Counts the members and bytes of an archive and checks its limits. Methods raise
    ``ArchiveLimitExceeded``."""

    def __init__(self, limits: ArchiveLimits) -> None:
        self._limits = limits
        self._names = NameSet()
        self._unpacked = 0
        self.members = 0

    def count_member(self) -> None:
        self.members += 1
        if self.members > self._limits.max_members:
            raise ArchiveLimitExceeded(
                RefusalReason.TOO_MANY, f"more than {self._limits.max_members} members"
            )

    def member_path(self, name: str) -> tuple[str, ...]:
        """The parts of a member's path. Raises ``ItemRefused`` for unsafe and repeated names."""
        parts = inner_path(name)
        if not self._names.add("/".join(parts)):
            raise ItemRefused(RefusalReason.DUPLICATE_NAME, "an earlier member has this name")
        return parts

    def add_unpacked(self, size: int) -> None:
        self._unpacked += size

    def check_unpacked(self, packed: int) -> None:
        """Checks the bytes unpacked so far; they came from ``packed`` bytes."""
        limits = self._limits
        if self._unpacked > limits.max_bytes:
            raise ArchiveLimitExceeded(
                RefusalReason.BOMB, f"it unpacks to more than {limits.max_bytes} bytes"
            )
        if self._unpacked > max(limits.ratio_floor, packed * limits.max_ratio):
            raise ArchiveLimitExceeded(
                RefusalReason.BOMB, f"{packed} bytes of it unpack to more than {self._unpacked}"
            )


class ArchiveDamaged(EOFError):
    """The archive contradicts its format; the message says how, in words for the sender."""


class ArchiveSource(PathSource, ABC):
    """The members of an archive, in its order. Nothing is written to disk."""

    def __init__(self, path: Path, options: ArchiveOptions) -> None:
        super().__init__(path)
        self._options = options

    def items(self) -> Iterator[Item | RefusedItem]:
        """The members. Where the archive is damaged or exceeds a limit, the last item is a
        refusal that says so."""
        usage = ArchiveUsage(self._options.limits)
        try:
            with open_file(self._path) as file:
                yield from self._members(file, usage)
        except ArchiveLimitExceeded as error:
            reason, detail = error.reason, error.detail
        except DAMAGE as error:
            reason, detail = RefusalReason.ARCHIVE_DAMAGED, _words(error)
        else:
            return
        detail = f"after {usage.members} members: {detail}"
        name = self._options.name or printable(self._path.name)
        yield RefusedItem(name, reason, detail, ends_source=True)

    @abstractmethod
    def _members(self, file: BinaryIO, usage: ArchiveUsage) -> Iterator[Item | RefusedItem]:
        """The members of the open ``file``. Raises ``ArchiveLimitExceeded`` and ``DAMAGE``."""

    def _member(
        self, name: str, problem: ItemRefused | None, usage: ArchiveUsage,
        read: Callable[[int], bytes],
    ) -> Item | RefusedItem:
        """The item of one member; refused for its name, else for its ``problem``."""
        try:
            parts = usage.member_path(name)
            if problem is not None:
                raise problem
            about = about_from_path(parts, self._options.layout)
        except ItemRefused as refused:
            return refused.as_item(printable(name))
        return Item(printable("/".join(parts)), about, read)


@contextmanager
def refuse_damage() -> Iterator[None]:
    """Translates exceptions of the libraries while one member is read to ``ItemRefused``."""
    try:
        yield
    except DAMAGE as error:
        raise ItemRefused(RefusalReason.ARCHIVE_DAMAGED, _words(error)) from error


def _words(error: BaseException) -> str:
    """What is wrong, in our own words."""
    if isinstance(error, ArchiveDamaged):
        return str(error)
    known = (words for kind, words in _WORDS.items() if isinstance(error, kind))
    return next(known, "its structure is damaged")
