"""A zip archive, its members read one by one."""

from __future__ import annotations

import io
import stat
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import IO

from pipeline.errors import InvalidParameter
from pipeline.sources.archives import (
    ArchiveLimits,
    ArchiveOptions,
    MemberNames,
    check_unpacked,
    items_until_damage,
    refuse_damage,
)
from pipeline.sources.base import (
    Item,
    ItemRefused,
    RefusalReason,
    RefusedItem,
    read_at_most,
    too_large,
)
from pipeline.sources.names import about_from_path, decode_name, printable
from pipeline.sources.safe_open import file_kind

# Bytes read at once, which bounds the directory: it is read whole and takes some ten
# times as much in memory. A million members have some 100 MB.
MAX_DIRECTORY = 256 << 20

# bzip2 and LZMA members unpack without a bound in Python's reader.
SUPPORTED_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)

ENCRYPTED_BIT = 0x1
UTF8_BIT = 0x800
# What a member may unpack to for each of its bytes, once it has more than SMALL: deflate
# cannot exceed 1,032, a picture comes nowhere near.
MAX_MEMBER_RATIO = 200
RATIO_FLOOR = 1 << 20


class ZipSource:
    """The members of a zip, in the order of its directory; nothing is written to a disk.

    Its names are UTF-8 where it says so or where they can be, else in the encoding that
    the options name.
    """

    def __init__(self, path: Path, options: ArchiveOptions) -> None:
        self._path = path
        self._options = options
        self._position = (0, 0)

    @property
    def location(self) -> str:
        return printable(str(self._path))

    def position(self) -> tuple[int, int]:
        """Members."""
        return self._position

    def items(self) -> Iterator[Item | RefusedItem]:
        members = MemberNames(self._options.limits)
        return items_until_damage(self._path, members, self._opened_walk(members))

    def _opened_walk(self, members: MemberNames) -> Iterator[Item | RefusedItem]:
        with _open_zip(self._path) as archive:
            yield from self._walk(archive, members)

    def _walk(self, archive: zipfile.ZipFile, members: MemberNames) -> Iterator[Item | RefusedItem]:
        size = self._path.stat().st_size
        budget = _UnpackBudget(size, self._options.limits)
        found = archive.infolist()
        for number, info in enumerate(found):
            self._position = (number, len(found))
            members.count_member()
            if not info.is_dir():
                yield self._item(info, partial(_read, archive, info, budget), members)
            budget.check()
        self._position = (len(found), len(found))

    def _item(
        self, info: zipfile.ZipInfo, read: partial[bytes], members: MemberNames
    ) -> Item | RefusedItem:
        name = _name(info, self._options.encoding)
        try:
            parts = members.path_of(name)
            _check(info)
            about = about_from_path(parts, self._options.layout)
        except ItemRefused as refused:
            return RefusedItem(printable(name), refused.reason, refused.detail)
        return Item(printable("/".join(parts)), about, read)


class _UnpackBudget:
    """What the members read so far have unpacked to: members may share their bytes, so
    that their own ratios say nothing of the whole."""

    def __init__(self, packed: int, limits: ArchiveLimits) -> None:
        self._packed = packed
        self._limits = limits
        self._unpacked = 0

    def spend(self, size: int) -> None:
        self._unpacked += size

    def check(self) -> None:
        """Raises ``ArchiveLimitExceeded``."""
        check_unpacked(self._unpacked, self._packed, self._limits)


class _BoundedFile(io.FileIO):
    """A file of which nobody reads too much at once."""

    def read(self, size: int | None = -1, /) -> bytes:
        if size is not None and size > MAX_DIRECTORY:
            raise zipfile.BadZipFile(f"a directory of {size} bytes")
        return super().read(size) or b""


def _read(
    archive: zipfile.ZipFile, info: zipfile.ZipInfo, budget: _UnpackBudget, limit: int
) -> bytes:
    if info.file_size > limit:
        raise too_large(limit)
    # Before it is read: what turns out to be damaged was unpacked, too.
    budget.spend(info.file_size)
    with refuse_damage(), archive.open(info) as member:
        return read_at_most(member, limit)


def _name(info: zipfile.ZipInfo, encoding: str | None) -> str:
    """The member's name from its bytes, which zipfile takes for code page 437."""
    if info.flag_bits & UTF8_BIT:
        return info.orig_filename
    return decode_name(info.orig_filename.encode("cp437", "replace"), encoding)


def _check(info: zipfile.ZipInfo) -> None:
    mode = info.external_attr >> 16
    if stat.S_ISLNK(mode):
        raise ItemRefused(RefusalReason.LINK, "a link is not followed")
    if stat.S_IFMT(mode) not in (0, stat.S_IFREG):
        raise ItemRefused(RefusalReason.NOT_A_FILE, file_kind(mode))
    if info.flag_bits & ENCRYPTED_BIT:
        raise ItemRefused(RefusalReason.ENCRYPTED, "an encrypted member")
    if info.compress_type not in SUPPORTED_METHODS:
        raise ItemRefused(RefusalReason.UNSUPPORTED, "neither stored nor deflated")
    if info.file_size > RATIO_FLOOR and info.file_size > info.compress_size * MAX_MEMBER_RATIO:
        raise ItemRefused(
            RefusalReason.BOMB, f"{info.compress_size} bytes unpack to {info.file_size}"
        )


@contextmanager
def _open_zip(path: Path) -> Iterator[zipfile.ZipFile]:
    """Raises ``InvalidParameter`` where there is no such file, else what zipfile does."""
    try:
        raw: IO[bytes] = _BoundedFile(path)
    except OSError as error:
        raise InvalidParameter(f"{path} cannot be read: {error.strerror}") from error
    with raw, zipfile.ZipFile(raw) as archive:
        yield archive
