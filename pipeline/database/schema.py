"""The tables, for SQLAlchemy Core. Alembic creates them (``migrations/``)."""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Constraint,
    Float,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
    text,
)

from pipeline.identifiers import MAX_COLLECTION_KEY_BYTES

METADATA = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "pk": "pk_%(table_name)s",
    }
)

# SQLite assigns keys by itself only if their type is INTEGER.
BigId = BigInteger().with_variant(Integer, "sqlite")
# Text, on PostgreSQL, too: no query searches in it, and JSONB refuses \u0000, reorders keys
# and costs more to write.
Json = JSON(none_as_null=True)

_KEY_PART: dict[str, Any] = {"primary_key": True, "autoincrement": False}


def _reference(name: str, target: str, *, nullable: bool = False, **options: Any) -> Column[int]:
    """A column that refers to a row and is deleted with it."""
    return Column(name, BigId, ForeignKey(target, ondelete="CASCADE"), nullable=nullable, **options)


def _tenant_id(**options: Any) -> Column[int]:
    return _reference("tenant_id", "tenants.id", **options)


def _unlocked_tenant_id(**options: Any) -> list[Column[int] | Constraint]:
    """The same for rows that calls on no gallery write. PostgreSQL would lock the tenant's row to
    check the reference, and wait for a transaction that changes it: there ``delete_tenant`` and
    upkeep delete what the reference would."""
    reference = ForeignKeyConstraint(["tenant_id"], ["tenants.id"], ondelete="CASCADE")
    return [
        Column("tenant_id", BigId, nullable=False, **options),
        reference.ddl_if(dialect="sqlite"),
    ]


def _batch_id(**options: Any) -> Column[str]:
    batch = ForeignKey("batches.id", ondelete="CASCADE")
    return Column("batch_id", String(32), batch, nullable=False, **options)


def _required(kind: Any, *names: str, **options: Any) -> list[Column[Any]]:
    return [Column(name, kind, nullable=False, **options) for name in names]


def _optional(kind: Any, *names: str) -> list[Column[Any]]:
    return [Column(name, kind) for name in names]


def _counters(*names: str, kind: Any = BigInteger) -> list[Column[Any]]:
    return _required(kind, *names, server_default=text("0"))


def _partial_index(name: str, where: str, *columns: str) -> Index:
    return Index(name, *columns, sqlite_where=text(where), postgresql_where=text(where))


# The deployment ------------------------------------------------------------------------

processes = Table(
    "processes",
    METADATA,
    # New at each start of a process.
    Column("id", String(32), primary_key=True),
    # "shim", "worker", "index", "upkeep" (pipeline/deployment/processes.py)
    Column("role", String(16), nullable=False),
    # The stages that it serves.
    Column("stages", Json, nullable=False),
    Column("host", String(128), nullable=False),
    Column("pid", Integer, nullable=False),
    Column("version", String(64), nullable=False),
    # The name and the digest of its pack; null without models.
    *_optional(String(64), "pack", "pack_digest"),
    # The digests of all packs that it has loaded; null without models.
    *_optional(Json, "packs"),
    # Seconds by which its clock is ahead of the database's.
    Column("clock_offset", Float, nullable=False),
    # A sentence about what keeps it from its work; null: nothing does.
    Column("trouble", Text, nullable=True),
    *_required(Float, "started_at", "seen_at"),
)
"""The running processes, and those that did not end by themselves, for a while."""

deployment = Table(
    "deployment",
    METADATA,
    # Always 1.
    Column("id", Integer, **_KEY_PART),
    *_required(String(64), "pack", "pack_digest"),
    # The task, file and SHA-256 of each of its models.
    Column("models", Json, nullable=False),
    Column("pinned_at", Float, nullable=False),
)
"""What all processes must have in common: one row, once the pack is known."""

pack_upgrade = Table(
    "pack_upgrade",
    METADATA,
    # Always 1.
    Column("id", Integer, **_KEY_PART),
    # As in ``deployment``: the pack before the upgrade, and the one that is to follow it.
    *_required(String(64), "former_pack", "former_digest", "pack", "pack_digest"),
    *_required(Json, "former_models", "models"),
    Column("started_at", Float, nullable=False),
)
"""The upgrade of the pack that is in course: one row, or none."""

# Accounts ------------------------------------------------------------------------------

