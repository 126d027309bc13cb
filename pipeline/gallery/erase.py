"""Taking faces out of a gallery: one, a collection's, or all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import ColumnElement, Table, delete, exists, func, select, update

from pipeline.database.job_faces import erase_results_about
from pipeline.database.schema import bindings, faces, images, vectors
from pipeline.gallery.batch_items import erase_item_details
from pipeline.gallery.change_log import GalleryWriter
from pipeline.gallery.trash import discard_selected

# Faces erased by one round of statements: a gallery of any size stays below the
# database's limits on parameters and on the time of a statement.
BLOCK = 2000


def erase_faces(
    writer: GalleryWriter, face_ids: Sequence[int], now: float, *, keep_images: bool
) -> int:
    """Delete faces with their vectors, bindings and face pictures, and what ended jobs
    and batches say of them; how many there were.

    A picture that no face hangs on any more stays with its description, in the list
    under the id of its last face (``keep_images``), or goes too.
    """
    erased = 0
    for start in range(0, len(face_ids), BLOCK):
        erased += _erase(writer, face_ids[start : start + BLOCK], now, keep_images)
    return erased


def _erase(writer: GalleryWriter, face_ids: Sequence[int], now: float, keep_images: bool) -> int:
    connection = writer.connection
    mine = faces.c.tenant_id == writer.tenant_id
    chosen = connection.execute(
        select(faces.c.id, faces.c.image_ref).where(mine, faces.c.id.in_(face_ids))
        .order_by(faces.c.id).with_for_update()
    ).all()
    ids = [row.id for row in chosen]
    erase_results_about(connection, ids, now)
    pictures = sorted({row.image_ref for row in chosen})
    erase_item_details(connection, pictures, now)
    writer.log_changes_of(select(vectors.c.label).where(vectors.c.face_id.in_(ids)))
    discard_selected(
        connection, writer.tenant_id, select(faces.c.face_key).where(faces.c.id.in_(ids)), now
    )
    if keep_images:
        _keep_last_face_ids(writer, ids, pictures)
    for table, column in ((bindings, bindings.c.face_id), (vectors, vectors.c.face_id)):
        connection.execute(delete(table).where(column.in_(ids)))
    connection.execute(delete(faces).where(faces.c.id.in_(ids)))
    if not keep_images:
        erase_faceless_images(writer, images.c.id.in_(pictures), now)
    return len(ids)


def _keep_last_face_ids(writer: GalleryWriter, face_ids: list[int], pictures: list[int]) -> None:
    """Let the pictures that are losing their last face keep its id."""
    of_picture = faces.c.image_ref == images.c.id
    stays = exists().where(of_picture, faces.c.id.not_in(face_ids))
    last = select(func.max(faces.c.id)).where(of_picture).scalar_subquery()
    writer.connection.execute(
        update(images).where(images.c.id.in_(pictures), ~stays).values(former_face_id=last)
    )


def erase_faceless_images(writer: GalleryWriter, chosen: ColumnElement[bool], now: float) -> None:
    """Delete those of the chosen pictures that no face hangs on."""
    bare = (
        images.c.tenant_id == writer.tenant_id,
        chosen,
        ~exists().where(faces.c.image_ref == images.c.id),
    )
    discard_selected(
        writer.connection, writer.tenant_id, select(images.c.media_key).where(*bare), now
    )
    erase_item_details(writer.connection, select(images.c.id).where(*bare), now)
    writer.connection.execute(delete(images).where(*bare))


@dataclass(frozen=True, slots=True)
class GalleryExtent:
    """How far a gallery reached at some moment: its last face and its last picture."""

    face: int
    image: int


def gallery_extent(writer: GalleryWriter) -> GalleryExtent:
    """How far the gallery reaches now; what is enrolled later lies beyond."""
    return GalleryExtent(_last(writer, faces), _last(writer, images))


def erase_within(
    writer: GalleryWriter, within: GalleryExtent, now: float, limit: int
) -> tuple[int, bool]:
    """Delete faces with their pictures, up to ``limit`` of them, then pictures without a
    face; how many faces it were, and whether nothing is left."""
    chosen = _ids(writer, faces, within.face, limit)
    erase_faces(writer, chosen, now, keep_images=False)
    if len(chosen) == limit:
        return limit, False
    bare = _ids(writer, images, within.image, limit)
    for start in range(0, len(bare), BLOCK):
        erase_faceless_images(writer, images.c.id.in_(bare[start : start + BLOCK]), now)
    return len(chosen), len(bare) < limit


def _last(writer: GalleryWriter, table: Table) -> int:
    newest = select(func.max(table.c.id)).where(table.c.tenant_id == writer.tenant_id)
    return writer.connection.execute(newest).scalar() or 0


def _ids(writer: GalleryWriter, table: Table, until: int, limit: int) -> list[int]:
    return list(
        writer.connection.execute(
            select(table.c.id)
            .where(table.c.tenant_id == writer.tenant_id, table.c.id <= until)
            .order_by(table.c.id).limit(limit)
        ).scalars()
    )
