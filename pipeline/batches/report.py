"""The report of a batch: a row for every item, with the ids that the APIs return."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict

from sqlalchemy import Engine, select

from pipeline.batches.findings import notes_by_item
from pipeline.batches.model import BatchItem
from pipeline.batches.store import BatchStore
from pipeline.database.engine import read_rows
from pipeline.database.schema import faces, images

COLUMNS = (
    "number", "source_name", "outcome", "reason", "detail", "original", "name", "collection",
    "external_id", "description", "face_id", "face_token", "image_id", "faces", "sha256", "size",
    "width", "height", "deleted", "findings",
)
"""``face_id`` is document a's Fid, ``face_token`` and ``image_id`` are document b's; all three
are of the first of the ``faces``. ``original`` is the number of the item with the same bytes."""

Report = Iterator[Mapping[str, object]]


def report_rows(engine: Engine, batches: BatchStore, batch_id: str) -> Report:
    """The rows by number. Raises ``DatabaseUnavailable``."""
    notes = notes_by_item(engine, batch_id)
    for page in batches.item_pages(batch_id):
        tokens = _face_tokens(engine, [each.face_id for each in page if each.face_id is not None])
        for item in page:
            row = _row(item, *tokens.get(item.face_id or 0, ("", "")))
            yield {**row, "findings": notes.get(item.number, "")}


def _row(item: BatchItem, face_token: str, image_id: str) -> Mapping[str, object]:
    return {
        "number": item.number, "source_name": item.source_name, "outcome": item.state.value,
        "reason": item.reason, "detail": item.detail, "original": item.original or None,
        **asdict(item.about), "face_id": item.face_id, "face_token": face_token,
        "image_id": image_id, "faces": item.faces, "sha256": item.sha256, "size": item.size,
        "width": item.width, "height": item.height, "deleted": item.erased_at is not None,
    }


def _face_tokens(engine: Engine, face_ids: Sequence[int]) -> dict[int, tuple[str, str]]:
    """(face token, image id) of those of the faces that exist."""
    query = (
        select(faces.c.id, faces.c.face_token, images.c.image_id)
        .join(images, images.c.id == faces.c.image_ref).where(faces.c.id.in_(face_ids))
    )
    return {row.id: (row.face_token, row.image_id) for row in read_rows(engine, query)}
