"""What the search of a batch reads: faces of the batch, of the rest of its gallery, and of
the names that it brings."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import (
    BindParameter,
    Column,
    Connection,
    Engine,
    Row,
    Select,
    bindparam,
    func,
    select,
)

from pipeline.batches.model import Batch, ItemState
from pipeline.batches.statements import find_batch
from pipeline.database.engine import reading
from pipeline.database.schema import batch_items, faces, vectors
from pipeline.encryption.data_key import DataKey, KeySource
from pipeline.gallery.enrolment import check_model
from pipeline.gallery.vectors import VALUE_BYTES, read_vector
from pipeline.types import VectorModel

PAGE_ROWS = 4096  # faces read at a time: 8 MB of 512 numbers

MAX_FACES_PER_NAME = 2000
"""Faces of one name that are compared with each other; the rest is left out."""

NAMES_PER_STATEMENT = 500
IDS_PER_STATEMENT = 500  # ids in one statement

MAX_RANGE_FACTOR = 2  # ids a wanted one, above which a range reads too much that is not wanted

_TENANT: BindParameter[int] = bindparam("tenant")
_BATCH: BindParameter[str] = bindparam("batch")
_AFTER: BindParameter[int] = bindparam("after")
_MOST: BindParameter[int] = bindparam("most")

# One table a statement: what a database takes for the best way to join them after a million
# rows were added may be seconds long for each portion.
_COUNT_OWN = select(
    func.coalesce(func.sum(batch_items.c.faces), 0)
).where(batch_items.c.batch_id == _BATCH, batch_items.c.state == ItemState.ENROLLED.value)
_COUNT_ALL = select(func.count()).select_from(vectors).where(vectors.c.tenant_id == _TENANT)

_ITEMS = (
    select(batch_items.c.number, batch_items.c.image_ref)
    .where(
        batch_items.c.batch_id == _BATCH, batch_items.c.state == ItemState.ENROLLED.value,
        batch_items.c.number > _AFTER,
    )
    .order_by(batch_items.c.number).limit(_MOST)
)
_LABELS = (
    select(vectors.c.label, vectors.c.face_id)
    .where(vectors.c.tenant_id == _TENANT, vectors.c.label > _AFTER)
    .order_by(vectors.c.label).limit(_MOST)
)
_OWN_IMAGES = select(batch_items.c.image_ref).where(
    batch_items.c.batch_id == _BATCH, batch_items.c.state == ItemState.ENROLLED.value,
)
_FACES = select(faces.c.id, faces.c.image_ref, faces.c.name)
_FACES_BY_NAME = (
    _FACES.where(
        faces.c.tenant_id == _TENANT, faces.c.name.in_(bindparam("names", expanding=True))
    )
    .order_by(faces.c.name, faces.c.id).limit(_MOST)
)
_VECTORS = select(vectors.c.label, vectors.c.face_id, vectors.c.dimension, vectors.c.vector)
_COUNT_BY_NAME = (
    select(faces.c.name, func.count().label("count"))
    .where(faces.c.tenant_id == _TENANT, faces.c.name.in_(bindparam("names", expanding=True)))
    .group_by(faces.c.name).order_by(faces.c.name)
)

# Items that brought a picture which is enrolled.
_REPEATED = (
    select(batch_items.c.number, batch_items.c.face_id, batch_items.c.name)
    .where(
        batch_items.c.batch_id == _BATCH, batch_items.c.state == ItemState.DUPLICATE.value,
        batch_items.c.number > _AFTER,
    )
    .order_by(batch_items.c.number).limit(PAGE_ROWS)
)


@dataclass(frozen=True, slots=True, eq=False)
class FaceRows:
    """Faces, in the order of their labels (of one name after the other, in ``named``): each
    array, and ``names``, with one entry a
    face. ``vectors`` have shape (count, dimension), float32; ``pictures`` are
    ``images.id``; ``fresh`` are those of the batch."""

    labels: NDArray[np.int64]
    face_ids: NDArray[np.int64]
    image_refs: NDArray[np.int64]
    names: list[str]
    from_batch: NDArray[np.bool_]
    vectors: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True, slots=True)
class SearchSize:
    """How many faces a batch has enrolled, and how many others the gallery has."""

    batch_faces: int
    other_faces: int


@dataclass(frozen=True, slots=True)
class RepeatedImage:
    """An item that brought a picture again: the name it gave and the enrolled face's."""

    number: int
    face_id: int
    given_name: str
    enrolled_name: str


TIME_SLICE_S = 10.0


