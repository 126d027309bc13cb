"""The findings of a batch's search for duplicate people, with names and pictures as they are now.

A finding is settled, and no longer listed, once the names say so: of two faces of one person both
have one name, of two people two. What operators have dismissed is not listed either
(``dismissals``).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
from sqlalchemy import Connection, Engine, Row, and_, func, select

from pipeline.batches.dismissals import Dismissals, read_dismissals
from pipeline.batches.duplicate_search import (
    IDS_PER_STATEMENT,
    MAX_LISTED,
    FindingKind,
    strength,
)
from pipeline.batches.model import ItemState
from pipeline.batches.person_names import comparable_name, is_person_name
from pipeline.database.engine import reading
from pipeline.database.keyset import blocks
from pipeline.database.schema import batch_items, batches, faces, findings, images
from pipeline.operations import Params

PAGE_ROWS = 200

class FoundFace(Params, frozen=True):
    """A face of a finding. ``item`` and ``source_name`` are those of the batch's item that
    brought it; None and empty when another batch or call did."""

    face_id: int
    name: str
    image_id: str
    item: int | None = None
    source_name: str = ""


class Finding(Params, frozen=True):
    """A finding with names and pictures as they are now. ``cosine`` is None for equal
    pictures; ``count`` is the number of pairs or faces like this one; ``again`` is the item
    that repeats the picture."""

    kind: FindingKind
    face: FoundFace
    other: FoundFace | None
    again: FoundFace | None
    cosine: float | None
    count: int


def list_findings(engine: Engine, batch_id: str, *, limit: int = 100) -> list[Finding]:
    """The findings of a batch by kind, strongest first. Findings of the same two names are merged;
    settled ones are left out. Raises ``DatabaseUnavailable``."""
    query = select(findings).where(findings.c.batch_id == batch_id).order_by(findings.c.id)
    with reading(engine) as connection:
        dismissed = read_dismissals(connection, _tenant_of(connection, batch_id))
        rows = connection.execute(query).all()
        present = _present(connection, batch_id, rows)
    found: dict[tuple[object, ...], Finding] = {}
    for _, one in present:
        if not is_settled(one, dismissed):
            _merge(found, one)
    return sorted(found.values(), key=_sort_key)[:limit]


def is_settled(found: Finding, dismissed: Dismissals) -> bool:
    """Whether a finding needs nobody's attention any more."""
    face, other = found.face, found.other or found.again
    if dismissed.covers(
        found.kind, face.face_id, face.name, found.other.face_id if found.other else None,
        found.other.name if found.other else "",
    ):
        return True
    if other is None:
        return False
    same_name = comparable_name(face.name) == comparable_name(other.name)
    if found.kind in (FindingKind.TWO_PEOPLE, FindingKind.ODD_FACE):
        return not same_name
    if found.kind is FindingKind.UNNAMED:
        return is_person_name(face.name) and is_person_name(other.name)
    return same_name


@dataclass(frozen=True, slots=True)
class QueuedFinding:
    """A finding that nobody has settled, with the number of its row (``findings.id``)."""

    id: int
    finding: Finding

    @property
    def position(self) -> str:
        """Its place in the queue."""
        return f"{self.finding.kind}:{self.id}"


def open_findings(
    engine: Engine, batch_id: str, *, kind: FindingKind | None = None, after: str = "",
    limit: int = 50,
) -> list[QueuedFinding]:
    """The first findings of a batch that nobody has settled, of one ``kind`` or by kind, past the
    position ``after``. A job's strongest ones of a kind come first. Raises
    ``DatabaseUnavailable``."""
    query = (
        select(findings).where(findings.c.batch_id == batch_id)
        .order_by(findings.c.kind, findings.c.id).limit(PAGE_ROWS)
    )
    if kind is not None:
        query = query.where(findings.c.kind == kind.value)
    place, _, number = after.partition(":")
    last = (place, int(number or 0))
    queue: list[QueuedFinding] = []
    with reading(engine) as connection:
        dismissed = read_dismissals(connection, _tenant_of(connection, batch_id))
        while len(queue) < limit:
            further = (findings.c.kind > last[0]) | (
                (findings.c.kind == last[0]) & (findings.c.id > last[1])
            )
            rows = connection.execute(query.where(further) if last[0] else query).all()
            queue += [
                QueuedFinding(id_, found) for id_, found in _present(connection, batch_id, rows)
                if not is_settled(found, dismissed)
            ]
            if len(rows) < PAGE_ROWS:
                break
            last = (rows[-1].kind, rows[-1].id)
    return queue[:limit]


