"""A process that dies while it writes media leaves whole objects or none."""

from __future__ import annotations

import hashlib
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

from pipeline.media.directory import ABANDONED_S, INCOMING, DirectoryStore
from tests.processes import start

KILLS = 12

# Writes objects of 2 MB, each to be found under its hash, until it is killed; prints a
# line before each.
WRITER = """
import hashlib, os, sys
from pathlib import Path
from pipeline.media.directory import DirectoryStore
store = DirectoryStore(Path(sys.argv[1]))
while True:
    data = os.urandom(2_000_000)
    print("put", flush=True)
    store.put(f"t1/x/{hashlib.sha256(data).hexdigest()}", data)
"""


def test_a_killed_writer_leaves_whole_objects(tmp_path: Path) -> None:
    store = DirectoryStore(tmp_path)
    chance = random.Random(7)
    whole = 0  # objects, for certain
    for _ in range(KILLS):
        lines = chance.randint(1, 4)
        whole += lines - 1
        with start(
            [sys.executable, "-c", WRITER, str(tmp_path)], stdout=subprocess.PIPE
        ) as writer:
            assert writer.stdout is not None
            for _ in range(lines):
                assert writer.stdout.readline() == b"put\n"
            time.sleep(chance.uniform(0.0, 0.02))  # somewhere in a write
            writer.send_signal(signal.SIGKILL)
    objects = list(store.walk(""))
    assert len(objects) >= whole > KILLS
    for item in objects:
        assert item.size == 2_000_000
        store.get(item.key)  # raises when the bytes are not those of the key


def test_what_was_left_half_written_is_removed_later(tmp_path: Path) -> None:
    incoming = tmp_path / INCOMING
    incoming.mkdir()
    old, young = incoming / "old", incoming / "young"
    for path in (old, young):
        path.write_bytes(b"half")
    os.utime(old, (time.time() - 2 * ABANDONED_S,) * 2)
    store = DirectoryStore(tmp_path)
    assert list(store.walk("")) == []
    store.put(f"t1/x/{hashlib.sha256(b'').hexdigest()}", b"")
    assert [path.name for path in incoming.iterdir()] == ["young"]
