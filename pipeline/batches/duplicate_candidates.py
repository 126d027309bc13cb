"""The faces that the search of a batch reads: those of the batch, of the rest of its gallery, and
of the names in the batch."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
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

from pipeline.batches.dismissals import Dismissals, read_dismissals
from pipeline.batches.model import Batch, ItemState
from pipeline.batches.rows import find_batch
from pipeline.database.engine import read_rows, reading
from pipeline.database.keyset import blocks
from pipeline.database.schema import batch_items, faces, vectors
from pipeline.encryption.data_key import DataKey, KeySource
from pipeline.gallery.enrolment import check_model
from pipeline.gallery.rows import VALUE_BYTES, read_vector
from pipeline.types import VectorModel

PAGE_ROWS = 4096  # faces read with one query: 8 MB of vectors of 512 numbers

MAX_FACES_PER_NAME = 2000
"""Faces of one name that are compared with each other; further ones are ignored."""

NAMES_PER_STATEMENT = 500
IDS_PER_STATEMENT = 500

# A range of ids is read as a whole when it has fewer than this many ids for each wanted one.
MAX_RANGE_FACTOR = 2

TIME_SLICE_S = 10.0

_TENANT: BindParameter[int] = bindparam("tenant")
_BATCH: BindParameter[str] = bindparam("batch")
_AFTER: BindParameter[int] = bindparam("after")
_LIMIT: BindParameter[int] = bindparam("limit")

_IS_ENROLLED = (batch_items.c.batch_id == _BATCH, batch_items.c.state == ItemState.ENROLLED.value)

# Each statement reads one table: after a million rows were inserted, the plan that a database
# chooses for a join may take seconds for each page.
_COUNT_OWN = select(func.coalesce(func.sum(batch_items.c.faces), 0)).where(*_IS_ENROLLED)
_COUNT_ALL = select(func.count()).select_from(vectors).where(vectors.c.tenant_id == _TENANT)
_ITEMS = (
    select(batch_items.c.number, batch_items.c.image_ref)
    .where(*_IS_ENROLLED, batch_items.c.number > _AFTER)
    .order_by(batch_items.c.number).limit(_LIMIT)
)
_LABELS = (
    select(vectors.c.label, vectors.c.face_id)
    .where(vectors.c.tenant_id == _TENANT, vectors.c.label > _AFTER)
    .order_by(vectors.c.label).limit(_LIMIT)
)
_OWN_IMAGES = select(batch_items.c.image_ref).where(*_IS_ENROLLED)
_FACES = select(faces.c.id, faces.c.image_ref, faces.c.name)
_HAS_NAME = (faces.c.tenant_id == _TENANT, faces.c.name.in_(bindparam("names", expanding=True)))
_FACES_BY_NAME = _FACES.where(*_HAS_NAME).order_by(faces.c.name, faces.c.id).limit(_LIMIT)
_COUNT_BY_NAME = (
    select(faces.c.name, func.count().label("count"))
    .where(*_HAS_NAME).group_by(faces.c.name).order_by(faces.c.name)
)
_VECTORS = select(vectors.c.label, vectors.c.face_id, vectors.c.dimension, vectors.c.vector)
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
    """Faces by label (in ``faces_by_name``, those of one name after another). Each array has one
    entry for each face; ``vectors`` have shape (count, dimension), float32. ``image_refs`` are
    ``images.id``; ``from_batch`` marks the faces that the batch has enrolled."""

    labels: NDArray[np.int64]
    face_ids: NDArray[np.int64]
    image_refs: NDArray[np.int64]
    names: NDArray[np.object_]
    from_batch: NDArray[np.bool_]
    vectors: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.labels)

    def columns(self) -> list[NDArray[Any]]:
        return [getattr(self, field.name) for field in fields(self)]


@dataclass(frozen=True, slots=True)
class RepeatedImage:
    """An item that repeats an enrolled picture: the item's name and the enrolled face's."""

    number: int
    face_id: int
    given_name: str
    enrolled_name: str


@dataclass(frozen=True, slots=True)
class DuplicateSearchConfig:
    """The settings of a batch's search, besides the calibration table. ``false_findings``: how many
    pairs of strangers a batch may report as one person. ``apart_fmr``: the rate at which strangers
    pass as faces of one name. ``time_slice_s``: seconds of work after which a job ends and the next
    one continues; the search holds up others for so long, and loses so much when a worker dies."""

    candidates: CandidateReader
    false_findings: float = 1.0
    apart_fmr: float = 1e-2
    time_slice_s: float = TIME_SLICE_S


@dataclass(frozen=True, slots=True)
class CandidateReader:
    """Reads for the search of a batch. Every method may raise ``DatabaseUnavailable``, and
    those that read vectors ``DecryptionFailed``."""

    engine: Engine
    keys: KeySource

    def batch(self, batch_id: str) -> Batch | None:
        """The batch; None when it is gone."""
        with reading(self.engine) as connection:
            return find_batch(connection, batch_id)

    def dismissals(self, batch: Batch) -> Dismissals:
        """What operators have said is no finding."""
        with reading(self.engine) as connection:
            return read_dismissals(connection, batch.tenant_id)

    def search_size(self, batch: Batch) -> tuple[int, int]:
        """How many faces a batch has enrolled, and how many others the gallery has."""
        parameters = {"batch": batch.id, "tenant": batch.tenant_id}
        with reading(self.engine) as connection:
            own = int(connection.execute(_COUNT_OWN, parameters).scalar_one())
            total = connection.execute(_COUNT_ALL, parameters).scalar_one()
        return own, max(total - own, 0)

    def check_model(self, batch: Batch, model: VectorModel) -> None:
        """Raises ``PackMismatch`` when the gallery's vectors are of another model."""
        with reading(self.engine) as connection:
            check_model(connection, batch.tenant_id, model)

    def batch_faces(self, batch: Batch, after: int, limit: int) -> tuple[FaceRows, int]:
        """About ``limit`` faces of the batch, of items past the number ``after``, and the
        number of the last item; no faces, and 0, when there are no more."""
        parts: list[FaceRows] = []
        count, last = 0, 0
        while count < limit:
            with reading(self.engine) as connection:
                parameters = {"batch": batch.id, "after": last or after, "limit": PAGE_ROWS}
                items = connection.execute(_ITEMS, parameters).all()
                refs = [row.image_ref for row in items if row.image_ref is not None]
                found = _rows_with(connection, _FACES, faces.c.image_ref, refs)
                parts.append(self._rows(connection, batch, found))
            count += len(parts[-1])
            last = items[-1].number if items else last
            if len(items) < PAGE_ROWS:
                break
        return _by_label(_concatenated(parts)), last

    def gallery_faces(self, batch: Batch, after: int, first: int) -> tuple[FaceRows, int]:
        """The next faces of the gallery past the label ``after``, those of the batch only past the
        label ``first``; and the last label that was read, 0 when there are no more."""
        with reading(self.engine) as connection:
            parameters = {"tenant": batch.tenant_id, "after": after, "limit": PAGE_ROWS}
            labels = connection.execute(_LABELS, parameters).all()
            ids = [row.face_id for row in labels]
            found = _rows_with(connection, _FACES, faces.c.id, ids)
            own = _images_of_batch(connection, batch, found)
            earlier = {row.face_id for row in labels if row.label <= first}
            found = [row for row in found if row.id not in earlier or row.image_ref not in own]
            rows = self._rows(connection, batch, found)
        return _by_label(rows), labels[-1].label if labels else 0

    def faces_by_name(self, batch: Batch, names: Sequence[str]) -> Iterator[FaceRows]:
        """The faces of each name that has several, one name after another."""
        for some in blocks(sorted(set(names)), NAMES_PER_STATEMENT):
            for group, limit in self._name_groups(batch, some):
                with reading(self.engine) as connection:
                    parameters = {"tenant": batch.tenant_id, "names": group, "limit": limit}
                    found = connection.execute(_FACES_BY_NAME, parameters).all()
                    rows = self._rows(connection, batch, found)
                yield from _split_by_name(rows)

    def _name_groups(self, batch: Batch, names: Sequence[str]) -> Iterator[tuple[list[str], int]]:
        """Names with several faces, in groups that are read with one query, each with the
        number of faces to read."""
        parameters = {"tenant": batch.tenant_id, "names": names}
        group: list[str] = []
        size = 0
        for name, count in read_rows(self.engine, _COUNT_BY_NAME, parameters):
            if count > MAX_FACES_PER_NAME:
                yield [name], MAX_FACES_PER_NAME
            elif count > 1:
                group.append(name)
                size += count
            if size >= PAGE_ROWS:
                yield group, size
                group, size = [], 0
        if group:
            yield group, size

    def repeated_images(self, batch: Batch, after: int) -> tuple[list[RepeatedImage], int]:
        """Items past the number ``after`` that repeat an enrolled picture and have a name,
        and the number of the last item that was read, 0 when there are no more."""
        with reading(self.engine) as connection:
            rows = connection.execute(_REPEATED, {"batch": batch.id, "after": after}).all()
            wanted = sorted({row.face_id for row in rows if row.face_id is not None})
            found = _rows_with(connection, _FACES, faces.c.id, wanted)
        names = {row.id: row.name for row in found}
        repeated = [
            RepeatedImage(row.number, row.face_id, row.name, names[row.face_id])
            for row in rows if row.name and row.face_id in names
        ]
        return repeated, rows[-1].number if rows else 0

    def _rows(
        self, connection: Connection, batch: Batch, found: Sequence[Row[*tuple[Any, ...]]]
    ) -> FaceRows:
        """Faces with their vectors, in the order of ``found``."""
        key = self.keys.data_key(batch.tenant_id)
        ids = [row.id for row in found]
        stored = {
            row.face_id: row
            for row in _rows_with(connection, _VECTORS, vectors.c.face_id, ids)
        }
        kept = [row for row in found if row.id in stored]
        own = _images_of_batch(connection, batch, kept)
        vector_rows = [stored[row.id] for row in kept]
        return FaceRows(
            np.array([row.label for row in vector_rows], np.int64),
            np.array([row.id for row in kept], np.int64),
            np.array([row.image_ref for row in kept], np.int64),
            np.array([row.name for row in kept], np.object_),
            np.array([row.image_ref in own for row in kept], bool),
            _vectors(vector_rows, key),
        )


