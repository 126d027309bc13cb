"""Files and directories that only their owner can read."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO


@contextmanager
def private_file(path: Path) -> Iterator[TextIO]:
    """A text file with mode 0600 that takes the place of ``path`` once the block has ended well:
    a reader sees the old file or the whole new one. A pipe or a device, such as
    ``/dev/stdout``, is written to and stays. Raises ``OSError``."""
    if path.exists() and not path.is_file():
        with path.open("w", encoding="utf-8", newline="") as stream:
            yield stream
        return
    folder = path.absolute().parent
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name[:50]}.", dir=folder)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8", newline="") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        Path(name).replace(path)
    finally:
        Path(name).unlink(missing_ok=True)


def write_private(path: Path, text: str) -> None:
    """Writes ``text`` as a ``private_file``."""
    with private_file(path) as file:
        file.write(text)


def make_data_dir(path: Path) -> None:
    """Creates the data directory with mode 0700: it holds pictures and keys."""
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