@dataclass(frozen=True, slots=True)
class DuplicateSearchConfig:
    """What searching a batch takes beside the calibration table. So many
    ``false_findings``, pairs of strangers, a batch may pass for one person; strangers pass
    for the faces of one name at the rate ``apart_fmr``. After ``patience_s`` of
    work a job ends and the next one goes on: what a search takes from others at a time, and
    what the death of a worker costs."""

    candidates: CandidateReader
    false_findings: float = 1.0
    apart_fmr: float = 1e-2
    time_slice_s: float = TIME_SLICE_S


class CandidateReader:
    """Reads for the search of a batch. Every method may raise ``DatabaseUnavailable``,
    and ``DecryptionFailed`` where vectors are read."""

    def __init__(self, engine: Engine, keys: KeySource) -> None:
        self._engine = engine
        self._keys = keys

    def batch(self, batch_id: str) -> Batch | None:
        """The batch; None when it is gone."""
        with reading(self._engine) as connection:
            return find_batch(connection, batch_id)

    def search_size(self, batch: Batch) -> SearchSize:
        asked = {"batch": batch.id, "tenant": batch.tenant_id}
        with reading(self._engine) as connection:
            count = int(connection.execute(_COUNT_OWN, asked).scalar_one())
            everybody = connection.execute(_COUNT_ALL, asked).scalar_one()
        return SearchSize(count, max(everybody - count, 0))

    def check_model(self, batch: Batch, model: VectorModel) -> None:
        """Raises ``PackMismatch`` when the gallery's vectors come from another model."""
        with reading(self._engine) as connection:
            check_model(connection, batch.tenant_id, model)

    def batch_faces(self, batch: Batch, after: int, limit: int) -> tuple[FaceRows, int]:
        """The faces of some ``most`` items of the batch past the number ``after``, and the
        number of the last; none of them, and 0, when that was all."""
        parts: list[FaceRows] = []
        count, last = 0, 0
        while count < limit:
            with reading(self._engine) as connection:
                asked = {"batch": batch.id, "after": last or after, "most": PAGE_ROWS}
                items = connection.execute(_ITEMS, asked).all()
                pictures = [row.image_ref for row in items if row.image_ref is not None]
                found = _rows_with(connection, _FACES, faces.c.image_ref, pictures)
                parts.append(self._rows(connection, batch, found))
            count += len(parts[-1])
            last = items[-1].number if items else last
            if len(items) < PAGE_ROWS:
                break
        return _by_label(_concatenated(parts)), last

    def gallery_faces(self, batch: Batch, after: int, first: int) -> tuple[FaceRows, int]:
        """The next faces of the gallery past the label ``after``, of the batch only those
        past ``first_stage``; and the last label that was looked at, 0 when that was all."""
        with reading(self._engine) as connection:
            asked = {"tenant": batch.tenant_id, "after": after, "most": PAGE_ROWS}
            labels = connection.execute(_LABELS, asked).all()
            ids = [row.face_id for row in labels]
            found = _rows_with(connection, _FACES, faces.c.id, ids)
            fresh = _images_of_batch(connection, batch, found)
            passed = {row.face_id for row in labels if row.label <= first}
            found = [
                row for row in found if row.id not in passed or row.image_ref not in fresh
            ]
            rows = self._rows(connection, batch, found)
        return _by_label(rows), labels[-1].label if labels else 0

    def faces_by_name(self, batch: Batch, names: Sequence[str]) -> Iterator[FaceRows]:
        """The faces of each name that has several, name by name."""
        wanted = sorted(set(names))
        for start in range(0, len(wanted), NAMES_PER_STATEMENT):
            some = wanted[start : start + NAMES_PER_STATEMENT]
            for together, most in self._name_groups(batch, some):
                with reading(self._engine) as connection:
                    asked = {"tenant": batch.tenant_id, "names": together, "most": most}
                    found = connection.execute(_FACES_BY_NAME, asked).all()
                    rows = self._rows(connection, batch, found)
                yield from _split_by_name(rows)

    def _name_groups(self, batch: Batch, names: list[str]) -> Iterator[tuple[list[str], int]]:
        """Names with several faces, so many at a time as are read together, and how many
        faces that are at most."""
        with reading(self._engine) as connection:
            asked = {"tenant": batch.tenant_id, "names": names}
            counted = [tuple(row) for row in connection.execute(_COUNT_BY_NAME, asked)]
        together: list[str] = []
        size = 0
        for name, count in counted:
            if count > MAX_FACES_PER_NAME:
                yield [name], MAX_FACES_PER_NAME
            elif count > 1:
                together.append(name)
                size += count
            if size >= PAGE_ROWS:
                yield together, size
                together, size = [], 0
        if together:
            yield together, size

    def repeated_images(self, batch: Batch, after: int) -> tuple[list[RepeatedImage], int]:
        """Items past the number ``after`` that brought an enrolled picture and gave a name,
        and the number of the last that was looked at, 0 when that was all."""
        with reading(self._engine) as connection:
            rows = connection.execute(_REPEATED, {"batch": batch.id, "after": after}).all()
            wanted = sorted({row.face_id for row in rows if row.face_id is not None})
            found = _rows_with(connection, _FACES, faces.c.id, wanted)
        names = {row.id: row.name for row in found}
        brought = [
            RepeatedImage(row.number, row.face_id, row.name, names[row.face_id])
            for row in rows if row.name and row.face_id in names
        ]
        return brought, rows[-1].number if rows else 0

    def _rows(
        self, connection: Connection, batch: Batch, found: Sequence[Row[*tuple[Any, ...]]]
    ) -> FaceRows:
        """Faces with their vectors, in the order of ``found``."""
        key = self._keys.data_key(batch.tenant_id)
        ids = [row.id for row in found]
        stored = {
            row.face_id: row
            for row in _rows_with(connection, _VECTORS, vectors.c.face_id, ids)
        }
        there = [row for row in found if row.id in stored]
        fresh = _images_of_batch(connection, batch, there)
        vectors_of = [stored[row.id] for row in there]
        return FaceRows(
            np.array([row.label for row in vectors_of], np.int64),
            np.array([row.id for row in there], np.int64),
            np.array([row.image_ref for row in there], np.int64),
            [row.name for row in there],
            np.array([row.image_ref in fresh for row in there], bool),
            _vectors(vectors_of, key),
        )


