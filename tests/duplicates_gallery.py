"""Galleries of vectors without pictures, enrolled by a batch and with planted duplicate people;
and the worker that searches the batch."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection, Engine, insert, select, update

from pipeline.backup.tables import read_sequences, write_sequences
from pipeline.batches.duplicate_candidates import CandidateReader
from pipeline.batches.duplicate_search import DuplicateSearches, SearchProgress, search_of
from pipeline.batches.model import Batch, BatchOptions, BatchState, ItemState
from pipeline.batches.store import BatchStore
from pipeline.calibration.table import Calibration
from pipeline.database.engine import writing
from pipeline.database.schema import batch_items, batches, faces, images, vectors
from pipeline.encryption.data_key import NoKeys
from pipeline.execution.context import JobContext, Resources
from pipeline.execution.duplicate_search import finish_duplicate_search
from pipeline.jobs.store import JobStore
from pipeline.storage_keys import face_media

Vectors = NDArray[np.float32]

PORTION = 5000


@dataclass(frozen=True, slots=True)
class Gallery:
    """Fills one tenant's gallery; ``table`` is that of the model of its vectors."""

    engine: Engine
    tenant: int
    table: Calibration

    def batch(self) -> Batch:
        """A batch that is done, without an item."""
        mark = uuid.uuid4().hex
        batch, _ = BatchStore(self.engine).open(self.tenant, mark, "made", BatchOptions())
        with writing(self.engine) as connection:
            connection.execute(
                update(batches).where(batches.c.id == batch.id)
                .values(state=BatchState.DONE.value, exhausted=True)
            )
        return batch

    def fill(self, people: Iterable[tuple[str, NDArray[np.float32]]], batch: Batch | None) -> int:
        """Enrol faces, each by an item of ``batch``; how many it were."""
        count = 0
        portion: list[tuple[str, NDArray[np.float32]]] = []
        for each in people:
            portion.append(each)
            if len(portion) == PORTION:
                count = self._write(portion, batch, count)
                portion = []
        return self._write(portion, batch, count) if portion else count

    def _write(
        self, people: Sequence[tuple[str, NDArray[np.float32]]], batch: Batch | None, before: int
    ) -> int:
        with writing(self.engine) as connection:
            refs = _numbers(connection, images, len(people))
            ids = _numbers(connection, faces, len(people))
            connection.execute(insert(images), [self._image(ref) for ref in refs])
            connection.execute(insert(faces), [
                self._face(face, ref, name)
                for face, ref, (name, _) in zip(ids, refs, people, strict=True)
            ])
            connection.execute(insert(vectors), [
                self._vector(face, vector) for face, (_, vector) in zip(ids, people, strict=True)
            ])
            if batch is not None:
                self._items(connection, batch, before, refs, ids, [name for name, _ in people])
            write_sequences(connection, read_sequences(connection))
        return before + len(people)

    def _image(self, ref: int) -> dict[str, Any]:
        return {
            "id": ref, "tenant_id": self.tenant, "image_id": f"i{ref}", "sha256": f"{ref:064}",
            "media_key": f"m{ref}", "size": 1, "width": 1, "height": 1, "format": "JPEG",
            "description": "", "created_at": 0.0,
        }

    def _face(self, face: int, ref: int, name: str) -> dict[str, Any]:
        return {
            "id": face, "tenant_id": self.tenant, "image_ref": ref, "person_id": f"p{face}",
            "face_token": f"f{face}", "name": name, "gender": "", "box": [0, 0, 1, 1],
            "landmarks": [], "score": 1.0, "quality": {},
            "face_key": face_media(self.tenant, "made", face, "cut"), "created_at": 0.0,
        }

    def _vector(self, face: int, vector: NDArray[np.float32]) -> dict[str, Any]:
        return {
            "tenant_id": self.tenant, "face_id": face, "pack": self.table.pack,
            "model_sha256": self.table.model, "dimension": len(vector),
            "vector": vector.astype("<f4").tobytes(), "created_at": 0.0,
        }

    def _items(
        self, connection: Connection, batch: Batch, before: int, refs: Sequence[int],
        ids: Sequence[int], names: Sequence[str],
    ) -> None:
        connection.execute(insert(batch_items), [
            {
                "batch_id": batch.id, "number": number, "tenant_id": self.tenant,
                "name_hash": number.to_bytes(16, "big"), "source_name": f"{number}.jpg",
                "name": name, "state": ItemState.ENROLLED.value, "image_ref": ref,
                "face_id": face, "faces": 1,
            }
            for number, ref, face, name in zip(
                range(before + 1, before + 1 + len(refs)), refs, ids, names, strict=True
            )
        ])
        connection.execute(
            update(batches).where(batches.c.id == batch.id)
            .values(items=batches.c["items"] + len(refs),
                    enrolled=batches.c.enrolled + len(refs))
        )

    def search(self, batch: Batch, patience_s: float = 10.0) -> tuple[SearchProgress, int]:
        """Search a batch to its end; (how it ended, how many jobs it took)."""
        store = JobStore(self.engine)
        info = SimpleNamespace(
            name=self.table.pack, recognition_model=self.table.model,
            dimension=self.table.dimension,
        )
        tools = cast(
            Resources,
            SimpleNamespace(
                pack=SimpleNamespace(info=info),
                calibration_of=lambda tenant_id: self.table,
                get=lambda kind: kind(
                    CandidateReader(self.engine, NoKeys()), time_slice_s=patience_s
                ),
            ),
        )
        DuplicateSearches(self.engine).start_due()
        taken = 0
        while True:
            search = search_of(BatchStore(self.engine).get(None, batch.id))
            assert search is not None
            if search.state != "searching":
                return search, taken
            claim = store.claim(search.job, "bulk", "worker", 600.0, 3)
            assert claim is not None
            conclusion = finish_duplicate_search(claim.job, JobContext(), tools)
            assert store.finish(claim, {}, [], conclusion.effect)
            taken += 1


