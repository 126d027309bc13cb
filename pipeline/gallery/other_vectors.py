"""The second vector of each face while the pack is upgraded, and exchanging it for the first.

``vectors`` holds what is served, ``other_vectors`` what the other pack of the upgrade makes of the
same faces. A row there is up to date while it has the face's label: a face that is given another
picture gets another label, and loses its other vectors at once. A row without a vector says why
the other pack has none.
"""

from __future__ import annotations

from collections.abc import Sequence
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

from pipeline.database.clock import database_time
from pipeline.database.engine import change_rows, read_rows, read_values, reading, writing
from pipeline.database.schema import other_vectors, vectors
from pipeline.encryption.data_key import DataKey
from pipeline.errors import UpgradeNotReady
from pipeline.gallery.engine_copies import leave_engine
from pipeline.gallery.rows import stored_vector
from pipeline.gallery.writer import GalleryWriter, last_model, lock_tenant
from pipeline.types import Embedding, VectorModel

PAGE_FACES = 24
"""Faces that are embedded and then written in one transaction: what a killed run loses."""

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


def sides_of(engine: Engine, tenant_id: int, former: str, following: str) -> FillState:
    """How far a gallery is with the vectors that do not serve it: those of the model
    ``following`` (SHA-256), or once this one serves it those of ``former``. Raises
    ``DatabaseUnavailable``."""
    state = fill_state(engine, tenant_id, following)
    return fill_state(engine, tenant_id, former) if state.served == following else state


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


def try_unfit_again(engine: Engine, tenant_id: int, model: str) -> int:
    """Have faces without a vector of ``model`` embedded once more; how many. Raises
    ``DatabaseUnavailable``."""
    return change_rows(engine, delete(other_vectors).where(
        _OTHER.tenant_id == tenant_id, _OTHER.model_sha256 == model, _OTHER.vector.is_(None)
    ))


@dataclass(frozen=True, slots=True, eq=False)
class OtherVector:
    """What another pack makes of a face that had ``label`` when it was read: a vector, or the code
    of the error that prevents one."""

    face_id: int
    label: int
    vector: Embedding | None
    error_code: str = ""


def pending_faces(
    engine: Engine, tenant_id: int, model: str, after: int = 0
) -> dict[int, int]:
    """A page of the faces that ``model`` has not been tried on yet, with their labels: the lowest
    ones above ``after``. Raises ``DatabaseUnavailable``."""
    query = _pending(tenant_id, model).where(vectors.c.label > after)
    return {row.face_id: row.label for row in read_rows(engine, query)}


def write_other_vectors(
    engine: Engine, tenant_id: int, model: VectorModel, found: Sequence[OtherVector],
    key: DataKey | None = None,
) -> int:
    """Write the vectors of faces that still have their label, encrypted with a ``key``; how many.
    Raises ``TenantNotFound``, ``GalleryBusy``, ``DatabaseUnavailable``."""
    now = database_time(engine)
    with writing(engine) as connection:
        lock_tenant(connection, tenant_id)
        ids = [each.face_id for each in found]
        labels = select(vectors.c.face_id, vectors.c.label).where(vectors.c.face_id.in_(ids))
        label_of = {row.face_id: row.label for row in connection.execute(labels)}
        unchanged = [each for each in found if label_of.get(each.face_id) == each.label]
        connection.execute(delete(other_vectors).where(
            _OTHER.face_id.in_([each.face_id for each in unchanged]),
            _OTHER.model_sha256 == model.sha256,
        ))
        rows = [
            {
                "face_id": each.face_id, "model_sha256": model.sha256, "tenant_id": tenant_id,
                "label": each.label, "pack": model.pack, "dimension": model.dimension,
                "vector": None if each.vector is None
                else stored_vector(each.vector, each.face_id, key),
                "error_code": each.error_code or None, "created_at": now,
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
    leave_engine(connection, tenant_id)  # it has the other model's vectors
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


def _pending(tenant_id: int, model: str) -> Select[int, int]:
    """A page of the faces that neither have a vector of ``model`` nor cannot have one, with their
    labels."""
    return (
        select(vectors.c.face_id, vectors.c.label)
        .where(*_served_by_others(tenant_id, model), ~exists().where(_current(model)))
        .order_by(vectors.c.label).limit(PAGE_FACES)
    )


def _unfit(tenant_id: int, model: str) -> Select[int]:
    return (
        select(vectors.c.face_id)
        .join(other_vectors, _current(model))
        .where(*_served_by_others(tenant_id, model), _OTHER.vector.is_(None))
    )