def _images_of_batch(
    connection: Connection, batch: Batch, found: Sequence[Row[*tuple[Any, ...]]]
) -> set[int]:
    """Those of the pictures that the batch has enrolled."""
    pictures = {row.image_ref for row in found}
    asked = {"batch": batch.id}
    rows = _rows_with(connection, _OWN_IMAGES, batch_items.c.image_ref, pictures, asked)
    return {row.image_ref for row in rows}


def _rows_with(
    connection: Connection, query: Select[*tuple[Any, ...]], column: Column[int],
    values: Collection[int], asked: Mapping[str, object] | None = None,
) -> list[Row[*tuple[Any, ...]]]:
    """The rows whose ``column`` has one of the ``row_values``. Ids that were given together
    lie together: as a range they cost a fraction of what naming thousands costs."""
    if not values:
        return []
    first, last = min(values), max(values)
    wanted = set(values)
    if last - first < MAX_RANGE_FACTOR * len(wanted):
        rows = connection.execute(query.where(column.between(first, last)), asked or {}).all()
        if len(wanted) == last - first + 1:
            return list(rows)
        value = attrgetter(column.key)
        return [row for row in rows if value(row) in wanted]
    found: list[Row[*tuple[Any, ...]]] = []
    named = sorted(wanted)
    for start in range(0, len(named), IDS_PER_STATEMENT):
        some = query.where(column.in_(named[start : start + IDS_PER_STATEMENT]))
        found += connection.execute(some, asked or {}).all()
    return found


def _vectors(rows: Sequence[Row[*tuple[Any, ...]]], key: DataKey | None) -> NDArray[np.float32]:
    """Stored vectors, shape (count, dimension)."""
    dimension = rows[0].dimension if rows else 1
    if all(len(row.vector) == VALUE_BYTES * dimension for row in rows):
        packed = b"".join(row.vector for row in rows)
        return np.frombuffer(packed, "<f4").reshape(len(rows), dimension).astype(np.float32)
    opened = [read_vector(row.vector, row.face_id, dimension, key) for row in rows]
    return np.array(opened, np.float32)


def _by_label(rows: FaceRows) -> FaceRows:
    """Rows by label."""
    return select_rows(rows, np.argsort(rows.labels))


def select_rows(rows: FaceRows, indices: NDArray[np.int64]) -> FaceRows:
    """The rows at these places."""
    return FaceRows(
        rows.labels[indices], rows.face_ids[indices], rows.image_refs[indices],
        [rows.names[place] for place in indices.tolist()], rows.from_batch[indices],
        rows.vectors[indices],
    )


def _concatenated(parts: Sequence[FaceRows]) -> FaceRows:
    full = [part for part in parts if len(part)] or list(parts[:1])
    return FaceRows(
        np.concatenate([part.labels for part in full]),
        np.concatenate([part.face_ids for part in full]),
        np.concatenate([part.image_refs for part in full]),
        [name for part in full for name in part.names],
        np.concatenate([part.from_batch for part in full]),
        np.concatenate([part.vectors for part in full]),
    )


def _split_by_name(rows: FaceRows) -> Iterator[FaceRows]:
    """Rows that stand together by name, name by name."""
    start = 0
    for end in range(1, len(rows) + 1):
        if end == len(rows) or rows.names[end] != rows.names[start]:
            yield select_rows(rows, np.arange(start, end))
            start = end