tenants = Table(
    "tenants",
    METADATA,
    Column("id", BigId, primary_key=True),
    Column("name", String(128), nullable=False, unique=True),
    Column("settings", Json, nullable=False),
    Column("disabled", Boolean, nullable=False, default=False),
    Column("created_at", Float, nullable=False),
    # The last number of the tenant's change log.
    *_counters("log_number"),
    # The next N of the names ID0, ID1, ... that faces without a name get.
    *_counters("unnamed"),
    # The tenant's limits and permissions (pipeline/metering); null: everything.
    *_optional(Json, "limits", "permissions"),
    sqlite_autoincrement=True,
)

credentials = Table(
    "credentials",
    METADATA,
    Column("id", BigId, primary_key=True),
    _tenant_id(),
    # The name of a CredentialKind (pipeline/accounts/kinds.py).
    Column("kind", String(16), nullable=False),
    # The caller's name of the credential.
    Column("public_id", String(64), nullable=False, unique=True),
    # Encrypted under the master key if it is readable, otherwise its fingerprint.
    Column("secret", LargeBinary, nullable=False),
    Column("readable", Boolean, nullable=False),
    Column("sm2_public_key", String(130), nullable=True),
    Column("disabled", Boolean, nullable=False, default=False),
    Column("created_at", Float, nullable=False),
    Column("expires_at", Float, nullable=True),
    # The part of the tenant's permissions that the credential has; null: all of them.
    Column("permissions", Json, nullable=True),
    Index(None, "tenant_id"),
    sqlite_autoincrement=True,
)

former_secrets = Table(
    "former_secrets",
    METADATA,
    # One for each credential: at most two secrets are live.
    _reference("credential_id", "credentials.id", **_KEY_PART),
    Column("secret", LargeBinary, nullable=False),
    Column("sm2_public_key", String(130), nullable=True),
    Column("until", Float, nullable=False),
)
"""The secret of a credential before its rotation, while it is still accepted."""

signed_requests = Table(
    "signed_requests",
    METADATA,
    Column("tenant_id", BigId, **_KEY_PART),
    Column("digest", String(64), primary_key=True),
    Column("expires_at", Float, nullable=False, index=True),
    # The job whose answer a repetition gets; it may be purged first.
    Column("job_id", String(32), nullable=True),
)
"""Signed requests that were accepted, until nobody can send them again."""

usage = Table(
    "usage",
    METADATA,
    *_unlocked_tenant_id(**_KEY_PART),
    # A day (UTC, YYYY-MM-DD) or a month (YYYY-MM).
    Column("period", String(10), primary_key=True),
    # "*": all operations together.
    Column("operation", String(32), primary_key=True),
    *_counters("charged", "free", "refunded", "refused"),
    sqlite_with_rowid=False,
)
"""Counted calls; quotas limit those that are charged."""

# Encryption ----------------------------------------------------------------------------

peppers = Table(
    "peppers",
    METADATA,
    Column("id", BigId, **_KEY_PART),
    # The key of fingerprints, under the master key.
    Column("encrypted", LargeBinary, nullable=False),
    Column("created_at", Float, nullable=False),
)

signing_keys = Table(
    "signing_keys",
    METADATA,
    Column("id", BigId, **_KEY_PART),
    # Ed25519: 32 bytes in clear, and the private half under the master key.
    *_required(LargeBinary, "public_key", "encrypted"),
    Column("created_at", Float, nullable=False),
)
"""The key pair with which the deployment signs receipts and backups: one row, once needed."""

data_keys = Table(
    "data_keys",
    METADATA,
    _tenant_id(**_KEY_PART),
    # Under the master key; null once the key was destroyed.
    Column("wrapped", LargeBinary, nullable=True),
    # "converting" (older data are being encrypted), "on" or "destroyed"
    Column("state", String(16), nullable=False),
    Column("created_at", Float, nullable=False),
)
"""The keys of tenants whose data are encrypted at rest."""

# Jobs ----------------------------------------------------------------------------------

