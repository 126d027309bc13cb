"""What the search of a batch reads: faces of the batch, of the rest of its gallery, and of
the names that it brings."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import (
    BindParameter,
    ColumnElement,
    Engine,
    Row,
    Select,
    and_,
    bindparam,
    exists,
    func,
    or_,
    select,
)

from pipeline.batches.model import Batch, ItemState
from pipeline.batches.statements import FIND_BATCH, batch_of
from pipeline.database.engine import reading
from pipeline.database.schema import batch_items, faces, vectors
from pipeline.errors import PackMismatch
from pipeline.gallery.changes import VALUE_BYTES, last_model, read_vector
from pipeline.secrets import DataKey, KeySource
from pipeline.types import VectorModel

PORTION = 4096  # faces read at a time: 8 MB of 512 numbers

MOST_OF_NAME = 2000
"""Faces of one name that are compared with each other; the rest is left out."""

NAMES_AT_ONCE = 500

_TENANT: BindParameter[int] = bindparam("tenant")
_BATCH: BindParameter[str] = bindparam("batch")
_AFTER: BindParameter[int] = bindparam("after")

# A face of a picture that the batch has enrolled.
_FRESH: ColumnElement[bool] = exists().where(
    batch_items.c.image_ref == faces.c.image_ref, batch_items.c.batch_id == _BATCH,
    batch_items.c.state == ItemState.ENROLLED.value,
)
_FACES = select(
    vectors.c.label, vectors.c.face_id, vectors.c.dimension, vectors.c.vector,
    faces.c.image_ref, faces.c.name, _FRESH.label("fresh"),
).join(faces, faces.c.id == vectors.c.face_id)

_EXTENT = (
    select(
        func.min(vectors.c.label), func.max(vectors.c.label), func.count(vectors.c.label)
    )
    .join(faces, faces.c.id == vectors.c.face_id)
    .join(batch_items, batch_items.c.image_ref == faces.c.image_ref)
    .where(batch_items.c.batch_id == _BATCH, batch_items.c.state == ItemState.ENROLLED.value)
)
_ALL = select(func.count()).select_from(vectors).where(vectors.c.tenant_id == _TENANT)

_OWN = _FACES.where(
    vectors.c.tenant_id == _TENANT, vectors.c.label > _AFTER,
    vectors.c.label <= bindparam("last"), _FRESH,
).order_by(vectors.c.label).limit(bindparam("most"))

# A pair within the batch is met where its later face is among the others.
_OTHERS = _FACES.where(
    vectors.c.tenant_id == _TENANT, vectors.c.label > _AFTER,
    or_(vectors.c.label > bindparam("first"), ~_FRESH),
).order_by(vectors.c.label).limit(bindparam("most"))

_COUNTED = (
    select(faces.c.name, func.count().label("count"))
    .where(faces.c.tenant_id == _TENANT, faces.c.name.in_(bindparam("names", expanding=True)))
    .group_by(faces.c.name).order_by(faces.c.name)
)
_PLACED = (
    select(
        faces.c.id,
        func.row_number().over(partition_by=faces.c.name, order_by=faces.c.id).label("place"),
    )
    .where(faces.c.tenant_id == _TENANT, faces.c.name.in_(bindparam("names", expanding=True)))
    .subquery()
)
_NAMED = (
    _FACES.join(_PLACED, and_(_PLACED.c.id == faces.c.id, _PLACED.c.place <= MOST_OF_NAME))
    .order_by(faces.c.name, vectors.c.label)
)

# Items that brought a picture which is enrolled under a name of its own.
_AGAIN = (
    select(
        batch_items.c.number, batch_items.c.face_id, batch_items.c.name.label("given"),
        faces.c.name,
    )
    .join(faces, faces.c.id == batch_items.c.face_id)
    .where(
        batch_items.c.batch_id == _BATCH, batch_items.c.state == ItemState.DUPLICATE.value,
        batch_items.c.name != faces.c.name, batch_items.c.number > _AFTER,
    )
    .order_by(batch_items.c.number).limit(PORTION)
)


@dataclass(frozen=True, slots=True, eq=False)
class FaceRows:
    """Faces, in the order of their labels: each array, and ``names``, with one entry a
    face. ``vectors`` have shape (count, dimension), float32; ``pictures`` are
    ``images.id``; ``fresh`` are those of the batch."""

    labels: NDArray[np.int64]
    faces: NDArray[np.int64]
    pictures: NDArray[np.int64]
    names: list[str]
    fresh: NDArray[np.bool_]
    vectors: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True, slots=True)
class Extent:
    """Where the faces of a batch are: the first and the last label, how many there are,
    and how many others the gallery has. All 0 when nothing is there."""

    first: int
    last: int
    faces: int
    rest: int


@dataclass(frozen=True, slots=True)
class Again:
    """An item that brought a picture again: the name it gave and the enrolled face's."""

    number: int
    face_id: int
    given: str
    name: str


PATIENCE_S = 10.0


@dataclass(frozen=True, slots=True)
class DoublesSearch:
    """What searching a batch takes beside the calibration table. So many
    ``false_findings``, pairs of strangers, a batch may pass for one person; strangers pass
    for the faces of one name at the rate ``apart_fmr``. After ``patience_s`` a job ends
    and the next one goes on: what a search takes from others at a time, and what the death
    of a worker costs."""

    comparison: Comparison
    false_findings: float = 1.0
    apart_fmr: float = 1e-2
    patience_s: float = PATIENCE_S