def _images_of_batch(
    connection: Connection, batch: Batch, found: Sequence[Row[*tuple[Any, ...]]]
) -> set[int]:
    """Those of the faces' images that the batch has enrolled."""
    refs = {row.image_ref for row in found}
    parameters = {"batch": batch.id}
    rows = _rows_with(connection, _OWN_IMAGES, batch_items.c.image_ref, refs, parameters)
    return {row.image_ref for row in rows}


def _rows_with(
    connection: Connection, query: Select[*tuple[Any, ...]], column: Column[int],
    values: Collection[int], parameters: Mapping[str, object] | None = None,
) -> list[Row[*tuple[Any, ...]]]:
    """The rows whose ``column`` has one of the ``values``. Ids that were assigned together
    are adjacent: reading their range is much faster than listing thousands of them."""
    if not values:
        return []
    first, last = min(values), max(values)
    wanted = set(values)
    if last - first < MAX_RANGE_FACTOR * len(wanted):
        rows = connection.execute(query.where(column.between(first, last)), parameters or {}).all()
        if len(wanted) == last - first + 1:
            return list(rows)
        value = attrgetter(column.key)
        return [row for row in rows if value(row) in wanted]
    found: list[Row[*tuple[Any, ...]]] = []
    for some in blocks(sorted(wanted), IDS_PER_STATEMENT):
        found += connection.execute(query.where(column.in_(some)), parameters or {}).all()
    return found


