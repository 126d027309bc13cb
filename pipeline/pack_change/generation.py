"""The second vector of each face while the pack is upgraded, and exchanging it for the first.

``vectors`` holds what is served, ``other_vectors`` what the other pack of the upgrade makes of the
same faces. A row there is up to date while it has the face's label: a face that is given another
picture gets another label, and loses its other vectors at once. A row without a vector says why
the other pack has none.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from sqlalchemy import (
    ColumnElement,
    Connection,
    Engine,
    Select,
    delete,
    exists,
    func,
    insert,
    literal,
    null,
    select,
)

from pipeline.analysis.engine import AnalysisResources
from pipeline.database.clock import database_time
from pipeline.database.engine import change_rows, read_rows, read_values, reading, writing
from pipeline.database.schema import other_vectors, vectors
from pipeline.encryption.data_key import KeySource
from pipeline.errors import GalleryBusy, UpgradeNotReady
from pipeline.gallery.rows import stored_vector
from pipeline.gallery.writer import GalleryWriter, last_model, lock_tenant
from pipeline.media.base import MediaStore
from pipeline.pack_change.embed_again import EmbeddedAgain, embed_again, read_faces
from pipeline.types import VectorModel

PAGE_FACES = 24
"""Faces that are embedded and then written in one transaction: what a killed run loses."""

BUSY_PAUSE_S = 0.5

DELETED_ROWS = 2000  # of one transaction

_OTHER = other_vectors.c


@dataclass(frozen=True, slots=True)
class FillState:
    """How far a gallery's other vectors are: of ``faces``, ``filled`` have one, ``unfit`` cannot
    have one. ``served`` is the SHA-256 of the model that serves the gallery, empty without
    faces."""

    faces: int
    filled: int
    unfit: int
    served: str

    @property
    def pending(self) -> int:
        return self.faces - self.filled - self.unfit


@dataclass(frozen=True, slots=True)
class UnfitFace:
    """A face that a pack cannot embed, and the code of the error."""

    face_id: int
    code: str


def fill_state(engine: Engine, tenant_id: int, model: str) -> FillState:
    """How many faces have a vector of ``model`` (SHA-256) beside that which serves them. Raises
    ``DatabaseUnavailable``."""
    with reading(engine) as connection:
        served = last_model(connection, tenant_id)
        counted = select(func.count(), func.count(_OTHER.vector)).select_from(
            vectors.join(other_vectors, _current(model))
        ).where(*_served_by_others(tenant_id, model))
        rows, filled = connection.execute(counted).one()
        faces = connection.execute(
            select(func.count()).select_from(vectors).where(*_served_by_others(tenant_id, model))
        ).scalar_one()
    return FillState(faces, filled, rows - filled, "" if served is None else served.sha256)


def unfit_faces(engine: Engine, tenant_id: int, model: str) -> list[UnfitFace]:
    """The faces that ``model`` cannot embed. Raises ``DatabaseUnavailable``."""
    query = select(_OTHER.face_id, _OTHER.error_code).where(
        _OTHER.tenant_id == tenant_id, _OTHER.model_sha256 == model, _OTHER.vector.is_(None)
    ).order_by(_OTHER.face_id)
    return [UnfitFace(row.face_id, row.error_code or "") for row in read_rows(engine, query)]


def try_unfit_again(engine: Engine, tenant_id: int, model: str) -> int:
    """Have faces without a vector of ``model`` embedded once more; how many. Raises
    ``DatabaseUnavailable``."""
    return change_rows(engine, delete(other_vectors).where(
        _OTHER.tenant_id == tenant_id, _OTHER.model_sha256 == model, _OTHER.vector.is_(None)
    ))


@dataclass(frozen=True, slots=True)
class GenerationFill:
    """Fills in the vectors of ``model``, which the pack of ``resources`` makes. Several runs may
    fill one gallery: a page that another one was quicker with is written once more, the same."""

    engine: Engine
    keys: KeySource
    media: MediaStore
    resources: AnalysisResources
    model: VectorModel

    def fill(self, tenant_id: int, filled: Callable[[int], None] = lambda _: None) -> int:
        """Embed the faces that have no vector of the model yet, until there are none; how many
        were written. ``filled`` is told of each page. Raises what ``embed_again`` raises, and
        ``DatabaseUnavailable``, ``DecryptionFailed``, ``TenantNotFound``."""
        done = 0
        while page := read_values(self.engine, _pending(tenant_id, self.model.sha256)):
            stored = list(read_faces(self.engine, self.keys, tenant_id, page))
            embedded = embed_again(stored, self.media, self.resources)
            written = self._write_patiently(tenant_id, embedded)
            filled(written)
            done += written
        return done

    def _write_patiently(self, tenant_id: int, embedded: Sequence[EmbeddedAgain]) -> int:
        while True:
            try:
                return self._write(tenant_id, embedded)
            except GalleryBusy:  # the gallery's own work goes first
                time.sleep(BUSY_PAUSE_S)

    def _write(self, tenant_id: int, embedded: Sequence[EmbeddedAgain]) -> int:
        """Write the faces that are still what they were; how many."""
        now = database_time(self.engine)
        key = self.keys.data_key(tenant_id)
        with writing(self.engine) as connection:
            lock_tenant(connection, tenant_id)
            ids = [each.face.id for each in embedded]
            labels = select(vectors.c.face_id, vectors.c.label).where(vectors.c.face_id.in_(ids))
            label_of = {row.face_id: row.label for row in connection.execute(labels)}
            unchanged = [each for each in embedded if label_of.get(each.face.id) == each.face.label]
            connection.execute(delete(other_vectors).where(
                _OTHER.face_id.in_([each.face.id for each in unchanged]),
                _OTHER.model_sha256 == self.model.sha256,
            ))
            rows = [
                {
                    "face_id": each.face.id, "model_sha256": self.model.sha256,
                    "tenant_id": tenant_id, "label": each.face.label, "pack": self.model.pack,
                    "dimension": self.model.dimension,
                    "vector": None if each.vector is None
                    else stored_vector(each.vector, each.face.id, key),
                    "error_code": each.missing or None, "created_at": now,
                }
                for each in unchanged
            ]
            if rows:
                connection.execute(insert(other_vectors), rows)
        return len(rows)


def switch_gallery(engine: Engine, tenant_id: int, model: str, *, leave_out: bool = False) -> int:
    """Serve a gallery by its vectors of ``model`` (SHA-256), in one transaction; returns how many
    faces it has left out. Those that served so far are kept as the other ones. Labels stay: a
    reader of the change log finds another model under them, and reads the gallery anew.

    Raises ``UpgradeNotReady`` while a face has no such vector, and for faces that cannot have one
    unless these may be left out: no search finds them afterwards. Raises ``GalleryBusy``,
    ``TenantNotFound``, ``DatabaseUnavailable``.
    """
    with writing(engine, durable=True) as connection:
        writer = lock_tenant(connection, tenant_id)
        if connection.execute(_pending(tenant_id, model)).first() is not None:
            raise UpgradeNotReady("Faces have no vector of the other pack yet.")
        unfit = connection.execute(_unfit(tenant_id, model)).scalars().all()
        if unfit and not leave_out:
            raise UpgradeNotReady(
                f"{len(unfit)} faces cannot be embedded by the other pack; no search would find "
                "them."
            )
        _exchange(writer, model, unfit)
    return len(unfit)


def _exchange(writer: GalleryWriter, model: str, unfit: Sequence[int]) -> None:
    connection, tenant_id = writer.connection, writer.tenant_id
    served = _served_by_others(tenant_id, model)
    writer.log_changes_of(select(vectors.c.label).where(*served, vectors.c.face_id.in_(unfit)))
    last = connection.execute(select(func.max(vectors.c.label)).where(*served)).scalar()
    # A face may have a row that says why the served model could not embed it, from a time when
    # the other one served.
    connection.execute(delete(other_vectors).where(
        _OTHER.tenant_id == tenant_id, _OTHER.model_sha256 != model,
        _OTHER.face_id.in_(select(vectors.c.face_id).where(*served)),
    ))
    kept = ("face_id", "model_sha256", "tenant_id", "label", "pack", "dimension", "vector")
    connection.execute(insert(other_vectors).from_select(
        [*kept, "error_code", "created_at"],
        select(*(vectors.c[name] for name in kept), null(), vectors.c.created_at).where(*served),
    ))
    connection.execute(delete(vectors).where(*served))
    ready = (_OTHER.tenant_id == tenant_id, _OTHER.model_sha256 == model,
             _OTHER.vector.is_not(None))
    columns = (*kept, "created_at")
    connection.execute(insert(vectors).from_select(
        list(columns), select(*(_OTHER[name] for name in columns)).where(*ready)
    ))
    connection.execute(delete(other_vectors).where(*ready))
    if last is not None:
        writer.log_changes([_a_label(connection, tenant_id, last)])


def _a_label(connection: Connection, tenant_id: int, otherwise: int) -> int:
    """A label that the gallery has now."""
    newest = select(func.max(vectors.c.label)).where(vectors.c.tenant_id == tenant_id)
    return connection.execute(newest).scalar() or otherwise


def drop_other_vectors(engine: Engine) -> int:
    """Delete the other vectors of all galleries; how many rows. Raises
    ``DatabaseUnavailable``."""
    done = 0
    some = select(_OTHER.face_id).distinct().limit(DELETED_ROWS)
    while faces := read_values(engine, some):
        done += change_rows(engine, delete(other_vectors).where(_OTHER.face_id.in_(faces)))
    return done


def _served_by_others(tenant_id: int, model: str) -> tuple[ColumnElement[bool], ...]:
    """The gallery's vectors that ``model`` has not made."""
    return vectors.c.tenant_id == tenant_id, vectors.c.model_sha256 != model


def _current(model: str) -> ColumnElement[bool]:
    """The row of ``model`` about the same face with the same picture."""
    return (
        (_OTHER.face_id == vectors.c.face_id) & (_OTHER.model_sha256 == literal(model))
        & (_OTHER.label == vectors.c.label)
    )


def _pending(tenant_id: int, model: str) -> Select[int]:
    """A page of the faces that neither have a vector of ``model`` nor cannot have one."""
    return (
        select(vectors.c.face_id)
        .where(*_served_by_others(tenant_id, model), ~exists().where(_current(model)))
        .order_by(vectors.c.label).limit(PAGE_FACES)
    )


def _unfit(tenant_id: int, model: str) -> Select[int]:
    return (
        select(vectors.c.face_id)
        .join(other_vectors, _current(model))
        .where(*_served_by_others(tenant_id, model), _OTHER.vector.is_(None))
    )
