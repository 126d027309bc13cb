"""A tar archive, plain or compressed, whose members are read as a stream.

The headers are parsed here because tarfile's own iteration ends silently where an archive
is cut off between members, and reads extended headers of any size into memory.
"""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import tarfile
from collections.abc import Iterator
from typing import BinaryIO

from pipeline.sources.archives import (
    ArchiveDamaged,
    ArchiveSource,
    ArchiveUsage,
    archive_kind,
    refuse_damage,
)
from pipeline.sources.base import (
    BLOCK_BYTES,
    Item,
    ItemRefused,
    ReadableStream,
    RefusalReason,
    RefusedItem,
    too_large,
)
from pipeline.sources.names import decode_name

RECORD = tarfile.BLOCKSIZE
MAX_HEADER = 64 * 1024  # bytes of an extended header; a path has at most 4,096
REGULAR = (tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.CONTTYPE)
LINKS = (tarfile.SYMTYPE, tarfile.LNKTYPE)
EXTENDED = (tarfile.XHDTYPE, tarfile.SOLARIS_XHDTYPE)
LONG = (tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK)
HEADERS = (*EXTENDED, *LONG, tarfile.XGLTYPE)


class TarSource(ArchiveSource):
    """The members of a tar. The position is in bytes of the archive."""

    def _members(self, file: BinaryIO, usage: ArchiveUsage) -> Iterator[Item | RefusedItem]:
        stream = _UnpackedStream(file, usage)
        while (member := _next_member(stream, self._options.encoding)) is not None:
            self._position = stream.position()
            usage.count_member()
            body = _MemberBody(stream, member.size)
            if not member.isdir():
                yield self._member(member.name, _problem(member), usage, body.read)
            body.skip()
        self._position = stream.position()


class _UnpackedStream:
    """The archive's unpacked bytes, counted. Raises ``ArchiveLimitExceeded``, and
    ``EOFError`` where bytes are missing."""

    def __init__(self, file: BinaryIO, usage: ArchiveUsage) -> None:
        self._file = file
        self._stream = _decompressor(file)
        self._usage = usage
        self._size = os.fstat(file.fileno()).st_size

    def position(self) -> tuple[int, int]:
        return min(self._file.tell(), self._size), self._size

    def read_exactly(self, size: int) -> bytes:
        body = bytearray()
        while len(body) < size:
            block = self._stream.read(min(BLOCK_BYTES, size - len(body)))
            self._usage.add_unpacked(len(block))
            self._usage.check_unpacked(packed=self._file.tell())
            if not block:
                raise ArchiveDamaged("it is cut off")
            body += block
        return bytes(body)


class _MemberBody:
    """A member's bytes and the padding after them."""

    def __init__(self, stream: _UnpackedStream, size: int) -> None:
        self._stream = stream
        self._size = size
        self._left = size + -size % RECORD

    def read(self, limit: int) -> bytes:
        """As ``Item.read``."""
        if self._size > limit:
            raise too_large(limit)
        with refuse_damage():
            body = self._stream.read_exactly(self._size)
        self._left -= len(body)
        return body

    def skip(self) -> None:
        """Moves to the next header, past the bytes that were not read."""
        while self._left:
            self._left -= len(self._stream.read_exactly(min(BLOCK_BYTES, self._left)))


def _next_member(stream: _UnpackedStream, encoding: str | None) -> tarfile.TarInfo | None:
    """The next member's header, with the values of the extended headers before it; None at
    the end mark of the archive."""
    name: str | None = None
    pax: dict[str, bytes] = {}
    while True:
        raw = stream.read_exactly(RECORD)
        try:
            info = tarfile.TarInfo.frombuf(raw, "utf-8", "surrogateescape")
        except tarfile.EOFHeaderError:  # type: ignore[attr-defined]
            return None
        if info.type not in HEADERS:
            return _with_extensions(info, name, pax, encoding)
        if not 0 <= info.size <= MAX_HEADER:
            raise ArchiveDamaged(f"a header of {info.size} bytes")
        text = stream.read_exactly(info.size + -info.size % RECORD)[: info.size]
        if info.type == tarfile.GNUTYPE_LONGNAME:
            name = decode_name(text.rstrip(b"\0"), encoding)
        elif info.type in EXTENDED:
            pax = _pax_records(text)


def _with_extensions(
    info: tarfile.TarInfo, name: str | None, pax: dict[str, bytes], encoding: str | None
) -> tarfile.TarInfo:
    if "path" in pax:
        name = decode_name(pax["path"], encoding)
    if "size" in pax:
        info.size = int(pax["size"])
    if info.size < 0:
        raise ArchiveDamaged("a member of negative size")
    if not info.isreg() and info.type not in (tarfile.DIRTYPE, tarfile.GNUTYPE_SPARSE):
        info.size = 0  # a link or a device has no bytes, whatever its header says
    if name is None:
        name = decode_name(info.name.encode("utf-8", "surrogateescape"), encoding)
    info.name = name
    if any(key.startswith("GNU.sparse") for key in pax):
        info.type = tarfile.GNUTYPE_SPARSE
    return info


def _pax_records(text: bytes) -> dict[str, bytes]:
    """The records ``LENGTH KEY=VALUE`` of an extended header."""
    found = {}
    while text.strip(b"\0"):
        length, _, _ = text.partition(b" ")
        record, text = text[: int(length)], text[int(length) :]
        key, _, value = record[len(length) + 1 : -1].partition(b"=")
        if int(length) <= len(length) + 1:
            raise ArchiveDamaged("an extended header is damaged")
        found[key.decode("utf-8", "replace")] = value
    return found


def _problem(member: tarfile.TarInfo) -> ItemRefused | None:
    """Why the member cannot be read as a file; None when it can."""
    if member.type in LINKS:
        return ItemRefused(RefusalReason.LINK, "links are not followed")
    if member.type == tarfile.GNUTYPE_SPARSE:
        return ItemRefused(RefusalReason.UNSUPPORTED, "a sparse member")
    if member.type not in REGULAR:
        return ItemRefused(
            RefusalReason.NOT_A_FILE, "a device, a pipe or an unknown kind of member"
        )
    return None


def _decompressor(file: BinaryIO) -> ReadableStream:
    kind = archive_kind(file.read(RECORD))
    file.seek(0)
    if kind == "gz":
        return gzip.GzipFile(fileobj=file, mode="rb")
    if kind == "bz2":
        return bz2.BZ2File(file)
    if kind == "xz":
        return lzma.LZMAFile(file)
    return file
