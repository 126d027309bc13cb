"""What operators have said is no finding, so that it is not found again.

The memory names faces, not names: it goes with either face, and follows when a face is renamed.
What it covers depends on the kind of the finding:

- two names: all faces of the two names, as they are called now;
- no name: the two faces;
- several people, odd face: the face, which belongs to its name;
- same picture: the picture's face, whatever it is called in other sources.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from sqlalchemy import Connection, select

from pipeline.batches.duplicate_search import FindingKind
from pipeline.batches.person_names import comparable_name
from pipeline.database.schema import dismissed_findings, faces


@dataclass(slots=True)
class Dismissals:
    """The dismissed findings of a tenant. ``names``: pairs of comparable names of two people;
    ``pairs``: pairs of faces (``faces.id``) of two people; ``members``: faces that belong to
    their name; ``repeated``: faces whose picture may have other names."""

    names: set[frozenset[str]] = field(default_factory=set)
    pairs: set[frozenset[int]] = field(default_factory=set)
    members: set[int] = field(default_factory=set)
    repeated: set[int] = field(default_factory=set)

    def covers(
        self, kind: FindingKind, face_id: int, name: str, other_id: int | None, other_name: str
    ) -> bool:
        """Whether a finding was dismissed."""
        if kind is FindingKind.TWO_NAMES:
            return frozenset(map(comparable_name, (name, other_name))) in self.names
        if kind is FindingKind.UNNAMED:
            return other_id is not None and frozenset((face_id, other_id)) in self.pairs
        if kind is FindingKind.SAME_PICTURE:
            return face_id in self.repeated
        return face_id in self.members


def read_dismissals(connection: Connection, tenant_id: int) -> Dismissals:
    """The dismissed findings of a tenant."""
    one, two = faces.alias("one"), faces.alias("two")
    rows = connection.execute(
        select(
            dismissed_findings.c.kind, one.c.id.label("face_id"), one.c.name,
            two.c.id.label("other_id"), two.c.name.label("other_name"),
        )
        .join(one, one.c.id == dismissed_findings.c.face_id)
        .join(two, two.c.id == dismissed_findings.c.other_id, isouter=True)
        .where(dismissed_findings.c.tenant_id == tenant_id)
    )
    found = Dismissals()
    for row in rows:
        kind = FindingKind(row.kind)
        if kind is FindingKind.TWO_NAMES:
            found.names.add(frozenset(map(comparable_name, (row.name, row.other_name))))
        elif kind is FindingKind.UNNAMED:
            found.pairs.add(frozenset((row.face_id, row.other_id)))
        elif kind is FindingKind.SAME_PICTURE:
            found.repeated.add(row.face_id)
        else:
            found.members.add(row.face_id)
    return found
