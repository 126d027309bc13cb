"""A folder with its subfolders."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from pipeline.sources.base import Item, ItemRefused, RefusalReason, RefusedItem
from pipeline.sources.names import Layout, about_from_path, decode_name, printable
from pipeline.sources.path_source import PathSource, report_unreadable
from pipeline.sources.safe_open import file_kind, open_directory, open_root, read_file

MAX_DEPTH = 32  # nested folders; each one stays open while it is read


class FolderSource(PathSource):
    """The files below ``root``, each folder's in the order of their bytes. Links are refused
    instead of followed, except that the root itself may be one. The position counts the
    entries of the root. ``encoding``: of names that are not UTF-8."""

    def __init__(
        self, root: Path, layout: Layout = "auto", encoding: str | None = None
    ) -> None:
        super().__init__(root)
        self._layout = layout
        self._encoding = encoding

    def items(self) -> Iterator[Item | RefusedItem]:
        with open_root(self._path) as descriptor:
            with report_unreadable(self._path):
                names = _sorted_names(descriptor)
            for number, name in enumerate(names):
                self._position = (number, len(names))
                yield from self._entry((name,), descriptor)
            self._position = (len(names), len(names))

    def _entry(self, parts: tuple[str, ...], directory: int) -> Iterator[Item | RefusedItem]:
        """One entry of the open ``directory``, with everything below it."""
        source_name = printable("/".join(parts))
        try:
            with _refuse_unreadable():
                mode = os.stat(parts[-1], dir_fd=directory, follow_symlinks=False).st_mode
            if stat.S_ISDIR(mode):
                yield from self._subfolder(parts, directory)
            elif stat.S_ISREG(mode):
                # Only the person's name is decoded: two files may have one decoded name.
                decoded = tuple(decode_name(os.fsencode(part), self._encoding) for part in parts)
                about = about_from_path(decoded, self._layout)
                yield Item(source_name, about, partial(read_file, parts[-1], directory))
            else:
                is_link = stat.S_ISLNK(mode)
                reason = RefusalReason.LINK if is_link else RefusalReason.NOT_A_FILE
                yield RefusedItem(source_name, reason, file_kind(mode))
        except ItemRefused as refused:
            yield refused.as_item(source_name)

    def _subfolder(self, parts: tuple[str, ...], directory: int) -> Iterator[Item | RefusedItem]:
        if len(parts) > MAX_DEPTH:
            raise ItemRefused(RefusalReason.TOO_DEEP, f"more than {MAX_DEPTH} folders deep")
        descriptor = open_directory(parts[-1], directory)
        try:
            with _refuse_unreadable():
                names = _sorted_names(descriptor)
            for name in names:
                yield from self._entry((*parts, name), descriptor)
        finally:
            os.close(descriptor)


def _sorted_names(descriptor: int) -> list[str]:
    return sorted(os.listdir(descriptor), key=os.fsencode)


@contextmanager
def _refuse_unreadable() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise ItemRefused(RefusalReason.UNREADABLE, error.strerror or "") from error
