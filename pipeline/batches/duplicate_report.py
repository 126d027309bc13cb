"""Findings as people read them: with the names and the pictures as they are now."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, replace

from sqlalchemy import Connection, Engine, and_, func, select

from pipeline.batches.duplicate_search import FindingKind, strength
from pipeline.batches.model import ItemState
from pipeline.database.engine import reading
from pipeline.database.schema import batch_items, faces, findings, images
from pipeline.types import JsonObject


@dataclass(frozen=True, slots=True)
class FoundFace:
    """A face that a finding speaks of. ``last_change`` and ``source_name`` are those of the
    batch's item that brought it, 0 and empty where another one did."""

    face_id: int
    name: str
    image_id: str
    number: int = 0
    source_name: str = ""


@dataclass(frozen=True, slots=True)
class Finding:
    """Something to look at. ``cosine`` is None of equal pictures; ``count`` pairs, or
    faces, are like this one. ``again`` is the item that brought the same picture."""

    kind: FindingKind
    face: FoundFace
    other: FoundFace | None
    cosine: float | None
    count: int
    repeated_by: FoundFace | None = None

    def as_json(self) -> JsonObject:
        """It as JSON."""
        def side(face: FoundFace | None) -> JsonObject | None:
            return None if face is None else {
                "face_id": face.face_id, "name": face.name, "image_id": face.image_id,
                "item": face.number or None, "source_name": face.source_name,
            }

        return {
            "kind": self.kind.value, "face": side(self.face), "other": side(self.other),
            "again": side(self.repeated_by), "cosine": self.cosine, "count": self.count,
        }


def list_findings(
    engine: Engine, batch_id: str, *, kind: FindingKind | None = None, limit: int = 100
) -> list[Finding]:
    """The findings of a batch by kind, strongest first; those of the same two names are
    one. What has become one name since is left out. Raises ``DatabaseUnavailable``."""
    chosen = [findings.c.batch_id == batch_id]
    if kind is not None:
        chosen.append(findings.c.kind == kind.value)
    with reading(engine) as connection:
        rows = connection.execute(select(findings).where(*chosen).order_by(findings.c.id)).all()
        ids = {row.face_id for row in rows} | {row.other_id for row in rows}
        seen = _faces_by_id(connection, batch_id, sorted(id_ for id_ in ids if id_))
        again = _items_by_number(connection, batch_id, [row.number for row in rows if row.number])
    found: dict[tuple[object, ...], Finding] = {}
    for row in rows:
        face, other = seen.get(row.face_id), seen.get(row.other_id or 0)
        if face is None or (row.other_id is not None and other is None):
            continue
        one = Finding(
            FindingKind(row.kind), face, other, row.cosine, row._mapping["count"],
            again.get(row.number or 0),
        )
        if one.kind is FindingKind.TWO_NAMES and other is not None and face.name == other.name:
            continue
        _merge(found, one)
    ordered = sorted(found.values(), key=_sort_key)
    return ordered[:limit]


def _merge(found: dict[tuple[object, ...], Finding], one: Finding) -> None:
    """Join what is found of the same two names."""
    key: tuple[object, ...] = (len(found),)
    if one.kind is FindingKind.TWO_NAMES and one.other is not None:
        key = (one.kind, *sorted((one.face.name, one.other.name)))
    there = found.get(key)
    if there is None:
        found[key] = one
        return
    best = min(there, one, key=_sort_key)
    found[key] = replace(best, count=there.count + one.count)


def _sort_key(finding: Finding) -> tuple[str, float]:
    """By kind, then what is surest first."""
    return finding.kind.value, -strength(finding.kind, finding.cosine)


def notes_by_item(engine: Engine, batch_id: str, limit: int = 25_000) -> dict[int, str]:
    """What there is to say of items, by their number, for a report."""
    notes: dict[int, list[str]] = defaultdict(list)
    for found in list_findings(engine, batch_id, limit=limit):
        if found.kind is FindingKind.SAME_PICTURE:
            if found.repeated_by is not None:
                notes[found.repeated_by.number].append(f"same_picture as of {found.face.name!r}")
            continue
        assert found.other is not None
        score = "" if found.cosine is None else f" ({found.cosine:.2f})"
        for face, other in ((found.face, found.other), (found.other, found.face)):
            if not face.number:
                continue
            if found.kind in (FindingKind.TWO_NAMES, FindingKind.UNNAMED):
                notes[face.number].append(f"{found.kind}: {_described(other)}{score}")
            elif face is found.face:
                notes[face.number].append(f"{found.kind}{score}")
    return {number: "; ".join(said) for number, said in notes.items()}


def _described(face: FoundFace) -> str:
    at = face.source_name or face.image_id
    return f"{face.name!r} in {at}" if face.name else at


def _faces_by_id(connection: Connection, batch_id: str, ids: list[int]) -> dict[int, FoundFace]:
    seen: dict[int, FoundFace] = {}
    # A picture may stand for several items; the one that was enrolled is it.
    brought = and_(
        batch_items.c.image_ref == faces.c.image_ref, batch_items.c.batch_id == batch_id,
        batch_items.c.state == ItemState.ENROLLED.value,
    )
    query = (
        select(
            faces.c.id, faces.c.name, images.c.image_id,
            func.coalesce(batch_items.c.number, 0),
            func.coalesce(batch_items.c.source_name, ""),
        )
        .join(images, images.c.id == faces.c.image_ref)
        .join(batch_items, brought, isouter=True)
    )
    for start in range(0, len(ids), 1000):
        chosen = query.where(faces.c.id.in_(ids[start : start + 1000]))
        for row in connection.execute(chosen):
            seen[row.id] = FoundFace(*row)
    return seen


def _items_by_number(
    connection: Connection, batch_id: str, numbers: list[int]
) -> dict[int, FoundFace]:
    seen: dict[int, FoundFace] = {}
    for start in range(0, len(numbers), 1000):
        rows = connection.execute(
            select(
                batch_items.c.number, batch_items.c.face_id, batch_items.c.name,
                batch_items.c.source_name,
            ).where(
                batch_items.c.batch_id == batch_id,
                batch_items.c.number.in_(numbers[start : start + 1000]),
                batch_items.c.erased_at.is_(None),
            )
        )
        for row in rows:
            seen[row.number] = FoundFace(
                row.face_id or 0, row.name or "", "", row.number, row.source_name or ""
            )
    return seen