jobs = Table(
    "jobs",
    METADATA,
    Column("seq", BigId, primary_key=True),
    Column("id", String(32), nullable=False, unique=True),
    *_unlocked_tenant_id(),
    Column("operation", String(32), nullable=False),
    Column("dialect", String(8), nullable=False),
    *_required(String(16), "state", "stage"),
    *_required(Json, "params", "media"),
    *_required(String(64), "request_id", "digest"),
    Column("idempotency_key", String(255), nullable=True),
    Column("attempts", Integer, nullable=False, default=0),
    Column("messages", Integer, nullable=False, default=0),
    Column("fence", Integer, nullable=False, default=0),
    Column("lease_until", Float, nullable=True),
    Column("worker", String(128), nullable=True),
    Column("not_before", Float, nullable=False, default=0.0),
    Column("trace", Json, nullable=False),
    Column("result", Json, nullable=True),
    Column("error_code", String(32), nullable=True),
    Column("error", Json, nullable=True),
    *_required(Float, "created_at", "published_at"),
    *_optional(Float, "started_at", "finished_at"),
    # The day (UTC) for which the job is charged; null: it is not, or no longer.
    Column("charged_on", String(10), nullable=True),
    # Whether the job costs nothing when it succeeds.
    Column("free", Boolean, nullable=False, default=False),
    # When a face that the job is about was deleted, and with it params and result.
    Column("erased_at", Float, nullable=True),
    # The digest of the pack that ran its stages; null before the first, and without models.
    Column("pack", String(64), nullable=True),
    # The trace that the job belongs to (W3C Trace Context); null: none.
    Column("traceparent", String(55), nullable=True),
    # What happened between its stages (pipeline/jobs/timeline.py); null: nothing.
    Column("history", Json, nullable=True),
    UniqueConstraint("tenant_id", "idempotency_key"),
    # Waiting at a stage, oldest first; running without a worker.
    Index("ix_jobs_waiting", "state", "stage", "seq"),
    Index("ix_jobs_finished_at", "finished_at"),
    # Waiting out a pause: few, while jobs that never paused are many.
    _partial_index("ix_jobs_paused", "not_before > 0", "not_before"),
    # For operators' lists: of an application, those with an error, that of a request.
    Index("ix_jobs_tenant_id_seq", "tenant_id", "seq"),
    _partial_index("ix_jobs_errors", "error_code IS NOT NULL", "seq", "error_code"),
    Index("ix_jobs_request_id", "request_id"),
    sqlite_autoincrement=True,
)

job_pictures = Table(
    "job_pictures",
    METADATA,
    _reference("job_seq", "jobs.seq", **_KEY_PART),
    # The picture's place among those of its job.
    Column("position", Integer, **_KEY_PART),
    # The bytes of a small picture, encrypted for a tenant with a data key.
    Column("data", LargeBinary, nullable=True),
    # The object of a picture to which the job's end gives a row in ``images``.
    Column("media_key", String(512), nullable=True),
)
"""Pictures that wait for the end of their job, and go with it: small ones in the row itself,
those to be enrolled under the key of the media store that stays theirs."""

challenges = Table(
    "challenges",
    METADATA,
    # Of the challenge's id, which only the client has.
    Column("digest", String(64), primary_key=True),
    *_unlocked_tenant_id(index=True),
    _reference("face_id", "faces.id", index=True),
    # The actions by their numbers (pipeline/living/verdict.py), in order.
    Column("actions", Json, nullable=False),
    Column("mirrored", Boolean, nullable=False),
    Column("expires_at", Float, nullable=False, index=True),
    # The job that has taken it; null while it is free.
    Column("job_id", String(32), nullable=True),
)
"""Challenges of liveness clips, each for one job."""

job_faces = Table(
    "job_faces",
    METADATA,
    _reference("face_id", "faces.id", **_KEY_PART),
    _reference("job_seq", "jobs.seq", **_KEY_PART),
    Index(None, "job_seq"),
    sqlite_with_rowid=False,
)
"""The faces that jobs which have ended name (``job_faces.py``)."""

# The gallery ---------------------------------------------------------------------------

images = Table(
    "images",
    METADATA,
    Column("id", BigId, primary_key=True),
    _tenant_id(),
    # The callers' name of the picture: made from its bytes, or chosen by the caller.
    *_required(String(64), "image_id", "sha256"),
    Column("media_key", String(512), nullable=False),
    Column("size", BigInteger, nullable=False),
    *_required(Integer, "width", "height"),
    Column("format", String(16), nullable=False),
    Column("description", String(255), nullable=False),
    # The last face that a kept image has lost; null while it has one, or never had any.
    Column("former_face_id", BigInteger, nullable=True),
    Column("created_at", Float, nullable=False),
    # When an image that is stored without a face is deleted; null: it stays.
    Column("expires_at", Float, nullable=True),
    UniqueConstraint("tenant_id", "image_id"),
    Index(None, "tenant_id", "id"),
    Index(None, "tenant_id", "sha256"),
    # Listed without a face, in the place of the former one.
    _partial_index(
        "ix_images_faceless", "former_face_id IS NOT NULL", "tenant_id", "former_face_id"
    ),
    _partial_index("ix_images_temporary", "expires_at IS NOT NULL", "expires_at"),
    sqlite_autoincrement=True,
)

