"""What tar and zip archives have in common: limits, kinds, damage."""

from __future__ import annotations

import lzma
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pipeline.sources.base import Item, ItemRefused, RefusalReason, RefusedItem
from pipeline.sources.names import Layout, NameSet, inner_path, printable

# What an archive's libraries raise on bytes that are not as they should be.
DAMAGE = (
    OSError, EOFError, zlib.error, lzma.LZMAError, zipfile.BadZipFile, tarfile.TarError,
    NotImplementedError, ValueError, struct.error,
)


@dataclass(frozen=True, slots=True)
class ArchiveLimits:
    """What is read of one archive.

    ``max_bytes`` bounds all that its members hold; ``max_ratio`` what a compressed byte
    unpacks to, once ``ratio_floor`` bytes are unpacked: pictures hardly shrink, tiny
    members with their headers do, up to some 200 to 1 (gzip's own limit is 1,030).
    """

    max_members: int = 2_000_000
    max_bytes: int = 4 << 40
    max_ratio: int = 300
    ratio_floor: int = 512 << 20


@dataclass(frozen=True, slots=True)
class ArchiveOptions:
    """How an archive's paths are read: by ``layout``; names that are not UTF-8 are tried
    as ``encoding``, then kept with their bytes written out."""

    layout: Layout = "auto"
    encoding: str | None = None
    limits: ArchiveLimits = ArchiveLimits()


class ArchiveLimitExceeded(Exception):
    """The archive is read no further."""

    def __init__(self, reason: RefusalReason, detail: str) -> None:
        self.reason = reason
        self.detail = detail
        super().__init__(detail)


class MemberNames:
    """The members met so far: no more than the limit, no name twice."""

    def __init__(self, limits: ArchiveLimits) -> None:
        self._limits = limits
        self._seen = NameSet()
        self._count = 0

    @property
    def count(self) -> int:
        return self._count

    def count_member(self) -> None:
        """One more. Raises ``ArchiveLimitExceeded``."""
        self._count += 1
        if self._count > self._limits.max_members:
            raise ArchiveLimitExceeded(
                RefusalReason.TOO_MANY, f"more than {self._limits.max_members} members"
            )

    def path_of(self, name: str) -> tuple[str, ...]:
        """The parts of a member's path. Raises ``ItemRefused``."""
        parts = inner_path(name)
        if not self._seen.add("/".join(parts)):
            raise ItemRefused(RefusalReason.DUPLICATE_NAME, "an earlier member has this name")
        return parts


def check_unpacked(unpacked: int, packed: int, limits: ArchiveLimits) -> None:
    """Raises ``ArchiveLimitExceeded`` when ``packed`` bytes have unpacked to too many."""
    if unpacked > limits.max_bytes:
        raise ArchiveLimitExceeded(
            RefusalReason.BOMB, f"it unpacks to more than {limits.max_bytes} bytes"
        )
    if unpacked > limits.ratio_floor and unpacked > packed * limits.max_ratio:
        raise ArchiveLimitExceeded(
            RefusalReason.BOMB, f"{packed} bytes of it unpack to more than {unpacked}"
        )


def items_until_damage(
    path: Path, members: MemberNames, items: Iterator[Item | RefusedItem]
) -> Iterator[Item | RefusedItem]:
    """``items`` of the archive; where it is damaged or over its limits they end, and a
    refusal says so."""
    try:
        yield from items
    except ArchiveLimitExceeded as over:
        reason, detail = over.reason, over.detail
    except DAMAGE as error:
        reason, detail = RefusalReason.ARCHIVE_DAMAGED, str(error) or type(error).__name__
    else:
        return
    yield RefusedItem(printable(path.name), reason, f"after {members.count} members: {detail}")


@contextmanager
def refuse_damage() -> Iterator[None]:
    """Translate what the libraries raise while one member is read."""
    try:
        yield
    except DAMAGE as error:
        detail = str(error) or type(error).__name__
        raise ItemRefused(RefusalReason.ARCHIVE_DAMAGED, detail) from error


def archive_kind(start: bytes) -> str | None:
    """What archive begins with the 262 bytes ``start``; None when it is none."""
    if start[257:262] == b"ustar":
        return "tar"
    return next((name for magic, name in MAGIC if start.startswith(magic)), None)


MAGIC = (
    (b"PK\x03\x04", "zip"),
    (b"PK\x05\x06", "zip"),  # an empty one
    (b"\x1f\x8b", "gz"),
    (b"BZh", "bz2"),
    (b"\xfd7zXZ\x00", "xz"),
    (b"7z\xbc\xaf\x27\x1c", "7z"),
    (b"Rar!\x1a\x07", "rar"),
)
