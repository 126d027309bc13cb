"""Deleting faces: single ones, those of a collection, or all."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from sqlalchemy import (
    ColumnElement,
    Connection,
    Row,
    Select,
    Table,
    delete,
    exists,
    func,
    select,
    update,
)

from pipeline.database.job_faces import erase_results_about
from pipeline.database.keyset import blocks
from pipeline.database.schema import (
    batch_items,
    bindings,
    challenges,
    faces,
    findings,
    images,
    other_vectors,
    used_clips,
    vectors,
)
from pipeline.deletions.record import (
    DeletionRecord,
    Subject,
    SubjectKind,
    begin_deletion,
    object_digest,
    picture_digest,
)
from pipeline.gallery.trash import discard_selected
from pipeline.gallery.writer import GalleryWriter
from pipeline.storage_keys import object_owner

# Faces of one round of statements, which keeps below the database's limits on parameters
# and on the time of a statement.
BLOCK = 2000

GONE_WITH_FACES = (used_clips, challenges, findings, other_vectors)
"""Tables whose rows the database deletes with their face."""

ERASED = dict.fromkeys(
    ("source_name", "name", "collection", "external_id", "description", "sha256", "detail",
     "image_ref", "face_id")
)


def erase_faces(
    writer: GalleryWriter, face_ids: Sequence[int], now: float, *, keep_images: bool
) -> int:
    """Delete faces with their vectors, bindings and cut-outs, and the data of ended
    jobs and batches about them; returns how many there were.

    An image that loses its last face is deleted, or with ``keep_images`` stays and is listed
    under the id of that face. The receipt of the transaction names what went.
    """
    if face_ids:
        begin_receipt(writer, now)
    return sum(_erase(writer, block, now, keep_images) for block in blocks(face_ids, BLOCK))


def _erase(writer: GalleryWriter, face_ids: Sequence[int], now: float, keep_images: bool) -> int:
    connection, receipt = writer.connection, begin_receipt(writer, now)
    mine = faces.c.tenant_id == writer.tenant_id
    chosen = connection.execute(
        select(
            faces.c.id, faces.c.image_ref, faces.c.person_id, faces.c.face_key, faces.c.created_at
        )
        .where(mine, faces.c.id.in_(face_ids)).order_by(faces.c.id).with_for_update()
    ).all()
    ids = [row.id for row in chosen]
    image_refs = sorted({row.image_ref for row in chosen})
    receipt.add(subject for row in chosen for subject in _face_subjects(row))
    counts = {table.name: _count(connection, table, ids) for table in GONE_WITH_FACES}
    counts["job_results"] = erase_results_about(connection, ids, now)
    counts["batch_items"] = erase_item_details(connection, image_refs, now)
    writer.log_changes_of(select(vectors.c.label).where(vectors.c.face_id.in_(ids)))
    cutouts = select(faces.c.face_key).where(faces.c.id.in_(ids))
    counts["cutout_objects"] = discard_selected(
        connection, writer.tenant_id, cutouts, now, receipt.receipt_id
    )
    if keep_images:
        _keep_last_face_ids(writer, ids, image_refs)
    for column in (bindings.c.face_id, vectors.c.face_id, faces.c.id):
        deleted = connection.execute(delete(column.table).where(column.in_(ids)))
        counts[column.table.name] = deleted.rowcount
    receipt.count(writer.number, **counts)
    if not keep_images:
        erase_faceless_images(writer, images.c.id.in_(image_refs), now)
    return len(ids)


def begin_receipt(writer: GalleryWriter, now: float) -> DeletionRecord:
    """The receipt of what this transaction deletes, the same for all of it."""
    if writer.deletion is None:
        writer.deletion = begin_deletion(writer.connection, writer.tenant_id, now)
    return writer.deletion


def _face_subjects(row: Row[int, int, str, str, float]) -> Iterator[Subject]:
    """The face, and the job that brought it, which a backup may still hold waiting."""
    face_id, _, person_id, face_key, created_at = row
    yield Subject(SubjectKind.FACE, face_id, person_id, created_at)
    yield Subject(SubjectKind.JOB, face_id, object_owner(face_key), created_at)


def _count(connection: Connection, table: Table, face_ids: Sequence[int]) -> int:
    """How many rows of ``table`` go with these faces."""
    query = select(func.count()).select_from(table).where(table.c.face_id.in_(face_ids))
    return connection.execute(query).scalar_one()


def _keep_last_face_ids(writer: GalleryWriter, face_ids: list[int], image_refs: list[int]) -> None:
    """Record, in images that lose their last face, the id of that face."""
    of_image = faces.c.image_ref == images.c.id
    stays = exists().where(of_image, faces.c.id.not_in(face_ids))
    last = select(func.max(faces.c.id)).where(of_image).scalar_subquery()
    writer.connection.execute(
        update(images).where(images.c.id.in_(image_refs), ~stays).values(former_face_id=last)
    )


def erase_faceless_images(writer: GalleryWriter, chosen: ColumnElement[bool], now: float) -> None:
    """Delete those of the chosen images that have no face. They are in the receipt of the
    transaction if it has one: pictures that expire, or that a newer one replaces, have none."""
    connection, receipt = writer.connection, writer.deletion
    faceless = (
        images.c.tenant_id == writer.tenant_id, chosen,
        ~exists().where(faces.c.image_ref == images.c.id),
    )
    if receipt is not None:
        _add_pictures(connection, receipt, *faceless)
    keys = select(images.c.media_key).where(*faceless)
    receipt_id = None if receipt is None else receipt.receipt_id
    discard_selected(connection, writer.tenant_id, keys, now, receipt_id)
    items = erase_item_details(connection, select(images.c.id).where(*faceless), now)
    deleted = connection.execute(delete(images).where(*faceless)).rowcount
    if receipt is not None:
        receipt.count(writer.number, images=deleted, picture_objects=deleted, batch_items=items)


def _add_pictures(
    connection: Connection, receipt: DeletionRecord, *chosen: ColumnElement[bool]
) -> None:
    rows = connection.execute(
        select(images.c.id, images.c.image_id, images.c.media_key, images.c.created_at)
        .where(*chosen)
    ).all()
    for row in rows:
        named = picture_digest(receipt.receipt_id, row.image_id)
        receipt.add([
            Subject(SubjectKind.PICTURE, row.id, named, row.created_at),
            Subject(SubjectKind.OBJECT, row.id, object_digest(row.media_key), row.created_at),
        ])


def erase_item_details(
    connection: Connection, image_refs: Sequence[int] | Select[int], now: float
) -> int:
    """Erase the data of batch items about these images (``images.id``), in the transaction
    that deletes a face of them; returns how many items.

    An item does not record which of several faces its name belongs to, so that the first
    deletion erases all of it. Numbers, outcomes and hashes stay: by the hashes a later run
    over the source skips the item.
    """
    return connection.execute(
        update(batch_items)
        .where(batch_items.c.image_ref.in_(image_refs))
        .values(**ERASED, width=0, height=0, size=0, erased_at=now)
    ).rowcount


def gallery_extent(writer: GalleryWriter) -> tuple[int, int]:
    """The ids of the gallery's last face and last image; later ones are beyond it."""
    return _last(writer, faces), _last(writer, images)


def erase_within(
    writer: GalleryWriter, extent: tuple[int, int], now: float, limit: int
) -> tuple[int, bool]:
    """Delete up to ``limit`` faces with their images, or, once there are none, images without
    a face. Returns how many faces that were, and whether nothing is left."""
    last_face, last_image = extent
    chosen = _ids(writer, faces, last_face, limit)
    erase_faces(writer, chosen, now, keep_images=False)
    if len(chosen) == limit:
        return limit, False
    faceless = _ids(writer, images, last_image, limit)
    for block in blocks(faceless, BLOCK):
        erase_faceless_images(writer, images.c.id.in_(block), now)
    return len(chosen), len(faceless) < limit


def _last(writer: GalleryWriter, table: Table) -> int:
    newest = select(func.max(table.c.id)).where(table.c.tenant_id == writer.tenant_id)
    return writer.connection.execute(newest).scalar() or 0


def _ids(writer: GalleryWriter, table: Table, until: int, limit: int) -> list[int]:
    query = (
        select(table.c.id)
        .where(table.c.tenant_id == writer.tenant_id, table.c.id <= until)
        .order_by(table.c.id).limit(limit)
    )
    return list(writer.connection.execute(query).scalars())