faces = Table(
    "faces",
    METADATA,
    Column("id", BigId, primary_key=True),
    _tenant_id(),
    _reference("image_ref", "images.id"),
    Column("person_id", String(36), nullable=False),
    Column("face_token", String(24), nullable=False),
    Column("name", String(255), nullable=False),
    Column("gender", String(64), nullable=False),
    *_required(Json, "box", "landmarks"),
    Column("score", Float, nullable=False),
    Column("quality", Json, nullable=False),
    # The face cut out of its picture, a JPEG.
    Column("face_key", String(512), nullable=False),
    Column("created_at", Float, nullable=False),
    UniqueConstraint("tenant_id", "person_id"),
    UniqueConstraint("tenant_id", "face_token"),
    Index(None, "tenant_id", "id"),
    Index(None, "tenant_id", "name"),
    Index(None, "image_ref"),
    sqlite_autoincrement=True,
)
# Names by their code points, so that a prefix is a range, whatever the database's language. SQLite
# has this order in the index of names.
Index(
    "ix_faces_name_prefix", faces.c.tenant_id, faces.c.name, faces.c.id,
    postgresql_ops={"name": "varchar_pattern_ops"},
).ddl_if(dialect="postgresql")

vectors = Table(
    "vectors",
    METADATA,
    # The face's name in the index. Never used twice: an index that still holds a deleted
    # label must not find another face under it.
    Column("label", BigId, primary_key=True),
    _tenant_id(),
    _reference("face_id", "faces.id", unique=True),
    *_required(String(64), "pack", "model_sha256"),
    Column("dimension", Integer, nullable=False),
    # float32, little-endian, unit length
    Column("vector", LargeBinary, nullable=False),
    Column("created_at", Float, nullable=False),
    Index(None, "tenant_id", "label"),
    sqlite_autoincrement=True,
)

other_vectors = Table(
    "other_vectors",
    METADATA,
    _reference("face_id", "faces.id", **_KEY_PART),
    # The model that made the vector, or that finds no face to embed.
    Column("model_sha256", String(64), primary_key=True),
    _tenant_id(),
    # The face's label in ``vectors`` when this was made: a face with another picture has another.
    Column("label", BigInteger, nullable=False),
    Column("pack", String(64), nullable=False),
    Column("dimension", Integer, nullable=False),
    # As in ``vectors``; null with the code of the error that prevents it.
    Column("vector", LargeBinary, nullable=True),
    Column("error_code", String(32), nullable=True),
    Column("created_at", Float, nullable=False),
    Index(None, "tenant_id", "model_sha256"),
    sqlite_with_rowid=False,
)
"""The vectors of faces by the pack that does not serve them, while the pack is upgraded."""

collections = Table(
    "collections",
    METADATA,
    Column("id", BigId, primary_key=True),
    _tenant_id(),
    # The callers' name of the collection.
    Column("key", String(MAX_COLLECTION_KEY_BYTES), nullable=False),
    *_required(String(128), "type", "name"),
    # Searches in the collection count hits that score above it, 0 to 100.
    *_required(Float, "score", "created_at"),
    UniqueConstraint("tenant_id", "key"),
    sqlite_autoincrement=True,
)

bindings = Table(
    "bindings",
    METADATA,
    _reference("collection_id", "collections.id", **_KEY_PART),
    _reference("face_id", "faces.id", **_KEY_PART),
    _tenant_id(),
    Index(None, "face_id"),
    Index(None, "tenant_id"),
    sqlite_with_rowid=False,
)

