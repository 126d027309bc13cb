"""Files that only their owner can read."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from infra.local.private_files import private_file, write_private


def test_a_file_is_replaced_as_a_whole(tmp_path: Path) -> None:
    path = tmp_path / "report"
    path.write_text("old")

    def fail_halfway() -> None:
        with private_file(path) as file:
            file.write("half")
            raise ValueError

    with pytest.raises(ValueError, match=r"^$"):
        fail_halfway()
    assert [each.name for each in tmp_path.iterdir()] == ["report"]
    assert path.read_text() == "old"
    write_private(path, "new")
    assert path.read_text() == "new"
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_pipe_is_written_to_and_stays(tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    read: list[str] = []
    reader = threading.Thread(target=lambda: read.append(path.read_text()))
    reader.start()
    write_private(path, "text")
    reader.join(10)
    assert read == ["text"]
    assert path.is_fifo()
