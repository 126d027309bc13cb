"""A file system of a few megabytes that a test fills up and empties again. Needs root."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

from tests.programs import missing

BLOCK = bytes(64 * 1024)


class SmallDisk:
    """A tmpfs of ``megabytes`` mounted on ``path``, which may exist."""

    def __init__(self, path: Path, megabytes: int) -> None:
        self.path = path
        self._size = f"size={megabytes}m"
        self._filler = path / "filler"

    def mount(self) -> None:
        self.path.mkdir(exist_ok=True)
        command = ["mount", "-t", "tmpfs", "-o", self._size, "tmpfs", str(self.path)]
        done = subprocess.run(command, check=False, capture_output=True, text=True)
        if done.returncode:
            missing(f"no file system can be mounted here: {done.stderr.strip()}")

    def fill(self) -> None:
        """Take all of the room that is left."""
        with self._filler.open("ab", buffering=0) as filler, contextlib.suppress(OSError):
            while True:
                os.write(filler.fileno(), BLOCK)

    def make_room(self) -> None:
        self._filler.unlink()

    def forbid_writing(self) -> None:
        subprocess.run(["mount", "-o", "remount,ro", str(self.path)], check=True)

    def unmount(self) -> None:
        subprocess.run(["umount", "--lazy", str(self.path)], check=True)


@contextlib.contextmanager
def small_disk(path: Path, megabytes: int = 40) -> Iterator[SmallDisk]:
    disk = SmallDisk(path, megabytes)
    disk.mount()
    try:
        yield disk
    finally:
        disk.unmount()