def _numbers(connection: Connection, table: Any, count: int) -> list[int]:
    """Ids that are free."""
    last = connection.execute(
        select(table.c.id).order_by(table.c.id.desc()).limit(1)
    ).scalar_one_or_none() or 0
    return list(range(last + 1, last + 1 + count))


# Planting ------------------------------------------------------------------------------


@dataclass(slots=True)
class Planted:
    """The planted names and their errors: ``duplicates`` are people under two names, ``strays``
    faces under another person's name, ``merged`` names that two people share."""

    names: list[str]
    duplicates: set[frozenset[str]] = field(default_factory=set)
    strays: set[int] = field(default_factory=set)
    merged: set[str] = field(default_factory=set)


def plant(people: Sequence[str], count: int, seed: int) -> Planted:
    """Rename faces of known ``people``: ``count`` times each, a person with two photos or
    more is split in two, a photo of a person with three or more is put under another such
    name, and two people with two or more become one name. No name takes part twice."""
    draw = np.random.default_rng(seed)
    places: dict[str, list[int]] = {}
    for place, person in enumerate(people):
        places.setdefault(person, []).append(place)
    made = Planted(list(people))
    free = [name for name in sorted(places) if len(places[name]) >= 2]
    draw.shuffle(free)

    def some(least: int) -> str:
        name = next(name for name in free if len(places[name]) >= least)
        free.remove(name)
        return name

    for _ in range(count):
        name = some(2)
        half = len(places[name]) // 2
        for place in places[name][half:]:
            made.names[place] = f"{name} (again)"
        made.duplicates.add(frozenset({name, f"{name} (again)"}))
    for _ in range(count):
        one, two = some(3), some(3)
        stray = places[one][0]
        made.names[stray] = two
        made.strays.add(stray)
    for _ in range(count):
        one, two = some(2), some(2)
        for place in places[two]:
            made.names[place] = one
        made.merged.add(one)
    return made