changes = Table(
    "changes",
    METADATA,
    _tenant_id(**_KEY_PART),
    Column("number", BigInteger, **_KEY_PART),
    Column("label", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)
"""The change log: number by number, which label has changed. A reader looks up the label's
present state, so that applying a change twice does no harm."""

snapshots = Table(
    "snapshots",
    METADATA,
    Column("id", BigId, primary_key=True),
    _tenant_id(),
    Column("pack", String(64), nullable=False),
    Column("dimension", Integer, nullable=False),
    Column("engine", String(16), nullable=False),
    Column("media_key", String(512), nullable=False),
    Column("sha256", String(64), nullable=False),
    *_required(BigInteger, "size", "count"),
    # The snapshot holds all changes up to this number.
    Column("number", BigInteger, nullable=False),
    Column("created_at", Float, nullable=False),
    Index(None, "tenant_id", "number"),
    sqlite_autoincrement=True,
)

discarded = Table(
    "discarded",
    METADATA,
    Column("media_key", String(512), primary_key=True),
    # No foreign key: the objects of a tenant outlive its row.
    Column("tenant_id", BigId, nullable=False, index=True),
    Column("discarded_at", Float, nullable=False),
    # The deletion that the object belongs to, if any.
    Column("receipt_id", String(32), nullable=True),
    _partial_index("ix_discarded_receipt_id", "receipt_id IS NOT NULL", "receipt_id"),
)
"""Objects that no row names any more, until they are deleted from the media store; noted
in the transaction that deletes their row."""

used_clips = Table(
    "used_clips",
    METADATA,
    Column("id", BigId, primary_key=True),
    *_unlocked_tenant_id(),
    _reference("face_id", "faces.id", index=True),
    Column("sha256", String(64), nullable=False),
    # How the face moved: no picture of it.
    Column("motion_signature", LargeBinary, nullable=False),
    Column("used_at", Float, nullable=False, index=True),
    Index(None, "tenant_id", "sha256"),
)
"""Clips that proved a live person once, so that none is accepted twice."""

# Deletions -----------------------------------------------------------------------------

receipts = Table(
    "receipts",
    METADATA,
    Column("id", String(32), primary_key=True),
    # No foreign key: a receipt outlives the tenant.
    Column("tenant_id", BigInteger, nullable=False),
    Column("application", String(128), nullable=False),
    # What was deleted: "gallery" (faces and pictures), "application", "key"
    Column("kind", String(16), nullable=False),
    # The number of the tenant's change log that an index must have applied.
    Column("number", BigInteger, nullable=True),
    # How many rows of each kind went; since when which store is free of them.
    *_required(Json, "counts", "stores"),
    Column("requested_at", Float, nullable=False),
    # Of the deletion's transaction; of its entry in the journal; of the last store.
    *_optional(Float, "deleted_at", "journaled_at", "completed_at"),
    # The signed receipt, JSON, once it is complete.
    Column("document", Text, nullable=True),
    Index(None, "tenant_id", "requested_at"),
    _partial_index("ix_receipts_pending", "completed_at IS NULL", "requested_at"),
    _partial_index("ix_receipts_unjournaled", "journaled_at IS NULL", "tenant_id"),
)
"""Deletions: what went, and from which stores it is gone."""

receipt_subjects = Table(
    "receipt_subjects",
    METADATA,
    Column("receipt_id", String(32), ForeignKey("receipts.id", ondelete="CASCADE"), **_KEY_PART),
    # "face", "picture", "application", "key"; "object" and "job": how the picture came
    Column("kind", String(16), primary_key=True),
    Column("ref", BigInteger, **_KEY_PART),
    # The person's id, the hash of the picture's id, a hash of the object's key, ...
    Column("name", String(128), nullable=False),
    Column("created_at", Float, nullable=False),
    sqlite_with_rowid=False,
)
"""The faces, pictures and applications of a deletion, by random ids and hashes."""

backups = Table(
    "backups",
    METADATA,
    Column("id", String(32), primary_key=True),
    # The URL or directory that it was written to.
    Column("place", Text, nullable=False),
    Column("created_at", Float, nullable=False),
    # When it was removed there; null: it is kept.
    Column("removed_at", Float, nullable=True),
)
"""Backups, so that receipts name those that still hold what was deleted."""

index_positions = Table(
    "index_positions",
    METADATA,
    # The id of an index process (``processes``).
    Column("process_id", String(32), primary_key=True),
    Column("tenant_id", BigInteger, **_KEY_PART),
    Column("number", BigInteger, nullable=False),
    Column("noted_at", Float, nullable=False),
)
"""How far index processes have followed the change logs of tenants with pending receipts."""

index_states = Table(
    "index_states",
    METADATA,
    # The id of an index process (``processes``).
    Column("process_id", String(32), primary_key=True),
    Column("tenant_id", BigInteger, **_KEY_PART),
    # "flat", "codes", "hnsw"; empty for an empty gallery
    Column("engine", String(16), nullable=False),
    # The last change of the log that it has applied; labels; bytes in memory; repeated searches,
    # and those of them that had found the nearest label.
    *_required(BigInteger, "number", "faces", "size", "checked", "found"),
    Column("noted_at", Float, nullable=False),
)
"""The galleries that index processes hold in memory, as they tell when something has changed."""

vector_spaces = Table(
    "vector_spaces",
    METADATA,
    # No foreign key: what an engine holds of a tenant outlives its row.
    Column("tenant_id", BigInteger, **_KEY_PART),
    # New each time when the gallery is read into the engine.
    Column("generation", String(16), primary_key=True),
    # "filling", "serving", "leaving" (pipeline/index/vector_spaces.py)
    Column("state", String(16), nullable=False),
    # The model of its vectors.
    Column("model_sha256", String(64), nullable=False),
    # The last change that its follower has seen applied; that up to which the engine's files hold
    # nothing deleted; faces; bytes in the engine.
    *_required(BigInteger, "number", "erased", "faces", "size"),
    # What keeps its follower from its work; null: nothing does.
    Column("trouble", Text, nullable=True),
    # The name of its follower, and the end of its lease.
    Column("holder", String(32), nullable=True),
    *_required(Float, "lease_until", "noted_at"),
    Index(
        "ix_vector_spaces_present", "tenant_id", unique=True,
        sqlite_where=text("state <> 'leaving'"), postgresql_where=text("state <> 'leaving'"),
    ),
)
"""The galleries in a vector engine, outside of index processes."""

# Batches -------------------------------------------------------------------------------

batches = Table(
    "batches",
    METADATA,
    Column("id", String(32), primary_key=True),
    _tenant_id(),
    # By which the same command finds its batch: a hash of the source and the options.
    Column("fingerprint", String(64), nullable=False),
    Column("source", Text, nullable=False),
    Column("options", Json, nullable=False),
    # "reading", "working" (the source was read to its end), "done", "cancelled", "failed"
    Column("state", String(16), nullable=False),
    # The number of items, and of those in each state: changed together with the items.
    *_counters("items", "waiting", "enrolled", "duplicate", "rejected", "cancelled"),
    # Files of the source that are no items, when it was last read to its end.
    *_counters("skipped"),
    # Whether the source was read to its end, how many items it has (if it tells), and the
    # share of it that was read, 0 to 1.
    Column("exhausted", Boolean, nullable=False, default=False),
    Column("total", BigInteger, nullable=True),
    Column("position", Float, nullable=True),
    # The progress of the search for duplicate people (pipeline/batches/duplicate_search.py).
    Column("findings", Json, nullable=True),
    # Why the source could not be read, until it can (pipeline/batches/source_errors.py).
    Column("source_error", Json, nullable=True),
    *_required(Float, "created_at", "updated_at"),
    Column("finished_at", Float, nullable=True),
    # The process that reads the source, and the end of its lease.
    Column("submitter", String(128), nullable=True),
    Column("submitter_until", Float, nullable=False, server_default=text("0")),
    UniqueConstraint("tenant_id", "fingerprint"),
)

batch_items = Table(
    "batch_items",
    METADATA,
    _batch_id(primary_key=True),
    Column("number", BigInteger, **_KEY_PART),
    # The batch's tenant: the batch is deleted with the tenant.
    Column("tenant_id", BigInteger, nullable=False),
    # By which an item and a picture are recognised when everything else about them was
    # erased: 16 bytes of a hash that is different in each batch.
    Column("name_hash", LargeBinary, nullable=False),
    Column("picture_hash", LargeBinary, nullable=True),
    # The source's data; null once the person was erased.
    Column("source_name", Text, nullable=True),
    Column("name", String(255), nullable=True),
    Column("collection", String(MAX_COLLECTION_KEY_BYTES), nullable=True),
    *_optional(String(255), "external_id", "description"),
    Column("sha256", String(64), nullable=True),
    # The item's object while it waits; then it belongs to the image, or is discarded.
    Column("media_key", String(512), nullable=True),
    *_counters("size"),
    *_counters("width", "height", kind=Integer),
    # "again" (to be read once more), "waiting", "enrolled", "duplicate", "rejected", "cancelled"
    Column("state", String(16), nullable=False),
    Column("reason", String(32), nullable=True),
    Column("detail", Text, nullable=True),
    # The number of the item with the same bytes.
    Column("original", BigInteger, nullable=True),
    # No foreign keys: erasing a face updates them (gallery/erase.py).
    *_optional(BigInteger, "image_ref", "face_id"),
    *_counters("faces", kind=Integer),
    Column("job_id", String(32), nullable=True),
    *_counters("tries", kind=Integer),
    # The fingerprint of the pack and settings that rejected it and would do so again.
    Column("criteria", String(64), nullable=True),
    Column("erased_at", Float, nullable=True),
    UniqueConstraint("batch_id", "name_hash"),
    Index(None, "batch_id", "picture_hash"),
    Index("ix_batch_items_state", "batch_id", "state", "number"),
    _partial_index(
        "ix_batch_items_reason", "reason IS NOT NULL", "batch_id", "state", "reason", "number"
    ),
    _partial_index("ix_batch_items_criteria", "criteria IS NOT NULL", "tenant_id", "sha256"),
    _partial_index("ix_batch_items_image_ref", "image_ref IS NOT NULL", "image_ref"),
    _partial_index("ix_batch_items_original", "original IS NOT NULL", "batch_id", "original"),
    sqlite_with_rowid=False,
)
"""The items of the sources of batches."""

refused_pictures = Table(
    "refused_pictures",
    METADATA,
    Column("id", BigId, primary_key=True),
    _tenant_id(),
    _batch_id(),
    Column("number", BigInteger, nullable=False),
    Column("media_key", String(512), nullable=False),
    Column("created_at", Float, nullable=False, index=True),
    UniqueConstraint("batch_id", "number"),
    Index(None, "tenant_id", "id"),
    sqlite_autoincrement=True,
)
"""Small pictures of items that were refused after they were decoded (``refused_pictures.py``)."""

findings = Table(
    "findings",
    METADATA,
    Column("id", BigId, primary_key=True),
    _batch_id(),
    # pipeline/batches/duplicate_search.py
    Column("kind", String(16), nullable=False),
    # No names: they are read from the faces. Deleting either face deletes the finding.
    _reference("face_id", "faces.id"),
    _reference("other_id", "faces.id", nullable=True),
    # The item that repeats the picture of the face.
    Column("number", BigInteger, nullable=True),
    Column("cosine", Float, nullable=True),
    # How many pairs or faces the finding stands for.
    Column("count", BigInteger, nullable=False),
    Index(None, "batch_id", "kind", "id"),
    Index(None, "face_id"),
    Index(None, "other_id"),
    sqlite_autoincrement=True,
)
"""People with two names, and names with two people, found in batches."""

dismissed_findings = Table(
    "dismissed_findings",
    METADATA,
    Column("id", BigId, primary_key=True),
    _tenant_id(index=True),
    # As of a finding; of which kind decides what else it covers (pipeline/batches/dismissals.py).
    Column("kind", String(16), nullable=False),
    _reference("face_id", "faces.id", index=True),
    _reference("other_id", "faces.id", nullable=True, index=True),
    # By which an operator takes it back.
    Column("change_id", String(32), nullable=False, index=True),
    Column("dismissed_at", Float, nullable=False),
    sqlite_autoincrement=True,
)
"""What operators have said is no finding, so that no search finds it again."""

renamed_faces = Table(
    "renamed_faces",
    METADATA,
    # One change may rename many faces.
    Column("change_id", String(32), primary_key=True),
    _reference("face_id", "faces.id", primary_key=True, autoincrement=False, index=True),
    *_required(String(255), "former_name", "name"),
    Column("renamed_at", Float, nullable=False, index=True),
    sqlite_with_rowid=False,
)
"""Names that operators have replaced when they settled findings, so that they can go back."""

# Webhooks ------------------------------------------------------------------------------

webhooks = Table(
    "webhooks",
    METADATA,
    Column("id", BigId, primary_key=True),
    _tenant_id(index=True),
    Column("url", Text, nullable=False),
    *_required(Boolean, "on_jobs", "on_batches"),
    # Encrypted under the master key; the former one signs, too, while it is valid.
    Column("secret", LargeBinary, nullable=False),
    Column("former_secret", LargeBinary, nullable=True),
    Column("former_until", Float, nullable=True),
    Column("created_at", Float, nullable=False),
    # Since when no delivery has succeeded; none is tried before ``paused_until``.
    Column("failing_since", Float, nullable=True),
    Column("paused_until", Float, nullable=False, server_default=text("0")),
    Column("disabled_at", Float, nullable=True),
    sqlite_autoincrement=True,
)
"""Addresses that are told when jobs and batches of an application end."""

webhook_deliveries = Table(
    "webhook_deliveries",
    METADATA,
    Column("seq", BigId, primary_key=True),
    # The header webhook-id.
    Column("id", String(40), nullable=False, unique=True),
    _reference("webhook_id", "webhooks.id"),
    Column("tenant_id", BigInteger, nullable=False),
    Column("type", String(32), nullable=False),
    # The body, byte for byte as it is signed.
    Column("payload", Text, nullable=False),
    # "waiting" as long as ``ended_at`` is null, then "delivered" or "dead"
    Column("state", String(16), nullable=False),
    *_counters("attempts", kind=Integer),
    # When the next attempt is due, or, while one is being made, when it counts as lost.
    Column("due_at", Float, nullable=False),
    # The beginning of the time for which attempts are made.
    *_required(Float, "since", "created_at"),
    Column("ended_at", Float, nullable=True),
    # Of the last attempt.
    Column("status", Integer, nullable=True),
    Column("error", String(200), nullable=True),
    Index(None, "webhook_id", "seq"),
    _partial_index("ix_webhook_deliveries_due", "ended_at IS NULL", "webhook_id", "due_at"),
    _partial_index("ix_webhook_deliveries_ended", "ended_at IS NOT NULL", "state", "ended_at"),
    sqlite_autoincrement=True,
)
"""The outbox: what webhooks are told, written in the transaction in which it happens."""

pack_tasks = Table(
    "pack_tasks",
    METADATA,
    # The machine whose pack it is.
    Column("host", String(128), primary_key=True),
    Column("pack", String(64), primary_key=True),
    # "verify", "pull"; "running", "done", "failed"
    *_required(String(16), "kind", "state"),
    # The process that does it (``processes``).
    Column("process_id", String(32), nullable=False),
    # What it is at, the bytes done and all of it; in the end why it failed.
    Column("detail", Text, nullable=False),
    *_required(BigInteger, "done", "total"),
    *_required(Float, "started_at", "updated_at"),
)
"""The last download or check of each model pack on each machine."""

# Operators -----------------------------------------------------------------------------

operators = Table(
    "operators",
    METADATA,
    Column("id", BigId, primary_key=True),
    Column("name", String(128), nullable=False, unique=True),
    # "viewer", "operator", "administrator" (pipeline/operators/model.py)
    Column("role", String(16), nullable=False),
    # Whether pictures of people are shown.
    Column("sees_faces", Boolean, nullable=False),
    # Argon2id, in its own text form; null: signs in by a link or at an identity provider.
    Column("password", Text, nullable=True),
    # Of time-based one-time passwords, encrypted under the master key; null: none are asked.
    Column("totp_secret", LargeBinary, nullable=True),
    # The step of the last one-time password that was taken: each is taken once.
    Column("totp_step", BigInteger, nullable=True),
    # Issuer and subject of an identity provider.
    Column("identity", String(400), nullable=True, unique=True),
    # Wrong passwords since the last good one, and until when none is looked at.
    *_counters("failures", kind=Integer),
    Column("locked_until", Float, nullable=False, server_default=text("0")),
    Column("created_at", Float, nullable=False),
    Column("disabled_at", Float, nullable=True),
    sqlite_autoincrement=True,
)
"""The accounts of the console and of ``/admin``."""

operator_sessions = Table(
    "operator_sessions",
    METADATA,
    # SHA-256 of the token, which only its bearer has.
    Column("id", String(64), primary_key=True),
    _reference("operator_id", "operators.id", index=True),
    # The name of a program's token; null: a person's session.
    Column("program", String(128), nullable=True),
    *_required(Float, "created_at", "seen_at", "expires_at"),
)
"""Who is signed in."""

sign_in_links = Table(
    "sign_in_links",
    METADATA,
    # SHA-256 of the token in the link.
    Column("id", String(64), primary_key=True),
    _reference("operator_id", "operators.id", index=True),
    *_required(Float, "created_at", "expires_at"),
)
"""Links that sign an operator in once."""

audit_log = Table(
    "audit_log",
    METADATA,
    Column("seq", BigId, primary_key=True),
    Column("at", Float, nullable=False, index=True),
    # Names, not references: entries outlive what they name.
    Column("operator", String(128), nullable=False),
    Column("action", String(64), nullable=False),
    Column("application", String(128), nullable=False),
    Column("subject", String(200), nullable=False),
    Column("host", String(64), nullable=False),
    Column("request_id", String(64), nullable=False),
    # "done", the code of an error, or empty while it goes on and where its process died
    Column("outcome", String(64), nullable=False),
    Index(None, "operator", "seq"),
    Index(None, "action", "seq"),
    sqlite_autoincrement=True,
)
"""Each look at a person and each change, by whom and when."""
