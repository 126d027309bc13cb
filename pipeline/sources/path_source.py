"""The common base of sources at a local path: location, position, and opening with clear errors."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from pipeline.errors import InvalidParameter
from pipeline.sources.names import printable


class PathSource:
    """Base of sources that are a file or a folder. Subclasses add ``items`` and update
    ``_position`` while they read."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._position = (0, 0)

    @property
    def location(self) -> str:
        return printable(str(self._path))

    def position(self) -> tuple[int, int]:
        return self._position


@contextmanager
def report_unreadable(path: Path) -> Iterator[None]:
    """Translates ``OSError`` to ``InvalidParameter``."""
    try:
        yield
    except OSError as error:
        raise InvalidParameter(f"{path} cannot be read: {error.strerror}") from error


@contextmanager
def open_file(path: Path) -> Iterator[BinaryIO]:
    """The open file at ``path``. Raises ``InvalidParameter`` when it cannot be opened."""
    with report_unreadable(path):
        file = path.open("rb")
    with file:
        yield file
