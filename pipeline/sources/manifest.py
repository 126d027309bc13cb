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
from pipeline.sources.rows import BrokenRow, Row, as_text, csv_rows, encoding, json_rows
from pipeline.sources.safe_open import open_root, read_below, read_file

ObjectReader = Callable[[str, int], bytes]
"""Returns the bytes of an object by its key, up to a limit; raises ``ItemRefused``."""

START_BYTES = 4096  # enough to tell the encoding and the first character


class ManifestSource(PathSource):
    """The files that a CSV with a header, or a JSON Lines file, lists. The position is in
    bytes of the manifest.

    A path is relative to the manifest's folder, stays below it and follows no link, unless
    ``anywhere`` is set. Object keys are read by ``objects``; without it they are refused.
    """

    def __init__(
        self, path: Path, *, anywhere: bool = False, objects: ObjectReader | None = None
    ) -> None:
        super().__init__(path)
        self._anywhere = anywhere
        self._objects = objects

    def items(self) -> Iterator[Item | RefusedItem]:
        names = NameSet()
        with open_file(self._path) as file, open_root(self._path.parent) as folder:
            size = os.fstat(file.fileno()).st_size
            for row in _rows(file):
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
        if self._anywhere:
            path = str(self._path.parent / row.path)
            return printable(row.path), partial(read_file, path, None)
        try:
            parts = inner_path(row.path)
        except ItemRefused as refused:
            detail = f"{refused.detail}; only --anywhere accepts it"
            raise ItemRefused(refused.reason, detail) from refused
        return printable("/".join(parts)), partial(read_below, parts, folder)


def _rows(file: BinaryIO) -> Iterator[Row | BrokenRow]:
    """The rows; a file whose first character is a brace is JSON Lines, any other is CSV."""
    start = file.read(START_BYTES)
    file.seek(0)
    first = start.decode(encoding(start), "replace").lstrip()[:1]
    with as_text(file, start) as text:
        yield from json_rows(text) if first == "{" else csv_rows(text)
