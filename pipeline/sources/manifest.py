"""A manifest: a file that names pictures, and says who is on them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import BinaryIO

from pipeline.errors import InvalidParameter
from pipeline.sources.base import About, Item, ItemRefused, RefusalReason, RefusedItem
from pipeline.sources.names import NameSet, inner_path, printable
from pipeline.sources.rows import BrokenRow, Row, as_text, csv_rows, encoding, json_rows
from pipeline.sources.safe_open import open_root, read_below, read_file

ObjectReader = Callable[[str, int], bytes]
"""(object key, most bytes) to its bytes; raises ``ItemRefused``."""

START_BYTES = 4096  # enough to see the encoding and the first character


class ManifestSource:
    """The files that a CSV with a header or a JSON Lines file names.

    A path is relative to the manifest's folder, stays below it and follows no link,
    unless ``anywhere``. Keys are read by ``objects``; without it they are refused.
    """

    def __init__(
        self, path: Path, *, anywhere: bool = False, objects: ObjectReader | None = None
    ) -> None:
        self._path = path
        self._anywhere = anywhere
        self._objects = objects
        self._position = (0, 0)

    @property
    def location(self) -> str:
        return printable(str(self._path))

    def position(self) -> tuple[int, int]:
        """Bytes of the manifest."""
        return self._position

    def items(self) -> Iterator[Item | RefusedItem]:
        seen = NameSet()
        with _open_manifest(self._path) as file, open_root(self._path.parent) as folder:
            size = os.fstat(file.fileno()).st_size
            for row in _rows(file):
                yield self._item(row, seen, folder)
                self._position = (min(file.tell(), size), size)

    def _item(self, row: Row | BrokenRow, seen: NameSet, folder: int) -> Item | RefusedItem:
        line = f"{printable(self._path.name)}:{row.line}"
        if isinstance(row, BrokenRow):
            return RefusedItem(line, RefusalReason.BROKEN_ROW, row.problem)
        about = About(row.name, row.collection, row.external_id, row.description)
        try:
            source_name, read = self._reader(row, folder)
        except ItemRefused as refused:
            detail = f"{printable(row.path or row.key)}: {refused.detail}"
            return RefusedItem(line, refused.reason, detail, about)
        if not seen.add(source_name):
            detail = f"{source_name} is named by an earlier row"
            return RefusedItem(line, RefusalReason.DUPLICATE_NAME, detail, about)
        return Item(source_name, about, read)

    def _reader(self, row: Row, folder: int) -> tuple[str, Callable[[int], bytes]]:
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
            said = f"{refused.detail}; only --anywhere takes it"
            raise ItemRefused(refused.reason, said) from refused
        return printable("/".join(parts)), partial(read_below, parts, folder)


def _rows(file: BinaryIO) -> Iterator[Row | BrokenRow]:
    """A file whose first character is a brace is JSON Lines, any other CSV."""
    start = file.read(START_BYTES)
    file.seek(0)
    opening = start.decode(encoding(start), "replace").lstrip()[:1]
    with as_text(file, start) as text:
        yield from json_rows(text) if opening == "{" else csv_rows(text)


@contextmanager
def _open_manifest(path: Path) -> Iterator[BinaryIO]:
    try:
        file = path.open("rb")
    except OSError as error:
        raise InvalidParameter(f"{path} cannot be read: {error.strerror}") from error
    with file:
        yield file
