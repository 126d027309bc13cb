"""A zip archive, its members read one by one."""

from __future__ import annotations

import io
import os
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator
from functools import partial
from typing import IO, BinaryIO

from pipeline.sources.archives import (
    ArchiveDamaged,
    ArchiveSource,
    ArchiveUsage,
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
from pipeline.sources.names import decode_name
from pipeline.sources.safe_open import file_kind

# Bytes of one read, which limits the directory: zipfile reads it whole and needs some ten
# times its size in memory. The directory of a million members has some 100 MB.
MAX_DIRECTORY = 256 << 20

# Python's reader unpacks bzip2 and LZMA members without a limit.
SUPPORTED_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)

ENCRYPTED_BIT = 0x1
UTF8_BIT = 0x800

WINDOWS = (0, 10, 11, 14)  # systems of "version made by": FAT, NTFS (two numbers), VFAT

UNICODE_PATH = 0x7075  # an extra field: version, CRC-32 of the other name, the name in UTF-8

# How many bytes each packed byte of a member may unpack to, once the member exceeds
# RATIO_FLOOR bytes. Deflate cannot exceed 1,032; pictures stay far below 200.
MAX_MEMBER_RATIO = 200
RATIO_FLOOR = 1 << 20


class ZipSource(ArchiveSource):
    """The members of a zip, in the order of its directory. The position counts members.

    Names are read as UTF-8 where the archive says so or where they are valid UTF-8, else
    in the encoding of the options. A backslash separates folders, as .NET and other programs
    on Windows write it, in members from there and in an archive without a slash.
    """

    def _members(self, file: BinaryIO, usage: ArchiveUsage) -> Iterator[Item | RefusedItem]:
        size = os.fstat(file.fileno()).st_size
        raw: IO[bytes] = _BoundedFile(file.fileno(), closefd=False)
        with raw, zipfile.ZipFile(raw) as archive:
            members = archive.infolist()
            no_slashes = not any("/" in info.orig_filename for info in members)
            for number, info in enumerate(members):
                self._position = (number, len(members))
                usage.count_member()
                name = _name(info, self._options.encoding)
                if no_slashes or info.create_system in WINDOWS:
                    name = name.replace("\\", "/")
                if not name.endswith("/"):
                    read = partial(_read, archive, info, usage)
                    yield self._member(name, _problem(info), usage, read)
                # Members may share their bytes, so their own ratios do not limit the whole.
                usage.check_unpacked(packed=size)
            self._position = (len(members), len(members))


class _BoundedFile(io.FileIO):
    """A file that refuses reads of more than ``MAX_DIRECTORY`` bytes."""

    def read(self, size: int | None = -1, /) -> bytes:
        if size is not None and size > MAX_DIRECTORY:
            raise ArchiveDamaged(f"a directory of {size} bytes")
        return super().read(size) or b""


def _read(
    archive: zipfile.ZipFile, info: zipfile.ZipInfo, usage: ArchiveUsage, limit: int
) -> bytes:
    if info.file_size > limit:
        raise too_large(limit)
    # Counted before reading: a member that turns out to be damaged was unpacked, too.
    usage.add_unpacked(info.file_size)
    with refuse_damage(), archive.open(info) as member:
        return read_at_most(member, limit)


def _name(info: zipfile.ZipInfo, encoding: str | None) -> str:
    """The member's name from its bytes, which zipfile decodes as code page 437."""
    if info.flag_bits & UTF8_BIT:
        return info.orig_filename
    raw = info.orig_filename.encode("cp437", "replace")
    return _unicode_path(info.extra, raw) or decode_name(raw, encoding)


def _unicode_path(extra: bytes, raw: bytes) -> str:
    """The name in the extra field of WinRAR, 7-Zip and others, if it belongs to ``raw``."""
    while len(extra) >= 4:
        kind, size = struct.unpack_from("<HH", extra)
        field, extra = extra[4 : 4 + size], extra[4 + size :]
        if kind == UNICODE_PATH and field[:5] == struct.pack("<BL", 1, zlib.crc32(raw)):
            return decode_name(field[5:])
    return ""


def _problem(info: zipfile.ZipInfo) -> ItemRefused | None:
    """Why the member cannot be read as a file; None when it can."""
    mode = info.external_attr >> 16
    if stat.S_ISLNK(mode):
        return ItemRefused(RefusalReason.LINK, "links are not followed")
    if stat.S_IFMT(mode) not in (0, stat.S_IFREG):
        return ItemRefused(RefusalReason.NOT_A_FILE, file_kind(mode))
    if info.flag_bits & ENCRYPTED_BIT:
        return ItemRefused(RefusalReason.ENCRYPTED, "an encrypted member")
    if info.compress_type not in SUPPORTED_METHODS:
        return ItemRefused(RefusalReason.UNSUPPORTED, "neither stored nor deflated")
    if info.file_size > max(RATIO_FLOOR, info.compress_size * MAX_MEMBER_RATIO):
        return ItemRefused(
            RefusalReason.BOMB, f"{info.compress_size} bytes unpack to {info.file_size}"
        )
    return None
