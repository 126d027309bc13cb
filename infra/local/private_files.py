"""Files and directories that only their owner can read."""

from __future__ import annotations

import os
from pathlib import Path


def write_private(path: Path, text: str) -> None:
    """Writes ``text`` with mode 0600, atomically: a reader sees the old file or the new one."""
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    fresh.unlink(missing_ok=True)
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
    fresh.replace(path)


def make_data_dir(path: Path) -> None:
    """Creates the data directory with mode 0700: it holds pictures and keys."""
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
