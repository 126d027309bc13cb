"""`faceline enroll` as its user has it: a stack of its own, interrupted, killed, repeated."""

from __future__ import annotations

import csv
import json
import shutil
import signal
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import func, inspect, select

from pipeline.database.engine import open_engine, reading
from pipeline.database.schema import batch_items, bindings, faces, images
from tests.local_service import LocalService
from tests.waiting import TIMEOUT_S, eventually

PEOPLE = 24  # with a photo each


@pytest.fixture
def operator(tmp_path: Path, edge_models: Path) -> Iterator[LocalService]:
    operator = LocalService(
        tmp_path, edge_models, pack="edge", lease_s=3, bulk_chunk=4, bulk_in_flight=2
    )
    yield operator
    operator.close()


def ended(operator: LocalService) -> int:
    """Items that have their outcome by now; none before the database has its tables."""
    database = operator.data_dir / "faceline.db"
    if not database.exists():
        return 0
    engine = open_engine(f"sqlite:///{database}")
    try:
        if not inspect(engine).has_table(batch_items.name):
            return 0
        with reading(engine) as connection:
            query = select(func.count()).where(batch_items.c.state != "waiting")
            return int(connection.execute(query).scalar_one())
    finally:
        engine.dispose()


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


def test_interrupted_killed_and_repeated(operator: LocalService, source: Path) -> None:
    enroll = ("enroll", str(source), "--collection", "staff", "--create-collections")

    interrupted = operator.begin(*enroll)
    eventually(lambda: ended(operator) > 0, "the first items are enrolled")
    interrupted.send_signal(signal.SIGINT)
    assert interrupted.wait(TIMEOUT_S) == 130, operator.said()
    assert "The same command continues" in operator.said()
    assert operator.processes() == {}

    before = ended(operator)
    killed = operator.begin(*enroll)
    eventually(lambda: ended(operator) > before, "it goes on")
    killed.kill()
    killed.wait()
    eventually(lambda: operator.processes() == {}, "every process is gone")
    assert operator.running() is None

    report = source.parent / "report.csv"
    last = operator.faceline(*enroll, "--json", "--report", str(report))
    assert last.returncode == 0, last.stderr
    told = json.loads(last.stdout)
    assert {name: told[name] for name in EXPECTED} == EXPECTED
    assert (told["app"], told["state"], told["waiting"]) == ("demo", "done", 0)
    assert operator.processes() == {}
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


def check_gallery(operator: LocalService) -> None:
    """One record of each picture, whichever process was killed."""
    engine = open_engine(f"sqlite:///{operator.data_dir / 'faceline.db'}")
    with reading(engine) as connection:
        for table in (faces, images, bindings):
            there = select(func.count()).select_from(table)
            assert connection.execute(there).scalar_one() == PEOPLE
    engine.dispose()