def find_finding(connection: Connection, batch_id: str, finding_id: int) -> Finding | None:
    """A finding of a batch, settled or not; None when it is gone."""
    rows = connection.execute(
        select(findings).where(findings.c.batch_id == batch_id, findings.c.id == finding_id)
    ).all()
    return next((found for _, found in _present(connection, batch_id, rows)), None)


def _tenant_of(connection: Connection, batch_id: str) -> int:
    """The tenant of a batch; 0, which no tenant has, when the batch is gone."""
    query = select(batches.c.tenant_id).where(batches.c.id == batch_id)
    return connection.execute(query).scalar_one_or_none() or 0


def _present(
    connection: Connection, batch_id: str, rows: Sequence[Row[*tuple[Any, ...]]]
) -> Iterator[tuple[int, Finding]]:
    """The findings of rows whose faces are there, with the numbers of their rows."""
    ids = {row.face_id for row in rows} | {row.other_id for row in rows}
    by_id = _faces_by_id(connection, batch_id, sorted(id_ for id_ in ids if id_))
    numbers = [row.number for row in rows if row.number]
    by_number = _items_by_number(connection, batch_id, numbers)
    return (
        (
            row.id,
            Finding(
                FindingKind(row.kind), by_id[row.face_id], by_id.get(row.other_id or 0),
                by_number.get(row.number or 0), row.cosine, row._mapping["count"],
            ),
        )
        for row in rows
        if row.face_id in by_id and (row.other_id is None or row.other_id in by_id)
    )


def _merge(found: dict[tuple[object, ...], Finding], one: Finding) -> None:
    """Add a finding; findings of the same two names become one."""
    key: tuple[object, ...] = (len(found),)
    if one.kind is FindingKind.TWO_NAMES and one.other is not None:
        key = (one.kind, *sorted((one.face.name, one.other.name)))
    earlier = found.get(key)
    if earlier is None:
        found[key] = one
        return
    best = min(earlier, one, key=_sort_key)
    found[key] = msgspec.structs.replace(best, count=earlier.count + one.count)


def _sort_key(finding: Finding) -> tuple[str, float]:
    """By kind, the most certain first."""
    return finding.kind.value, -strength(finding.kind, finding.cosine)


def notes_by_item(engine: Engine, batch_id: str) -> dict[int, str]:
    """The findings about each item of a batch as text, by item number."""
    notes: dict[int, list[str]] = defaultdict(list)
    for found in list_findings(engine, batch_id, limit=len(FindingKind) * MAX_LISTED):
        if found.kind is FindingKind.SAME_PICTURE:
            if found.again is not None and found.again.item is not None:
                notes[found.again.item].append(f"same_picture as of {found.face.name!r}")
            continue
        assert found.other is not None
        score = "" if found.cosine is None else f" ({found.cosine:.2f})"
        for face, other in ((found.face, found.other), (found.other, found.face)):
            if face.item is None:
                continue
            if found.kind in (FindingKind.TWO_NAMES, FindingKind.UNNAMED):
                notes[face.item].append(f"{found.kind}: {_described(other)}{score}")
            elif face is found.face:
                notes[face.item].append(f"{found.kind}{score}")
    return {number: "; ".join(texts) for number, texts in notes.items()}


def _described(face: FoundFace) -> str:
    where = face.source_name or face.image_id
    return f"{face.name!r} in {where}" if face.name else where


def _faces_by_id(connection: Connection, batch_id: str, ids: list[int]) -> dict[int, FoundFace]:
    # Several items may have one image; the enrolled one is the one that brought it.
    brought = and_(
        batch_items.c.image_ref == faces.c.image_ref, batch_items.c.batch_id == batch_id,
        batch_items.c.state == ItemState.ENROLLED.value,
    )
    query = (
        select(
            faces.c.id, faces.c.name, images.c.image_id, batch_items.c.number,
            func.coalesce(batch_items.c.source_name, ""),
        )
        .join(images, images.c.id == faces.c.image_ref)
        .join(batch_items, brought, isouter=True)
    )
    return {
        row.id: FoundFace(*row)
        for some in blocks(ids, IDS_PER_STATEMENT)
        for row in connection.execute(query.where(faces.c.id.in_(some)))
    }


def _items_by_number(
    connection: Connection, batch_id: str, numbers: list[int]
) -> dict[int, FoundFace]:
    query = select(
        batch_items.c.number, batch_items.c.face_id, batch_items.c.name,
        batch_items.c.source_name,
    ).where(batch_items.c.batch_id == batch_id, batch_items.c.erased_at.is_(None))
    return {
        row.number: FoundFace(
            row.face_id or 0, row.name or "", "", row.number, row.source_name or ""
        )
        for some in blocks(numbers, IDS_PER_STATEMENT)
        for row in connection.execute(query.where(batch_items.c.number.in_(some)))
    }
