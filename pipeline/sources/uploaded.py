"""An archive that was uploaded, read from memory, and photos packed as one."""

from __future__ import annotations

import io
import os
import tempfile
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO

from pipeline.errors import InvalidParameter
from pipeline.media.picture_formats import picture_format
from pipeline.sources.archives import ArchiveOptions, ArchiveSource, archive_kind
from pipeline.sources.base import Item, PictureSource, RefusedItem
from pipeline.sources.litter import WithoutLitter
from pipeline.sources.names import Layout
from pipeline.sources.tar import TarSource
from pipeline.sources.zip import ZipSource

HEAD_BYTES = 512  # the first record of a tar, which identifies it

READABLE = frozenset({"zip", "tar", "gz", "bz2", "xz"})


class UploadedArchive:
    """The members of an archive in memory. Damage is reported under the name ``upload``. Raises
    ``InvalidParameter`` for bytes that are no tar and no zip."""

    location = "upload"

    def __init__(self, data: bytes, layout: Layout = "auto") -> None:
        self._data = data
        self._open = ZipSource if check_archive(data) == "zip" else TarSource
        self._options = ArchiveOptions(layout, name=self.location)
        self._archive: ArchiveSource | None = None

    def position(self) -> tuple[int, int]:
        return (0, 0) if self._archive is None else self._archive.position()

    def items(self) -> Iterator[Item | RefusedItem]:
        with _anonymous_file() as file:
            file.write(self._data)
            file.flush()
            file.seek(0)
            self._archive = self._open(Path(f"/dev/fd/{file.fileno()}"), self._options)
            yield from self._archive.items()


def uploaded_source(data: bytes, layout: Layout, *, take_litter: bool = False) -> PictureSource:
    """An uploaded archive; with litter only if told. Raises ``InvalidParameter``."""
    source = UploadedArchive(data, layout)
    return source if take_litter else WithoutLitter(source)


def check_archive(data: bytes) -> str:
    """The kind of an archive. Raises ``InvalidParameter`` for bytes that are none."""
    kind = archive_kind(data[:HEAD_BYTES])
    if kind not in READABLE:
        found = f"a {kind} archive" if kind else "no archive"
        raise InvalidParameter(f"the file is {found}; send a zip or a tar, or photos")
    return kind


def pack_uploads(files: Sequence[tuple[str, bytes]]) -> bytes:
    """An archive of what was uploaded as (file name, bytes): the one archive as it is, or photos
    under their names. Raises ``InvalidParameter`` for nothing, and for archives beside others."""
    if not files:
        raise InvalidParameter("no file was sent")
    archives = [name for name, data in files if _is_archive(data)]
    if archives and len(files) > 1:
        raise InvalidParameter("send one archive alone, or photos")
    if archives:
        check_archive(files[0][1])
        return files[0][1]
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_STORED) as archive:
        for name, (_, data) in zip(_names(each[0] for each in files), files, strict=True):
            archive.writestr(zipfile.ZipInfo(name), data)
    return packed.getvalue()


def _is_archive(data: bytes) -> bool:
    """HEIC and AVIF have no archive's magic, nor has any other picture."""
    return picture_format(data[:HEAD_BYTES]) is None and archive_kind(data[:HEAD_BYTES]) is not None


def _names(names: Iterable[str]) -> list[str]:
    """The names of files without their folders, each once: phones call every photo the same."""
    given: list[str] = []
    for number, name in enumerate(names, 1):
        base = name.replace("\\", "/").rsplit("/", 1)[-1].replace("\0", "") or f"{number}"
        stem, dot, ending = base.rpartition(".")
        given.append(base if base not in given else f"{stem or ending} ({number}){dot}{ending}")
    return given


def _anonymous_file() -> IO[bytes]:
    """A file that no other process can open: in memory where the system can, else unlinked."""
    if hasattr(os, "memfd_create"):
        return os.fdopen(os.memfd_create("upload"), "w+b")
    return tempfile.TemporaryFile()
