"""Who was deleted since a backup was made, and deleting them again in what is restored.

The journal names people by keyed hashes. Each row of the backup that stands for a person, a
picture or an application is hashed the same way and looked up; so is what would bring a person
back later: a waiting job, or an item of a batch, whose picture was enrolled and deleted after
the backup.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, delete, select, update

from pipeline.backup.manifest import BackupManifest
from pipeline.backup.place import BackupPlace
from pipeline.backup.tables import unpack_rows
from pipeline.batches import lifecycle
from pipeline.batches.model import BatchState, ItemState
from pipeline.batches.rows import change_counters
from pipeline.database.keyset import blocks
from pipeline.database.schema import (
    batch_items,
    batches,
    data_keys,
    images,
    job_pictures,
    jobs,
    signed_requests,
    tenants,
    webhooks,
)
from pipeline.deletions.journal import HASH_PURPOSE, JournalContent, keyed_hash
from pipeline.deletions.record import (
    DeletionKind,
    Subject,
    SubjectKind,
    begin_deletion,
    object_digest,
)
from pipeline.encryption.data_keys import KeyState
from pipeline.encryption.hashing import derive_key
from pipeline.encryption.key_fingerprints import PEPPER_OWNER
from pipeline.encryption.vault import Vault
from pipeline.errors import FaceNotFound
from pipeline.gallery.erase import ERASED, begin_receipt, erase_faceless_images, erase_faces
from pipeline.gallery.trash import UNREFERRED, discard
from pipeline.gallery.writer import lock_tenant
from pipeline.jobs.model import JobState
from pipeline.storage_keys import tenant_of, tenant_prefix

# Rows that one statement names.
BLOCK = 500

DELETED = "deleted"
"""The reason of a batch's item whose person was deleted after the backup."""


@dataclass(frozen=True, slots=True)
class GoneSubject:
    """Somebody or something that a restore deletes again: ``deleted_at`` (epoch s) as the journal
    says, by the receipt ``receipt_id``. ``name`` is a face's person id or an application's name."""

    application: str
    kind: SubjectKind
    ref: int
    name: str
    deleted_at: float
    receipt_id: str


@dataclass(slots=True)
class DeletedSince:
    """What of a backup was deleted since, by its ids there."""

    told: list[GoneSubject] = field(default_factory=list)
    tenants: set[int] = field(default_factory=set)
    keys: set[int] = field(default_factory=set)
    """Tenants whose data key was destroyed."""
    faces: dict[int, list[int]] = field(default_factory=lambda: defaultdict(list))
    images: dict[int, list[int]] = field(default_factory=lambda: defaultdict(list))
    jobs: set[int] = field(default_factory=set)
    """By ``jobs.seq``: they would enrol somebody who was deleted."""
    items: list[tuple[str, int]] = field(default_factory=list)
    """By batch and number."""
    objects: set[str] = field(default_factory=set)
    unknown: bool = False
    """Whether the journal names people who are not in the backup: enrolled and deleted after
    it. A source that is read again would bring them back."""

    def has_object(self, key: str) -> bool:
        """Whether an object of the backup belongs to what was deleted."""
        return key in self.objects or tenant_of(key) in self.tenants


class _Journal:
    """The journal, by the hash key of the backup."""

    def __init__(self, content: JournalContent, key: bytes) -> None:
        self._content, self._key = content, key
        self.matched: set[str] = set()

    def find(self, tenant_id: int, subject: Subject) -> tuple[str, float] | None:
        hashed = keyed_hash(self._key, subject, tenant_id)
        found = self._content.deleted.get(hashed)
        if found is not None:
            self.matched.add(found[0])
        return found


def find_deleted(
    manifest: BackupManifest, place: BackupPlace, content: JournalContent, vault: Vault
) -> DeletedSince:
    """Compare a backup with a journal. Raises ``BackupUnusable``, ``ConfigurationError``."""
    since = DeletedSince()
    if not content.deleted:
        return since
    (pepper,) = [row["encrypted"] for row in _rows(manifest, place, "peppers")]
    key = derive_key(vault.decrypt(pepper, PEPPER_OWNER), HASH_PURPOSE)
    journal = _Journal(content, key)
    names: dict[int, str] = {}
    for row in _rows(manifest, place, "tenants"):
        names[row["id"]] = row["name"]
        _find_tenant(row, journal, since)
    for row in _rows(manifest, place, "faces"):
        _find_face(row, journal, since, names)
    for row in _rows(manifest, place, "images"):
        _find_image(row, journal, since, names)
    _find_work(manifest, place, journal, since)
    already = {row["id"] for row in _rows(manifest, place, "receipts")}
    after = {receipt for receipt, _ in content.deleted.values()} - already
    since.unknown = not after <= journal.matched
    return since


def _rows(
    manifest: BackupManifest, place: BackupPlace, table: str
) -> Iterator[dict[str, Any]]:
    copy = manifest.tables.get(table)
    if copy is None:
        return
    for part in copy.parts:
        for row in unpack_rows(place.get_blob(part)):
            yield dict(zip(copy.columns, row, strict=True))


def _find_tenant(row: dict[str, Any], journal: _Journal, since: DeletedSince) -> None:
    for kind, found_ids in (
        (SubjectKind.APPLICATION, since.tenants), (SubjectKind.KEY, since.keys)
    ):
        subject = Subject(kind, row["id"], row["name"], row["created_at"])
        if found := journal.find(row["id"], subject):
            found_ids.add(row["id"])
            since.told.append(_told(row["name"], subject, found))