def _vectors(rows: Sequence[Row[*tuple[Any, ...]]], key: DataKey | None) -> NDArray[np.float32]:
    """Stored vectors, shape (count, dimension)."""
    dimension = rows[0].dimension if rows else 1
    if all(len(row.vector) == VALUE_BYTES * dimension for row in rows):
        packed = b"".join(row.vector for row in rows)
        return np.frombuffer(packed, "<f4").reshape(len(rows), dimension).astype(np.float32)
    decrypted = [read_vector(row.vector, row.face_id, dimension, key) for row in rows]
    return np.array(decrypted, np.float32)


def _by_label(rows: FaceRows) -> FaceRows:
    return select_rows(rows, np.argsort(rows.labels))


def select_rows(rows: FaceRows, indices: NDArray[np.int64]) -> FaceRows:
    """The rows at these indices."""
    return FaceRows(*(column[indices] for column in rows.columns()))


def _concatenated(parts: Sequence[FaceRows]) -> FaceRows:
    full = [part for part in parts if len(part)] or list(parts[:1])
    columns = zip(*(part.columns() for part in full), strict=True)
    return FaceRows(*map(np.concatenate, columns))


def _split_by_name(rows: FaceRows) -> Iterator[FaceRows]:
    """Rows that are ordered by name, one name after another."""
    start = 0
    for end in range(1, len(rows) + 1):
        if end == len(rows) or rows.names[end] != rows.names[start]:
            yield select_rows(rows, np.arange(start, end))
            start = end