class Comparison:
    """Reads for the search of a batch. Every method may raise ``DatabaseUnavailable``,
    and ``SealBroken`` where vectors are read."""

    def __init__(self, engine: Engine, keys: KeySource) -> None:
        self._engine = engine
        self._keys = keys

    def batch(self, batch_id: str) -> Batch | None:
        """The batch; None when it is gone."""
        with reading(self._engine) as connection:
            row = connection.execute(FIND_BATCH, {"batch": batch_id}).one_or_none()
        return None if row is None else batch_of(row)

    def extent(self, batch: Batch) -> Extent:
        with reading(self._engine) as connection:
            asked = {"batch": batch.id, "tenant": batch.tenant_id}
            first, last, count = connection.execute(_EXTENT, asked).one()
            everybody = connection.execute(_ALL, asked).scalar_one()
        return Extent(first or 0, last or 0, count, everybody - count)

    def check_model(self, batch: Batch, model: VectorModel) -> None:
        """Raises ``PackMismatch`` when the gallery's vectors come from another model."""
        with reading(self._engine) as connection:
            there = last_model(connection, batch.tenant_id)
        if there is not None and there != model:
            raise PackMismatch(f"The gallery was made with the pack {there.pack!r}.")

    def own(self, batch: Batch, after: int, last: int, most: int) -> FaceRows:
        """The batch's faces from the label past ``after`` to ``last``, at most ``most``."""
        parts: list[FaceRows] = []
        left = most
        while left > 0:
            size = min(left, PORTION)
            part = self._read(batch, _OWN, after=after, last=last, most=size)
            parts.append(part)
            left -= len(part)
            if len(part) < size:
                break
            after = int(part.labels[-1])
        return _joined(parts)

    def others(self, batch: Batch, after: int, first: int) -> FaceRows:
        """The next faces of the gallery past the label ``after``; of the batch only those
        past ``first``."""
        return self._read(batch, _OTHERS, after=after, first=first, most=PORTION)

    def named(self, batch: Batch, names: Sequence[str]) -> Iterator[FaceRows]:
        """The faces of each name that has several, name by name."""
        wanted = sorted(set(names))
        for start in range(0, len(wanted), NAMES_AT_ONCE):
            some = wanted[start : start + NAMES_AT_ONCE]
            for together in self._portions(batch, some):
                yield from _by_name(self._read(batch, _NAMED, names=together))

    def _portions(self, batch: Batch, names: list[str]) -> Iterator[list[str]]:
        """Names with several faces, so many at a time as are read together."""
        with reading(self._engine) as connection:
            asked = {"tenant": batch.tenant_id, "names": names}
            counted = connection.execute(_COUNTED, asked).all()
        together: list[str] = []
        size = 0
        for row in counted:
            if row[1] > 1:
                together.append(row.name)
                size += min(row[1], MOST_OF_NAME)
            if size >= PORTION:
                yield together
                together, size = [], 0
        if together:
            yield together

    def again(self, batch: Batch, after: int) -> list[Again]:
        """Items past the number ``after`` that brought an enrolled picture under a name
        of their own, at most ``PORTION``."""
        with reading(self._engine) as connection:
            rows = connection.execute(_AGAIN, {"batch": batch.id, "after": after})
            return [Again(row.number, row.face_id, row.given, row.name) for row in rows]

    def _read(
        self, batch: Batch, query: Select[*tuple[Any, ...]], **asked: object
    ) -> FaceRows:
        key = self._keys.of(batch.tenant_id)
        with reading(self._engine) as connection:
            rows = connection.execute(
                query, {"tenant": batch.tenant_id, "batch": batch.id, **asked}
            ).all()
        return _face_rows(rows, key)


def _face_rows(rows: Sequence[Row[*tuple[Any, ...]]], key: DataKey | None) -> FaceRows:
    dimension = rows[0].dimension if rows else 1
    found = FaceRows(
        np.array([row.label for row in rows], np.int64),
        np.array([row.face_id for row in rows], np.int64),
        np.array([row.image_ref for row in rows], np.int64),
        [row.name for row in rows],
        np.array([row.fresh for row in rows], bool),
        np.empty((len(rows), dimension), np.float32),
    )
    if all(len(row.vector) == VALUE_BYTES * dimension for row in rows):
        packed = b"".join(row.vector for row in rows)
        found.vectors[:] = np.frombuffer(packed, "<f4").reshape(found.vectors.shape)
    else:
        for place, row in enumerate(rows):
            found.vectors[place] = read_vector(row.vector, row.face_id, dimension, key)
    return found


def _joined(parts: Sequence[FaceRows]) -> FaceRows:
    full = [part for part in parts if len(part)] or list(parts[:1])
    return FaceRows(
        np.concatenate([part.labels for part in full]),
        np.concatenate([part.faces for part in full]),
        np.concatenate([part.pictures for part in full]),
        [name for part in full for name in part.names],
        np.concatenate([part.fresh for part in full]),
        np.concatenate([part.vectors for part in full]),
    )


def _by_name(rows: FaceRows) -> Iterator[FaceRows]:
    """Rows that stand together by name, name by name."""
    start = 0
    for end in range(1, len(rows) + 1):
        if end == len(rows) or rows.names[end] != rows.names[start]:
            part = slice(start, end)
            yield FaceRows(
                rows.labels[part], rows.faces[part], rows.pictures[part], rows.names[part],
                rows.fresh[part], rows.vectors[part],
            )
            start = end
