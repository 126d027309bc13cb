"""Valid and hostile archives."""

from __future__ import annotations

import io
import tarfile
import zipfile
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

from PIL import Image

from pipeline.config.settings import Settings
from pipeline.media.pictures import PictureLimits
from pipeline.sources.base import Item, PictureSource, RefusedItem
from pipeline.sources.inspect_item import PictureItem, inspect_item

LIMITS = PictureLimits.from_settings(Settings())


@cache
def picture(number: int = 0) -> bytes:
    """A small PNG; each number has its own bytes."""
    file = io.BytesIO()
    Image.new("RGB", (16, 16), (number % 251, number // 251 % 251, 7)).save(file, "PNG")
    return file.getvalue()


def taken(
    source: PictureSource, limits: PictureLimits = LIMITS
) -> Iterator[PictureItem | RefusedItem]:
    """The outcome of every item, each read before the next is asked for."""
    for item in source.items():
        yield inspect_item(item, limits) if isinstance(item, Item) else item


def outcomes(source: PictureSource, limits: PictureLimits = LIMITS) -> list[tuple[str, str]]:
    """(name within the source, reason or "taken")."""
    return [
        (found.source_name, "taken" if isinstance(found, PictureItem) else str(found.reason))
        for found in taken(source, limits)
    ]


def member(name: str, data: bytes = b"", **values: object) -> tuple[tarfile.TarInfo, bytes]:
    """A member of a tar; ``values`` replace fields of its header."""
    info = tarfile.TarInfo(name)
    info.size = len(data)
    for key, value in values.items():
        setattr(info, key, value)
    return info, data


def tar(
    path: Path, members: Iterable[tuple[tarfile.TarInfo, bytes]], compression: str = "",
    form: int = tarfile.PAX_FORMAT,
) -> Path:
    """A tar at ``path``; ``compression`` is gz, bz2, xz or none."""
    mode = f"w:{compression}"
    with tarfile.open(path, mode, format=form, errors="surrogateescape") as archive:  # type: ignore[call-overload]
        for info, data in members:
            archive.addfile(info, io.BytesIO(data))
    return path


def zipped(path: Path, members: Iterable[tuple[str | zipfile.ZipInfo, bytes]]) -> Path:
    """A zip at ``path``, its members deflated unless they say otherwise."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members:
            archive.writestr(name, data)
    return path


def patched(path: Path, name: bytes, offset: int, value: bytes) -> None:
    """Overwrite, in both of the zip's headers of ``name``, the field ``offset`` bytes
    into the local one (the directory has it two bytes further on)."""
    data = bytearray(path.read_bytes())
    for magic, length, shift in ((b"PK\x03\x04", 30, 0), (b"PK\x01\x02", 46, 2)):
        at = data.find(magic)
        while at >= 0:
            if data[at + length : at + length + len(name)] == name:
                data[at + offset + shift : at + offset + shift + len(value)] = value
            at = data.find(magic, at + 4)
    path.write_bytes(data)
