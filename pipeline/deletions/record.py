"""Recording a deletion in the transaction that carries it out.

The rows are what the journal and the receipt are made of: random ids, times and hashes, nothing
by which a face could be recognised.
"""

from __future__ import annotations

import hashlib
import uuid
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum

from sqlalchemy import Connection, insert, select, update

from pipeline.database.schema import receipt_subjects, receipts, tenants
from pipeline.errors import TenantNotFound


class DeletionKind(StrEnum):
    """What a deletion removes."""

    GALLERY = "gallery"
    """Faces and pictures."""
    APPLICATION = "application"
    KEY = "key"
    """The data key of an application, and with it everything that it encrypts."""


class SubjectKind(StrEnum):
    """What a row of ``receipt_subjects`` is about."""

    FACE = "face"
    PICTURE = "picture"
    APPLICATION = "application"
    KEY = "key"
    OBJECT = "object"
    """The stored object of a picture, by a hash of its key: a job or a batch that still waits
    in a backup names it, too."""
    JOB = "job"
    """The job that brought a face."""


SHOWN = (SubjectKind.FACE, SubjectKind.PICTURE, SubjectKind.APPLICATION, SubjectKind.KEY)
"""The kinds that a receipt names."""


@dataclass(frozen=True, slots=True)
class Subject:
    """``ref`` is a row's id; ``name`` another name of it; ``created_at`` that of the row."""

    kind: SubjectKind
    ref: int
    name: str
    created_at: float

    def identity(self, tenant_id: int) -> str:
        """The text by which a restored row is recognised. Ids are used once, but may be used
        again after a restore: the time tells them apart."""
        if self.kind in (SubjectKind.OBJECT, SubjectKind.JOB):
            return f"{self.kind}|{tenant_id}|{self.name}"
        person = self.name if self.kind is SubjectKind.FACE else ""
        return f"{self.kind}|{tenant_id}|{self.ref}|{person}|{self.created_at!r}"


@dataclass(slots=True)
class DeletionRecord:
    """The receipt of one transaction, which ``begin_deletion`` makes."""

    connection: Connection
    receipt_id: str
    counts: Counter[str] = field(default_factory=Counter)

    def add(self, subjects: Iterable[Subject]) -> None:
        """Record what is deleted; each subject once."""
        rows = [
            {"receipt_id": self.receipt_id, "kind": each.kind.value, "ref": each.ref,
             "name": each.name, "created_at": each.created_at}
            for each in subjects
        ]
        if rows:
            self.connection.execute(insert(receipt_subjects), rows)

    def count(self, number: int, **rows: int) -> None:
        """Count deleted rows by what they are; the tenant's change log is at ``number`` now."""
        self.counts.update({name: count for name, count in rows.items() if count})
        self.connection.execute(
            update(receipts).where(receipts.c.id == self.receipt_id)
            .values(counts=dict(self.counts), number=number)
        )


def begin_deletion(
    connection: Connection, tenant_id: int, now: float, kind: DeletionKind = DeletionKind.GALLERY,
    *, done: bool = True,
) -> DeletionRecord:
    """Record a deletion in this transaction, which carries it out (``done``) or is the first of
    several. Raises ``TenantNotFound``."""
    named = select(tenants.c.name, tenants.c.created_at).where(tenants.c.id == tenant_id)
    tenant = connection.execute(named).one_or_none()
    if tenant is None:
        raise TenantNotFound
    record = DeletionRecord(connection, uuid.uuid4().hex)
    connection.execute(
        insert(receipts).values(
            id=record.receipt_id, tenant_id=tenant_id, application=tenant.name, kind=kind.value,
            counts={}, stores={}, requested_at=now, deleted_at=now if done else None,
        )
    )
    if kind is not DeletionKind.GALLERY:
        record.add([Subject(SubjectKind(kind), tenant_id, tenant.name, tenant.created_at)])
    return record


def picture_digest(receipt_id: str, image_id: str) -> str:
    """The hash (hex) by which a receipt names a picture. A reader with the receipt and the
    picture's id can compute it; the id itself may be a hash of the picture."""
    return hashlib.sha256(f"{receipt_id}:{image_id}".encode()).hexdigest()


def object_digest(key: str) -> str:
    """The hash (hex) of an object's key."""
    return hashlib.sha256(key.encode()).hexdigest()