def _find_face(
    row: dict[str, Any], journal: _Journal, since: DeletedSince, names: dict[int, str]
) -> None:
    tenant = row["tenant_id"]
    subject = Subject(SubjectKind.FACE, row["id"], row["person_id"], row["created_at"])
    if found := journal.find(tenant, subject):
        since.faces[tenant].append(row["id"])
        since.objects.add(row["face_key"])
        since.told.append(_told(names.get(tenant, ""), subject, found))


def _find_image(
    row: dict[str, Any], journal: _Journal, since: DeletedSince, names: dict[int, str]
) -> None:
    tenant = row["tenant_id"]
    subject = Subject(SubjectKind.PICTURE, row["id"], "", row["created_at"])
    if found := journal.find(tenant, subject):
        since.images[tenant].append(row["id"])
        since.objects.add(row["media_key"])
        since.told.append(_told(names.get(tenant, ""), subject, found))


def _told(application: str, subject: Subject, found: tuple[str, float]) -> GoneSubject:
    receipt_id, at = found
    return GoneSubject(application, subject.kind, subject.ref, subject.name, at, receipt_id)


def _find_work(
    manifest: BackupManifest, place: BackupPlace, journal: _Journal, since: DeletedSince
) -> None:
    """Jobs and items that wait with a picture that was enrolled and deleted."""
    for row in _rows(manifest, place, "jobs"):
        mine = Subject(SubjectKind.JOB, 0, row["id"], 0.0)
        if row["finished_at"] is None and journal.find(row["tenant_id"], mine):
            since.jobs.add(row["seq"])
            since.objects.update(row["media"])
    for row in _rows(manifest, place, "job_pictures"):
        key = row["media_key"]
        if key is not None and _has_object(journal, key):
            since.jobs.add(row["job_seq"])
            since.objects.add(key)
    for row in _rows(manifest, place, "batch_items"):
        key = row["media_key"]
        if row["state"] == ItemState.WAITING and key is not None and _has_object(journal, key):
            since.items.append((row["batch_id"], row["number"]))
            since.objects.add(key)


def _has_object(journal: _Journal, key: str) -> bool:
    subject = Subject(SubjectKind.OBJECT, 0, object_digest(key), 0.0)
    return journal.find(tenant_of(key), subject) is not None


def delete_again(connection: Connection, since: DeletedSince, now: float) -> None:
    """Delete all that in the transaction that restores it, with receipts of its own."""
    for tenant_id in sorted(since.tenants):
        begin_deletion(connection, tenant_id, now, DeletionKind.APPLICATION)
        for table in (webhooks, signed_requests, *UNREFERRED):
            connection.execute(delete(table).where(table.c.tenant_id == tenant_id))
        connection.execute(delete(tenants).where(tenants.c.id == tenant_id))
        discard(connection, tenant_id, tenant_prefix(tenant_id), now)
    for tenant_id in sorted(since.keys - since.tenants):
        begin_deletion(connection, tenant_id, now, DeletionKind.KEY)
        connection.execute(
            update(data_keys).where(data_keys.c.tenant_id == tenant_id)
            .values(wrapped=None, state=KeyState.DESTROYED.value)
        )
        connection.execute(update(tenants).where(tenants.c.id == tenant_id).values(disabled=True))
    for tenant_id in sorted({*since.faces, *since.images} - since.tenants):
        writer = lock_tenant(connection, tenant_id)
        begin_receipt(writer, now)
        pictures = since.images.get(tenant_id, [])
        faces = set(since.faces.get(tenant_id, []))
        erase_faces(writer, sorted(faces), now, keep_images=True)
        for some in blocks(pictures, BLOCK):
            erase_faceless_images(writer, images.c.id.in_(some), now)
    _end_work(connection, since, now)


def _end_work(connection: Connection, since: DeletedSince, now: float) -> None:
    error = FaceNotFound()
    for some in blocks(sorted(since.jobs), BLOCK):
        mine = jobs.c.seq.in_(some)
        connection.execute(delete(job_pictures).where(job_pictures.c.job_seq.in_(some)))
        connection.execute(update(jobs).where(mine).values(
            state=JobState.DONE.value, params={}, media=[], result=None, lease_until=None,
            worker=None, error_code=error.code, finished_at=now, erased_at=now,
            error={"code": error.code, "message": error.message, "picture": None},
        ))
    for batch_id, number in since.items:
        erased = connection.execute(
            update(batch_items)
            .where(batch_items.c.batch_id == batch_id, batch_items.c.number == number)
            .values(
                **ERASED, width=0, height=0, size=0, erased_at=now, media_key=None,
                state=ItemState.CANCELLED.value, reason=DELETED,
            )
        )
        if erased.rowcount:  # not of an application that is gone
            change_counters(connection, batch_id, now, more_waiting=-1, more_cancelled=1)


def stop_reading(connection: Connection, now: float) -> list[str]:
    """Cancel the batches whose sources were being read when the backup was made; their ids. The
    sources may still have people who were enrolled from them and deleted after it."""
    reading = select(batches.c.id).where(batches.c.state == BatchState.READING.value)
    stopped = list(connection.execute(reading.order_by(batches.c.id)).scalars())
    for batch_id in stopped:
        lifecycle.cancel(connection, batch_id, now)
    return stopped
