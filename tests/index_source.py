"""A gallery in one small SQLite file: the data of a view, without pictures and people.

Processes may share the file: one can be killed while another checks the result.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import astuple, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline.sessions.vectors import unit_rows
from pipeline.types import IndexEntry, SnapshotRecord, VectorModel

TENANT = 7
MODEL = VectorModel("test", "5" * 64, 64)

TABLES = """
CREATE TABLE IF NOT EXISTS vectors (label INTEGER PRIMARY KEY AUTOINCREMENT, vector BLOB,
    collections TEXT);
CREATE TABLE IF NOT EXISTS changes (number INTEGER PRIMARY KEY AUTOINCREMENT, label INTEGER);
CREATE TABLE IF NOT EXISTS collections (id INTEGER PRIMARY KEY);
CREATE TABLE IF NOT EXISTS snapshots (tenant_id, pack, dimension, engine, media_key, sha256, size,
    count, number, created_at, id INTEGER PRIMARY KEY AUTOINCREMENT);
"""


class FileGallery:
    """A ``ChangeSource`` of one tenant, and the writing side of it."""

    def __init__(self, path: Path, model: VectorModel = MODEL) -> None:
        self._path = path
        self.model: VectorModel | None = model
        with self._open() as database:
            database.executescript(TABLES)

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        with closing(sqlite3.connect(self._path, timeout=30)) as database, database:
            yield database

    # Writing -------------------------------------------------------------------

    def add(self, vectors: NDArray[np.float32], collections: Iterable[int] = ()) -> list[int]:
        """Enrol; the new labels."""
        bound = json.dumps(sorted(collections))
        with self._open() as database:
            labels = [
                database.execute(
                    "INSERT INTO vectors (vector, collections) VALUES (?, ?) RETURNING label",
                    (vector.astype("<f4").tobytes(), bound),
                ).fetchone()[0]
                for vector in vectors
            ]
            _note(database, labels)
            for name in collections:
                database.execute("INSERT OR IGNORE INTO collections VALUES (?)", (name,))
        return labels

    def bind(self, label: int, collections: Iterable[int]) -> None:
        """Set the collections of a label."""
        with self._open() as database:
            database.execute(
                "UPDATE vectors SET collections = ? WHERE label = ?",
                (json.dumps(sorted(collections)), label),
            )
            _note(database, [label])
            for name in collections:
                database.execute("INSERT OR IGNORE INTO collections VALUES (?)", (name,))

    def delete(self, labels: Iterable[int]) -> None:
        """Delete labels."""
        labels = list(labels)
        with self._open() as database:
            database.executemany(
                "DELETE FROM vectors WHERE label = ?", [(label,) for label in labels]
            )
            _note(database, labels)

    def drop_collection(self, name: int) -> None:
        with self._open() as database:
            database.execute("DELETE FROM collections WHERE id = ?", (name,))

    def cut_log(self, below: int) -> None:
        """Forget changes up to ``below``."""
        with self._open() as database:
            database.execute("DELETE FROM changes WHERE number <= ?", (below,))

    def labels(self) -> list[int]:
        return [entry.label for entry in self.all_entries(TENANT)]

    # Reads of a view ----------------------------------------------------------

    def latest(self, tenant_id: int) -> int:
        with self._open() as database:
            row = database.execute("SELECT seq FROM sqlite_sequence WHERE name = 'changes'")
            return int((row.fetchone() or (0,))[0])

    def changed(self, tenant_id: int, after: int, limit: int) -> list[tuple[int, int]]:
        with self._open() as database:
            return database.execute(
                "SELECT number, label FROM changes WHERE number > ? ORDER BY number LIMIT ?",
                (after, limit),
            ).fetchall()

    def entries(self, tenant_id: int, labels: Sequence[int]) -> list[IndexEntry]:
        marks = ",".join("?" * len(labels))
        with self._open() as database:
            return [
                _entry(row)
                for row in database.execute(
                    "SELECT label, vector, collections FROM vectors "
                    f"WHERE label IN ({marks}) ORDER BY label",
                    list(labels),
                )
            ]

    def all_entries(self, tenant_id: int) -> Iterator[IndexEntry]:
        with self._open() as database:
            rows = database.execute(
                "SELECT label, vector, collections FROM vectors ORDER BY label"
            ).fetchall()
        return map(_entry, rows)

    def live_collections(self, tenant_id: int) -> frozenset[int]:
        with self._open() as database:
            return frozenset(row[0] for row in database.execute("SELECT id FROM collections"))

    def vector_model(self, tenant_id: int) -> VectorModel | None:
        return self.model

    def record_snapshot(self, record: SnapshotRecord) -> SnapshotRecord:
        with self._open() as database:
            made = database.execute(
                f"INSERT INTO snapshots VALUES ({','.join('?' * 10)}, NULL) RETURNING id",
                astuple(record)[:10],
            ).fetchone()[0]
        return replace(record, id=made)

    def snapshots(self, tenant_id: int) -> list[SnapshotRecord]:
        with self._open() as database:
            rows = database.execute("SELECT * FROM snapshots ORDER BY number DESC, id DESC")
            return [SnapshotRecord(*row) for row in rows]

    def discard_snapshot(self, record: SnapshotRecord) -> None:
        with self._open() as database:
            database.execute("DELETE FROM snapshots WHERE id = ?", (record.id,))


def _note(database: sqlite3.Connection, labels: Iterable[int]) -> None:
    database.executemany("INSERT INTO changes (label) VALUES (?)", [(each,) for each in labels])


def _entry(row: tuple[int, bytes, str]) -> IndexEntry:
    return IndexEntry(row[0], np.frombuffer(row[1], "<f4"), frozenset(json.loads(row[2])))


def unit_vectors(
    count: int, dimension: int = MODEL.dimension, seed: int = 1, lean: float = 0.0
) -> NDArray[np.float32]:
    """Random rows of unit length; with ``lean`` they point to one side, like dlib's."""
    draw = np.random.default_rng(seed)
    rows = draw.standard_normal((count, dimension)).astype(np.float32)
    rows[:, 0] += lean * np.sqrt(dimension)
    return unit_rows(rows)


def mates(vectors: NDArray[np.float32], cosine: float, seed: int = 2) -> NDArray[np.float32]:
    """For each row another unit vector at ``cosine`` to it."""
    other = unit_vectors(len(vectors), vectors.shape[1], seed)
    other -= np.einsum("ij,ij->i", other, vectors)[:, None] * vectors
    other /= np.linalg.norm(other, axis=1, keepdims=True)
    made = cosine * vectors + np.sqrt(1 - cosine * cosine) * other
    return unit_rows(made)
