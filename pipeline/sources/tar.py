"""A tar archive, plain or compressed, whose members stream past.

The headers are walked here: tarfile's own walk ends without a word where an archive is
cut off between members, and reads extended headers of any size into memory.
"""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from pipeline.errors import InvalidParameter
from pipeline.sources.archives import (
    ArchiveLimitExceeded,
    ArchiveLimits,
    ArchiveOptions,
    MemberNames,
    archive_kind,
    check_unpacked,
    items_until_damage,
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
from pipeline.sources.names import about_from_path, decode_name, printable

RECORD = tarfile.BLOCKSIZE
MAX_HEADER = 64 * 1024  # bytes of an extended header; a path has at most 4,096
REGULAR = (tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.CONTTYPE)
LINKS = (tarfile.SYMTYPE, tarfile.LNKTYPE)
EXTENDED = (tarfile.XHDTYPE, tarfile.SOLARIS_XHDTYPE)
LONG = (tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK)
HEADERS = (*EXTENDED, *LONG, tarfile.XGLTYPE)


class TarSource:
    """The members of a tar, in their order; nothing is written to a disk."""

    def __init__(self, path: Path, options: ArchiveOptions) -> None:
        self._path = path
        self._options = options
        self._position = (0, 0)

    @property
    def location(self) -> str:
        return printable(str(self._path))

    def position(self) -> tuple[int, int]:
        """Bytes of the archive."""
        return self._position

    def items(self) -> Iterator[Item | RefusedItem]:
        members = MemberNames(self._options.limits)
        with _open_tar(self._path, self._options.limits) as stream:
            yield from items_until_damage(self._path, members, self._walk(stream, members))

    def _walk(self, stream: _UnpackedStream, members: MemberNames) -> Iterator[Item | RefusedItem]:
        while (member := _next_member(stream, self._options.encoding)) is not None:
            self._position = stream.position()
            members.count_member()
            body = _MemberBody(stream, member.info.size)
            if not member.info.isdir():
                yield self._item(member, body, members)
            body.skip()
        self._position = stream.position()

    def _item(self, member: _Member, body: _MemberBody, members: MemberNames) -> Item | RefusedItem:
        source_name = printable(member.name)
        try:
            parts = members.path_of(member.name)
            _check_kind(member)
            about = about_from_path(parts, self._options.layout)
        except ItemRefused as refused:
            return RefusedItem(source_name, refused.reason, refused.detail)
        return Item(printable("/".join(parts)), about, body.read)


@dataclass(frozen=True, slots=True)
class _Member:
    """A header, with what the extended headers before it say."""

    info: tarfile.TarInfo
    name: str
    sparse: bool


class _UnpackedStream:
    """The archive's unpacked bytes, counted. Raises ``ArchiveLimitExceeded`` past the limits and
    ``EOFError`` where bytes are missing."""

    def __init__(self, raw: BinaryIO, stream: ReadableStream, limits: ArchiveLimits) -> None:
        self._raw = raw
        self._stream = stream
        self._limits = limits
        self._size = os.fstat(raw.fileno()).st_size
        self._unpacked = 0

    def position(self) -> tuple[int, int]:
        return min(self._raw.tell(), self._size), self._size

    def some(self, size: int) -> bytes:
        block = self._stream.read(size)
        self._unpacked += len(block)
        check_unpacked(self._unpacked, self._raw.tell(), self._limits)
        return block

    def exactly(self, size: int) -> bytes:
        body = bytearray()
        while len(body) < size:
            block = self.some(min(BLOCK_BYTES, size - len(body)))
            if not block:
                raise EOFError("the archive is cut off")
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
        try:
            with refuse_damage():
                body = self._stream.exactly(self._size)
        except ArchiveLimitExceeded as over:
            raise ItemRefused(over.reason, over.detail) from over
        self._left -= len(body)
        return body

    def skip(self) -> None:
        """To the next header, past what was not read."""
        while self._left:
            block = self._stream.exactly(min(BLOCK_BYTES, self._left))
            self._left -= len(block)


def _next_member(stream: _UnpackedStream, encoding: str | None) -> _Member | None:
    """The next member's header; None at the archive's closing mark."""
    name: str | None = None
    pax: dict[str, bytes] = {}
    while True:
        raw = stream.exactly(RECORD)
        try:
            info = tarfile.TarInfo.frombuf(raw, "utf-8", "surrogateescape")
        except tarfile.EOFHeaderError:  # type: ignore[attr-defined]
            return None
        if info.type not in HEADERS:
            return _with_extensions(info, name, pax, encoding)
        if not 0 <= info.size <= MAX_HEADER:
            raise EOFError(f"a header of {info.size} bytes")
        text = stream.exactly(info.size + -info.size % RECORD)[: info.size]
        if info.type == tarfile.GNUTYPE_LONGNAME:
            name = decode_name(text.rstrip(b"\0"), encoding)
        elif info.type in EXTENDED:
            pax = _pax_records(text)


def _with_extensions(
    info: tarfile.TarInfo, name: str | None, pax: dict[str, bytes], encoding: str | None
) -> _Member:
    if "path" in pax:
        name = decode_name(pax["path"], encoding)
    if "size" in pax:
        info.size = int(pax["size"])
    if info.size < 0:
        raise EOFError("a member of negative size")
    if not info.isreg() and info.type not in (tarfile.DIRTYPE, tarfile.GNUTYPE_SPARSE):
        info.size = 0  # a link or a device, whatever its header says, has no bytes
    if name is None:
        name = decode_name(info.name.encode("utf-8", "surrogateescape"), encoding)
    sparse = info.type == tarfile.GNUTYPE_SPARSE or any(
        key.startswith("GNU.sparse") for key in pax
    )
    return _Member(info, name, sparse)


def _pax_records(text: bytes) -> dict[str, bytes]:
    """The records ``LENGTH KEY=VALUE`` of an extended header."""
    found = {}
    while text.strip(b"\0"):
        length, _, _ = text.partition(b" ")
        record, text = text[: int(length)], text[int(length) :]
        key, _, value = record[len(length) + 1 : -1].partition(b"=")
        if int(length) <= len(length) + 1:
            raise EOFError("an extended header is damaged")
        found[key.decode("utf-8", "replace")] = value
    return found


def _check_kind(member: _Member) -> None:
    info = member.info
    if info.type in LINKS:
        raise ItemRefused(RefusalReason.LINK, "a link is not followed")
    if member.sparse:
        raise ItemRefused(RefusalReason.UNSUPPORTED, "a sparse member")
    if info.type not in REGULAR:
        raise ItemRefused(RefusalReason.NOT_A_FILE, "a device, a pipe or an unknown kind of member")


@contextmanager
def _open_tar(path: Path, limits: ArchiveLimits) -> Iterator[_UnpackedStream]:
    try:
        raw = path.open("rb")
    except OSError as error:
        raise InvalidParameter(f"{path} cannot be read: {error.strerror}") from error
    with raw:
        kind = archive_kind(raw.read(RECORD))
        raw.seek(0)
        yield _UnpackedStream(raw, _decompressor(raw, kind), limits)


def _decompressor(raw: BinaryIO, kind: str | None) -> ReadableStream:
    if kind == "gz":
        return gzip.GzipFile(fileobj=raw, mode="rb")
    if kind == "bz2":
        return bz2.BZ2File(raw)
    if kind == "xz":
        return lzma.LZMAFile(raw)
    return raw
