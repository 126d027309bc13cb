"""A manifest: a file that lists pictures and the people on them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import BinaryIO

from pipeline.sources.base import About, Item, ItemRefused, RefusalReason, RefusedItem
from pipeline.sources.names import NameSet, inner_path, printable
from pipeline.sources.path_source import PathSource, open_file
from pipeline.sources.rows import BrokenRow, Row, as_text, csv_rows, json_rows, unicode_encoding
from pipeline.sources.safe_open import open_root, read_below, read_file

ObjectReader = Callable[[str, int], bytes]
"""Returns the bytes of an object by its key, up to a limit; raises ``ItemRefused``."""

BLOCK_CHARACTERS = 1 << 20
START_BYTES = 4096  # enough to tell the encoding and the first character


class ManifestSource(PathSource):
    """The files that a CSV with a header, or a JSON Lines file, lists. The position is in
    bytes of the manifest.

    A path is relative to the manifest's folder, stays below it and follows no link, unless
    ``anywhere`` is set; backslashes in it separate folders unless there is a file of that
    very name. Object keys are read by ``objects``; without it they are refused. ``encoding``:
    of a manifest that is neither UTF-8 nor UTF-16.
    """

    def __init__(
        self, path: Path, *, anywhere: bool = False, objects: ObjectReader | None = None,
        encoding: str | None = None,
    ) -> None:
        super().__init__(path)
        self._anywhere = anywhere
        self._objects = objects
        self._encoding = encoding

    def items(self) -> Iterator[Item | RefusedItem]:
        names = NameSet()
        with open_file(self._path) as file, open_root(self._path.parent) as folder:
            size = os.fstat(file.fileno()).st_size
            for row in _rows(file, self._encoding):
                yield self._item(row, names, folder)
                self._position = (min(file.tell(), size), size)

    def _item(self, row: Row | BrokenRow, names: NameSet, folder: int) -> Item | RefusedItem:
        line = f"{printable(self._path.name)}:{row.line}"
        if isinstance(row, BrokenRow):
            return RefusedItem(line, RefusalReason.BROKEN_ROW, row.problem)
        about = About(row.name, row.collection, row.external_id, row.description)
        try:
            source_name, read = self._reader(row, folder)
        except ItemRefused as refused:
            detail = f"{printable(row.path or row.key)}: {refused.detail}"
            return RefusedItem(line, refused.reason, detail, about)
        if not names.add(source_name):
            detail = f"an earlier row names {source_name}"
            return RefusedItem(line, RefusalReason.DUPLICATE_NAME, detail, about)
        return Item(source_name, about, read)

    def _reader(self, row: Row, folder: int) -> tuple[str, Callable[[int], bytes]]:
        """The name of the row's file, and the function that reads it."""
        if row.key:
            if self._objects is None:
                raise ItemRefused(RefusalReason.NO_BUCKET, "no bucket is given for keys")
            return f"key {printable(row.key)}", partial(self._objects, row.key)
        name = row.path
        if "\\" in name and not _exists(name, folder):
            name = name.replace("\\", "/")
        if self._anywhere:
            path = str(self._path.parent / name)
            return printable(name), partial(read_file, path, None)
        try:
            parts = inner_path(name)
        except ItemRefused as refused:
            detail = f"{refused.detail}; only --anywhere accepts it"
            raise ItemRefused(refused.reason, detail) from refused
        return printable("/".join(parts)), partial(read_below, parts, folder)


def _exists(name: str, folder: int) -> bool:
    try:
        os.stat(name, dir_fd=folder, follow_symlinks=False)
    except (OSError, ValueError):
        return False
    return True


def _rows(file: BinaryIO, told: str | None) -> Iterator[Row | BrokenRow]:
    """The rows; a file whose first character is a brace is JSON Lines, any other is CSV.
    ``told`` is the encoding of one that is not Unicode."""
    start = file.read(START_BYTES)
    name = unicode_encoding(start)
    if told and name == "utf-8" and not _is_utf8(file):
        name = told
    file.seek(0)
    first = start.decode(name, "replace").lstrip()[:1]
    with as_text(file, name) as text:
        yield from json_rows(text) if first == "{" else csv_rows(text)


def _is_utf8(file: BinaryIO) -> bool:
    """Reads the file from its beginning to the first byte that is not UTF-8."""
    file.seek(0)
    with as_text(file, "utf-8", errors="strict") as text:
        try:
            while text.read(BLOCK_CHARACTERS):
                pass
        except UnicodeDecodeError:
            return False
    return True
