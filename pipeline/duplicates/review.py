"""Settling the findings of a batch: what merging, splitting and renaming mean for a gallery.

A person is a name that faces have in common. Merging gives all faces of one name another one;
splitting gives the faces of a group, which the search found under a name of others, a name of
their own; renaming changes a single face. Each is one transaction, and keeps the former names with
the faces, so that it can be taken back.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

from sqlalchemy import ColumnElement, Connection, Engine, delete, insert, literal, select, update

from pipeline.batches.dismissals import read_dismissals
from pipeline.batches.duplicate_candidates import CandidateReader
from pipeline.batches.duplicate_search import FindingKind, search_of
from pipeline.batches.findings import Finding, FoundFace, find_finding
from pipeline.batches.model import Batch
from pipeline.batches.person_names import is_person_name
from pipeline.database.clock import Clock, database_time
from pipeline.database.engine import reading, writing
from pipeline.database.schema import dismissed_findings, faces, renamed_faces
from pipeline.duplicates.grouping import group_faces
from pipeline.encryption.data_key import KeySource
from pipeline.errors import Conflict, FindingNotFound, InvalidParameter
from pipeline.gallery.faces import FaceStore

UNDO_S = 30 * 86400.0
"""Seconds for which a change can be taken back."""

MAX_NAME = 255

Side = Literal["face", "other"]
"""Of a finding: its first face, which the batch brought, or the one that it is compared with."""

_TWO_IN_ONE = (FindingKind.TWO_PEOPLE, FindingKind.ODD_FACE)


class Settlement(StrEnum):
    """What is done about a finding."""

    MERGE = "merge"
    """It is one person: all faces get the name of one side."""
    SPLIT = "split"
    """The group of the first face is another person: it gets a name of its own."""
    RENAME = "rename"
    """One face gets another name."""
    DELETE = "delete"
    """One face is deleted, with its picture if that has no other."""
    DISMISS = "dismiss"
    """It is no finding, and is not found again."""


@dataclass(frozen=True, slots=True)
class SettledFinding:
    """What was done: how many faces were ``renamed``, and the ``change_id`` by which it is taken
    back; empty for a deletion."""

    settlement: Settlement
    renamed: int = 0
    change_id: str = ""


@dataclass(frozen=True, slots=True)
class FindingReview:
    """Settles findings of batches. ``clock`` gives epoch seconds (None: the database's). All
    methods raise ``DatabaseUnavailable``."""

    engine: Engine
    faces: FaceStore
    keys: KeySource
    clock: Clock | None = None

    def settle(
        self, batch: Batch, finding_id: int, settlement: Settlement, *, side: Side = "face",
        name: str = "",
    ) -> SettledFinding:
        """Settle a finding. ``side``: whose name stays when people are merged, or which face is
        renamed or deleted. ``name``: the new name; of a merge only where neither side has one.

        Raises ``FindingNotFound``, ``InvalidParameter`` for what the finding does not allow, and
        ``Conflict`` when the gallery has changed since it was found.
        """
        if len(name) > MAX_NAME or "\0" in name:
            raise InvalidParameter(f"a name has at most {MAX_NAME} characters, and no NUL")
        with reading(self.engine) as connection:
            found = find_finding(connection, batch.id, finding_id)
        if found is None:
            raise FindingNotFound
        if settlement is Settlement.MERGE and found.kind in _TWO_IN_ONE:
            settlement = Settlement.DISMISS
        if settlement is Settlement.DELETE:
            self.faces.delete(batch.tenant_id, _face_of(found, side).face_id)
            return SettledFinding(settlement)
        if settlement is Settlement.DISMISS:
            return self._dismiss(batch, found)
        if settlement is Settlement.SPLIT:
            return self._split(batch, found, name)
        if settlement is Settlement.RENAME:
            this = faces.c.id == _face_of(found, side).face_id
            return self._rename(batch, settlement, [(this, _required(name))])
        return self._merge(batch, found, side, name)

    def undo(self, tenant_id: int, change_id: str) -> int:
        """Take a change back; how many faces got their former name, or findings came back. Faces
        that were renamed since stay as they are. Raises ``FindingNotFound`` for a change that is
        gone, or is not of the tenant."""
        now = database_time(self.engine, self.clock)
        with writing(self.engine) as connection:
            dismissed = connection.execute(delete(dismissed_findings).where(
                dismissed_findings.c.tenant_id == tenant_id,
                dismissed_findings.c.change_id == change_id,
            )).rowcount
            mine = faces.c.tenant_id == tenant_id
            rows = connection.execute(
                select(renamed_faces.c.face_id, renamed_faces.c.former_name, renamed_faces.c.name)
                .join(faces, faces.c.id == renamed_faces.c.face_id)
                .where(renamed_faces.c.change_id == change_id, mine)
            ).all()
            if not dismissed and not rows:
                raise FindingNotFound("There is no such change, or it is too long ago.")
            restored = sum(
                connection.execute(
                    update(faces).where(mine, faces.c.id == row.face_id, faces.c.name == row.name)
                    .values(name=row.former_name)
                ).rowcount
                for row in rows
            )
            if rows:
                connection.execute(
                    delete(renamed_faces).where(renamed_faces.c.change_id == change_id)
                )
            _forget_old(connection, now)
        return restored + dismissed

    def suggest_name(self, tenant_id: int, name: str) -> str:
        """A name that nobody has, made from one: ``Ada (2)``."""
        number, free = 2, f"{name[: MAX_NAME - 8]} (2)"
        with reading(self.engine) as connection:
            while connection.execute(
                select(faces.c.id).where(faces.c.tenant_id == tenant_id, faces.c.name == free)
                .limit(1)
            ).first():
                number += 1
                free = f"{name[: MAX_NAME - 8]} ({number})"
        return free

    def _merge(self, batch: Batch, found: Finding, side: Side, name: str) -> SettledFinding:
        if found.other is None:  # the picture came again under another name: it keeps its own
            return self._dismiss(batch, found)
        kept, lost = found.face, found.other
        if side == "other":
            kept, lost = lost, kept
        if found.kind is FindingKind.UNNAMED:
            if not is_person_name(kept.name) and is_person_name(lost.name):
                kept, lost = lost, kept
            if not is_person_name(kept.name):
                both = faces.c.id.in_([kept.face_id, lost.face_id])
                return self._rename(batch, Settlement.MERGE, [(both, _required(name))])
            return self._rename(
                batch, Settlement.MERGE, [(faces.c.id == lost.face_id, kept.name)]
            )
        return self._rename(batch, Settlement.MERGE, [(faces.c.name == lost.name, kept.name)])

    def _split(self, batch: Batch, found: Finding, name: str) -> SettledFinding:
        if found.kind not in _TWO_IN_ONE or found.other is None:
            raise InvalidParameter("only faces of one name can be split")
        if found.face.name != found.other.name:
            raise Conflict("The faces have different names by now.")
        new = name or self.suggest_name(batch.tenant_id, found.face.name)
        group = self._group(batch, found.face, found.other)
        return self._rename(batch, Settlement.SPLIT, [(faces.c.id.in_(group), new)])

    def _group(self, batch: Batch, face: FoundFace, other: FoundFace) -> Sequence[int]:
        """The faces of one name that belong to ``face`` and not to ``other``, grouped as the
        search groups them, of the faces as they are now."""
        search = search_of(batch)
        if search is None or search.apart is None:
            return [face.face_id]
        candidates = CandidateReader(self.engine, self.keys)
        for rows in candidates.faces_by_name(batch, [face.name]):
            ids = rows.face_ids
            for group in group_faces(rows.vectors, search.apart):
                members = ids[group.members].tolist()
                if face.face_id in members:
                    if other.face_id in members:
                        raise Conflict("The faces of this name belong together by now.")
                    return [int(each) for each in members]
        return [face.face_id]

    def _rename(
        self, batch: Batch, settlement: Settlement,
        changes: Sequence[tuple[ColumnElement[bool], str]],
    ) -> SettledFinding:
        """Give the chosen faces of the tenant their names, and keep the former ones."""
        change_id, now = uuid.uuid4().hex, database_time(self.engine, self.clock)
        renamed = 0
        with writing(self.engine) as connection:
            for chosen, name in changes:
                these = (faces.c.tenant_id == batch.tenant_id, chosen, faces.c.name != name)
                connection.execute(insert(renamed_faces).from_select(
                    ["change_id", "face_id", "former_name", "name", "renamed_at"],
                    select(literal(change_id), faces.c.id, faces.c.name, literal(name),
                           literal(now)).where(*these),
                ))
                renamed += connection.execute(
                    update(faces).where(*these).values(name=name)
                ).rowcount
            _forget_old(connection, now)
        if not renamed:
            raise Conflict("No face has another name.")
        return SettledFinding(settlement, renamed, change_id)

    def _dismiss(self, batch: Batch, found: Finding) -> SettledFinding:
        change_id, now = uuid.uuid4().hex, database_time(self.engine, self.clock)
        other_id = found.other.face_id if found.other else None
        with writing(self.engine) as connection:
            known = read_dismissals(connection, batch.tenant_id)
            face, other = found.face, found.other
            if known.covers(
                found.kind, face.face_id, face.name, other_id, other.name if other else ""
            ):
                raise Conflict("This finding is dismissed already.")
            connection.execute(insert(dismissed_findings).values(
                tenant_id=batch.tenant_id, kind=found.kind.value, face_id=face.face_id,
                other_id=other_id, change_id=change_id, dismissed_at=now,
            ))
        return SettledFinding(Settlement.DISMISS, 0, change_id)


def _face_of(found: Finding, side: Side) -> FoundFace:
    if side == "face":
        return found.face
    if found.other is None:
        raise InvalidParameter("the finding is about one face")
    return found.other


def _required(name: str) -> str:
    """The name without surrounding spaces. Raises ``InvalidParameter`` for none."""
    if not name.strip():
        raise InvalidParameter("a name is needed")
    return name.strip()


def _forget_old(connection: Connection, now: float) -> None:
    connection.execute(delete(renamed_faces).where(renamed_faces.c.renamed_at < now - UNDO_S))
