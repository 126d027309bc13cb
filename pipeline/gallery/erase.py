"""Taking faces out of a gallery: one, a collection's, or all."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from sqlalchemy import ColumnElement, Table, delete, exists, func, select, update

from pipeline.database.schema import bindings, faces, images, vectors
from pipeline.gallery.changes import Writer
from pipeline.gallery.trash import discard_all

# Faces erased by one round of statements: a gallery of any size stays below the
# database's limits on parameters and on the time of a statement.
BLOCK = 2000


def erase_faces(
    writer: Writer, face_ids: Sequence[int], now: float, *, keep_images: bool
) -> int:
    """Delete faces with their vectors, bindings and face pictures; how many there were.

    A picture that no face hangs on any more stays with its description, in the list
    under the id of its last face (``keep_images``), or goes too.
    """
    erased = 0
    for start in range(0, len(face_ids), BLOCK):
        erased += _erase(writer, face_ids[start : start + BLOCK], now, keep_images)
    return erased


def _erase(writer: Writer, face_ids: Sequence[int], now: float, keep_images: bool) -> int:
    connection = writer.connection
    mine = faces.c.tenant_id == writer.tenant_id
    chosen = connection.execute(
        select(faces.c.id, faces.c.image_ref).where(mine, faces.c.id.in_(face_ids))
    ).all()
    ids = [row.id for row in chosen]
    pictures = sorted({row.image_ref for row in chosen})
    writer.note_all(select(vectors.c.label).where(vectors.c.face_id.in_(ids)))
    discard_all(
        connection, writer.tenant_id, select(faces.c.face_key).where(faces.c.id.in_(ids)), now
    )
    if keep_images:
        _remember(writer, ids, pictures)
    for table, column in ((bindings, bindings.c.face_id), (vectors, vectors.c.face_id)):
        connection.execute(delete(table).where(column.in_(ids)))
    connection.execute(delete(faces).where(faces.c.id.in_(ids)))
    if not keep_images:
        erase_bare(writer, images.c.id.in_(pictures), now)
    return len(ids)


def _remember(writer: Writer, face_ids: list[int], pictures: list[int]) -> None:
    """Let the pictures that are losing their last face keep its id."""
    of_picture = faces.c.image_ref == images.c.id
    stays = exists().where(of_picture, faces.c.id.not_in(face_ids))
    last = select(func.max(faces.c.id)).where(of_picture).scalar_subquery()
    writer.connection.execute(
        update(images).where(images.c.id.in_(pictures), ~stays).values(former_face_id=last)
    )


def erase_bare(writer: Writer, chosen: ColumnElement[bool], now: float) -> None:
    """Delete those of the chosen pictures that no face hangs on."""
    bare = (
        images.c.tenant_id == writer.tenant_id,
        chosen,
        ~exists().where(faces.c.image_ref == images.c.id),
    )
    discard_all(
        writer.connection, writer.tenant_id, select(images.c.media_key).where(*bare), now
    )
    writer.connection.execute(delete(images).where(*bare))


def erase_all(writer: Writer, now: float) -> int:
    """Delete every face and every picture of the tenant; how many faces there were."""
    erased = 0
    for block in _blocks(writer, faces):
        erased += erase_faces(writer, block, now, keep_images=False)
    for block in _blocks(writer, images):
        erase_bare(writer, images.c.id.in_(block), now)
    return erased


def _blocks(writer: Writer, table: Table) -> Iterator[list[int]]:
    """The ids of a table's rows of the tenant. Past the last one each time: a database
    walks over every row that the transaction has deleted before."""
    last = 0
    while block := list(
        writer.connection.execute(
            select(table.c.id)
            .where(table.c.tenant_id == writer.tenant_id, table.c.id > last)
            .order_by(table.c.id).limit(BLOCK)
        ).scalars()
    ):
        yield block
        last = block[-1]
