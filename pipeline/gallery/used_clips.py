"""Clips that proved a live person once, so that none is accepted twice.

Where a tenant's data are encrypted, a file is stored as a keyed hash and its motion signature
encrypted; signatures are compared after decryption.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from sqlalchemy import Connection, Engine, delete, exists, insert, literal, select, text

from pipeline.database.clock import Clock, database_time
from pipeline.database.engine import reading, writing
from pipeline.database.keyset import walk
from pipeline.database.schema import faces, used_clips
from pipeline.encryption.data_key import DataKey, KeySource, NoKeys
from pipeline.errors import DecryptionFailed

DAY_S = 86_400.0

PAGE_ROWS = 1000
"""Motion signatures that are read at a time: some megabytes."""

# PostgreSQL takes two numbers of 32 bits: what is locked, and whose.
_LOCK_CLIPS = text(
    "SELECT pg_advisory_xact_lock(CAST(:clips AS INTEGER), CAST(:tenant AS INTEGER))"
)
_CLIPS = 0x636C6970

_ENCRYPTED = b"\x01"
"""Precedes an encrypted motion signature. The length of a plain one is even, and that of an
encrypted one odd."""


@dataclass(frozen=True, slots=True)
class UsedClip:
    """``sha256`` of the file (lower-case hex); ``motion_signature`` recognises another
    recording of the same motion."""

    face_id: int
    sha256: str
    motion_signature: bytes


@dataclass(frozen=True, slots=True)
class UsedClips:
    """The tenants' used clips. ``clock`` gives epoch seconds (None: the database's). Reading
    methods also raise ``TenantNotFound`` for a tenant whose key was destroyed."""

    engine: Engine
    clock: Clock | None = None
    keys: KeySource = field(default_factory=NoKeys)

    def was_used(self, tenant_id: int, sha256: str, days: float) -> bool:
        """Whether the tenant has used these very bytes in the last ``days``. Raises
        ``DatabaseUnavailable``."""
        key, since = self.keys.data_key(tenant_id), self._now() - days * DAY_S
        with reading(self.engine) as connection:
            return was_used(connection, tenant_id, sha256, since, key)

    def motion_signatures(
        self, tenant_id: int, face_id: int, days: float
    ) -> Iterator[Sequence[tuple[int, bytes]]]:
        """Ids and motion signatures of the clips that were used for one face in the last
        ``days``, in order, ``PAGE_ROWS`` at a time. Raises ``DatabaseUnavailable``,
        ``DecryptionFailed``."""
        key, since = self.keys.data_key(tenant_id), self._now() - days * DAY_S

        def read(last: int) -> list[tuple[int, bytes]]:
            with reading(self.engine) as connection:
                return motion_signatures_after(connection, tenant_id, face_id, since, last, key)

        return walk(read, lambda found: found[0], PAGE_ROWS, 0)

    def purge(self, days: float) -> None:
        """Delete the clips used before the last ``days``. Raises ``DatabaseUnavailable``."""
        with writing(self.engine) as connection:
            past = used_clips.c.used_at < self._now() - days * DAY_S
            connection.execute(delete(used_clips).where(past))

    def _now(self) -> float:
        return database_time(self.engine, self.clock)


def lock_tenant_clips(connection: Connection, tenant_id: int) -> None:
    """Let one clip of the tenant be recorded at a time, so that of two that come at once
    one sees the other."""
    # Not by the tenant's row, for which a verdict would then wait. SQLite has one writer.
    if connection.dialect.name == "postgresql":
        connection.execute(_LOCK_CLIPS, {"clips": _CLIPS, "tenant": tenant_id % 2**31})


def motion_signatures_after(
    connection: Connection, tenant_id: int, face_id: int, since: float, last: int,
    key: DataKey | None,
) -> list[tuple[int, bytes]]:
    """Ids and motion signatures of the next ``PAGE_ROWS`` clips that were used for a face
    since ``since`` (epoch seconds), after the clip with the id ``last``."""
    mine = (used_clips.c.tenant_id == tenant_id) & (used_clips.c.face_id == face_id)
    later = (used_clips.c.used_at >= since) & (used_clips.c.id > last)
    query = select(used_clips.c.id, used_clips.c.motion_signature, used_clips.c.sha256)
    rows = connection.execute(
        query.where(mine, later).order_by(used_clips.c.id).limit(PAGE_ROWS)
    ).all()
    return [
        (id_, read_motion_signature(bytes(stored), face_id, sha256, key))
        for id_, stored, sha256 in rows
    ]


def was_used(
    connection: Connection, tenant_id: int, sha256: str, since: float, key: DataKey | None
) -> bool:
    """Whether the tenant has used these very bytes since ``since`` (epoch seconds)."""
    # The plain hash, too: some of the tenant's clips may be older than its key.
    names = [sha256, _name(sha256, key)]
    mine = (used_clips.c.tenant_id == tenant_id) & used_clips.c.sha256.in_(names)
    query = select(exists().where(mine, used_clips.c.used_at >= since))
    return bool(connection.execute(query).scalar_one())


def record_used_clip(
    connection: Connection, tenant_id: int, used: UsedClip, now: float, key: DataKey | None
) -> None:
    """Record a clip for a face, with which it is deleted; does nothing when the face is gone."""
    sha256, signature = stored_clip(used, key)
    columns = ("tenant_id", "face_id", "sha256", "motion_signature", "used_at")
    row = select(
        literal(tenant_id), faces.c.id, literal(sha256), literal(signature), literal(now)
    ).where(faces.c.id == used.face_id, faces.c.tenant_id == tenant_id)
    connection.execute(insert(used_clips).from_select(columns, row))


def stored_clip(used: UsedClip, key: DataKey | None) -> tuple[str, bytes]:
    """The name of the file and the motion signature as they are stored, encrypted with a
    ``key``."""
    if key is None:
        return used.sha256, used.motion_signature
    name = _name(used.sha256, key)
    return name, _ENCRYPTED + key.encrypt(used.motion_signature, _label(used.face_id, name))


def read_motion_signature(stored: bytes, face_id: int, name: str, key: DataKey | None) -> bytes:
    """A stored motion signature, decrypted. Raises ``DecryptionFailed``."""
    if not is_encrypted_signature(stored):
        return stored
    if key is None:
        raise DecryptionFailed("a used clip is encrypted and its tenant has no key")
    return key.decrypt(stored[len(_ENCRYPTED) :], _label(face_id, name))


def is_encrypted_signature(stored: bytes) -> bool:
    return len(stored) % 2 == 1


def _name(sha256: str, key: DataKey | None) -> str:
    return sha256 if key is None else key.keyed_hash(f"clip {sha256}")


def _label(face_id: int, name: str) -> str:
    """The label that an encrypted motion signature is bound to."""
    return f"clip {face_id} {name}"
