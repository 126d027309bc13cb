"""The tables, as SQLAlchemy Core sees them. Alembic makes them (``migrations/``)."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    String,
    Table,
    UniqueConstraint,
    text,
)

from pipeline.database.batch_tables import batch_items as batch_items
from pipeline.database.batch_tables import batches as batches
from pipeline.database.batch_tables import findings as findings
from pipeline.database.metadata import METADATA as METADATA
from pipeline.database.metadata import BigId, Json

tenants = Table(
    "tenants",
    METADATA,
    Column("id", BigId, primary_key=True),
    Column("name", String(128), nullable=False, unique=True),
    Column("settings", Json, nullable=False),
    Column("disabled", Boolean, nullable=False, default=False),
    Column("created_at", Float, nullable=False),
    # The last number of the tenant's change log.
    Column("log_number", BigInteger, nullable=False, server_default=text("0")),
    # The next N of the names ID0, ID1, ... that faces without a name get.
    Column("unnamed", BigInteger, nullable=False, server_default=text("0")),
    # What it may use and may do (pipeline/metering); null: everything.
    Column("limits", Json, nullable=True),
    Column("permissions", Json, nullable=True),
    sqlite_autoincrement=True,
)

credentials = Table(
    "credentials",
    METADATA,
    Column("id", BigId, primary_key=True),
    Column("tenant_id", BigId, ForeignKey("tenants.id", ondelete="CASCADE"), nullable=False),
    # "signed" (dialect e: appId, appSecret, SM2), "key" (X-API-Key) or "apid" (dialect a:
    # Apid, Kvalue)
    Column("kind", String(16), nullable=False),
    # What the caller names himself by: the appId, the Apid, or the key's public prefix.
    Column("public_id", String(64), nullable=False, unique=True),
    # A secret that must be read again (signatures) is encrypted under the master key, one
    # that must only be recognised (keys) is an HMAC with the pepper.
    Column("secret", LargeBinary, nullable=False),
    Column("sm2_public_key", String(130), nullable=True),
    Column("disabled", Boolean, nullable=False, default=False),
    Column("created_at", Float, nullable=False),
    Column("expires_at", Float, nullable=True),
    # What may be done with it, within what its tenant may; null: everything.
    Column("permissions", Json, nullable=True),
    Index(None, "tenant_id"),
    sqlite_autoincrement=True,
)

former_secrets = Table(
    "former_secrets",
    METADATA,
    # One a credential: two secrets are live at most.
    Column("credential_id", BigId, ForeignKey("credentials.id", ondelete="CASCADE"),
           primary_key=True, autoincrement=False),
    Column("secret", LargeBinary, nullable=False),
    Column("sm2_public_key", String(130), nullable=True),
    Column("until", Float, nullable=False),
)
"""The secret that a credential had before it was rotated, as long as it is still accepted."""

peppers = Table(
    "peppers",
    METADATA,
    Column("id", BigId, primary_key=True, autoincrement=False),
    # What fingerprints are made with, encrypted under the master key.
    Column("sealed", LargeBinary, nullable=False),
    Column("created_at", Float, nullable=False),
)

data_keys = Table(
    "data_keys",
    METADATA,
    Column("tenant_id", BigId, ForeignKey("tenants.id", ondelete="CASCADE"),
           primary_key=True, autoincrement=False),
    # Under the master key; null once it was destroyed.
    Column("wrapped", LargeBinary, nullable=True),
    # "converting" (what was there before is being encrypted), "on" or "destroyed"
    Column("state", String(16), nullable=False),
    Column("created_at", Float, nullable=False),
)
"""The keys of tenants whose data are encrypted at rest."""

_PAUSED = text("not_before > 0")

jobs = Table(
    "jobs",
    METADATA,
    Column("seq", BigId, primary_key=True),
    Column("id", String(32), nullable=False, unique=True),
    Column("tenant_id", BigId, ForeignKey("tenants.id", ondelete="CASCADE"), nullable=False),
    Column("operation", String(32), nullable=False),
    Column("dialect", String(8), nullable=False),
    Column("state", String(16), nullable=False),
    Column("stage", String(16), nullable=False),
    Column("params", Json, nullable=False),
    Column("media", Json, nullable=False),
    Column("request_id", String(64), nullable=False),
    Column("digest", String(64), nullable=False),
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
    Column("created_at", Float, nullable=False),
    Column("published_at", Float, nullable=False),
    Column("started_at", Float, nullable=True),
    Column("finished_at", Float, nullable=True),
    # The day (UTC) for which the job was charged; null: it was not, or no longer is.
    Column("charged_on", String(10), nullable=True),
    # When a face that the job speaks of was deleted, and with it what the job says.
    Column("erased_at", Float, nullable=True),
    UniqueConstraint("tenant_id", "idempotency_key"),
    # what waits at a stage, oldest first; what has lost its worker
    Index("ix_jobs_waiting", "state", "stage", "seq"),
    Index("ix_jobs_finished_at", "finished_at"),
    # what waits out a pause: few, while those that never had one are many
    Index("ix_jobs_paused", "not_before", sqlite_where=_PAUSED, postgresql_where=_PAUSED),
    sqlite_autoincrement=True,
)

signed_requests = Table(
    "signed_requests",
    METADATA,
    Column("tenant_id", BigId, primary_key=True, autoincrement=False),
    Column("digest", String(64), primary_key=True),
    Column("expires_at", Float, nullable=False, index=True),
)
"""Signed requests that were accepted and may not be accepted again."""

_BARE = text("former_face_id IS NOT NULL")
_PASSING = text("expires_at IS NOT NULL")

images = Table(
    "images",
    METADATA,
    Column("id", BigId, primary_key=True),
    Column("tenant_id", BigId, ForeignKey("tenants.id", ondelete="CASCADE"), nullable=False),
    # What a caller names the picture by; made from its bytes, or chosen by the caller.
    Column("image_id", String(64), nullable=False),
    Column("sha256", String(64), nullable=False),
    Column("media_key", String(512), nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("width", Integer, nullable=False),
    Column("height", Integer, nullable=False),
    Column("format", String(16), nullable=False),
    Column("description", String(255), nullable=False),
    # The last face that the picture lost while it was kept; null while it has a face,
    # and in a picture that never had one.
    Column("former_face_id", BigInteger, nullable=True),
    Column("created_at", Float, nullable=False),
    # When a picture that is stored without a face goes; null: it stays.
    Column("expires_at", Float, nullable=True),
    UniqueConstraint("tenant_id", "image_id"),
    Index(None, "tenant_id", "id"),
    Index(None, "tenant_id", "sha256"),
    # what lists without a face, in the place of the face it had
    Index(
        "ix_images_bare", "tenant_id", "former_face_id",
        sqlite_where=_BARE, postgresql_where=_BARE,
    ),
    Index(
        "ix_images_passing", "expires_at",
        sqlite_where=_PASSING, postgresql_where=_PASSING,
    ),
    sqlite_autoincrement=True,
)

faces = Table(
    "faces",
    METADATA,
    # a's Fid, b's id
    Column("id", BigId, primary_key=True),
    Column("tenant_id", BigId, ForeignKey("tenants.id", ondelete="CASCADE"), nullable=False),
    Column("image_ref", BigId, ForeignKey("images.id", ondelete="CASCADE"), nullable=False),
    Column("person_id", String(36), nullable=False),
    Column("face_token", String(24), nullable=False),
    Column("name", String(255), nullable=False),
    Column("gender", String(64), nullable=False),
    Column("box", Json, nullable=False),
    Column("landmarks", Json, nullable=False),
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

vectors = Table(
    "vectors",
    METADATA,
    # What the index knows a face by. Never given twice: an index that still holds a
    # deleted label must not find another face under it.
    Column("label", BigId, primary_key=True),
    Column("tenant_id", BigId, ForeignKey("tenants.id", ondelete="CASCADE"), nullable=False),
    Column("face_id", BigId, ForeignKey("faces.id", ondelete="CASCADE"), nullable=False,
           unique=True),
    Column("pack", String(64), nullable=False),
    Column("model_sha256", String(64), nullable=False),
    Column("dimension", Integer, nullable=False),
    # float32, little-endian, unit length
    Column("vector", LargeBinary, nullable=False),
    Column("created_at", Float, nullable=False),
    Index(None, "tenant_id", "label"),
    sqlite_autoincrement=True,
)

collections = Table(
    "collections",
    METADATA,
    Column("id", BigId, primary_key=True),
    Column("tenant_id", BigId, ForeignKey("tenants.id", ondelete="CASCADE"), nullable=False),
    # b's groupId, d's facedb
    Column("key", String(32), nullable=False),
    Column("type", String(128), nullable=False),
    Column("name", String(128), nullable=False),
    # Searches in the collection count what scores above it, 0 to 100.
    Column("score", Float, nullable=False),
    Column("created_at", Float, nullable=False),
    UniqueConstraint("tenant_id", "key"),
    sqlite_autoincrement=True,
)

bindings = Table(
    "bindings",
    METADATA,
    Column("collection_id", BigId, ForeignKey("collections.id", ondelete="CASCADE"),
           primary_key=True, autoincrement=False),
    Column("face_id", BigId, ForeignKey("faces.id", ondelete="CASCADE"),
           primary_key=True, autoincrement=False),
    Column("tenant_id", BigId, ForeignKey("tenants.id", ondelete="CASCADE"), nullable=False),
    Index(None, "face_id"),
    Index(None, "tenant_id"),
    sqlite_with_rowid=False,
)

job_faces = Table(
    "mentions",
    METADATA,
    Column("face_id", BigId, ForeignKey("faces.id", ondelete="CASCADE"),
           primary_key=True, autoincrement=False),
    Column("job_seq", BigId, ForeignKey("jobs.seq", ondelete="CASCADE"),
           primary_key=True, autoincrement=False),
    Index(None, "job_seq"),
    sqlite_with_rowid=False,
)
"""The faces of which jobs that have ended speak (``mentions.py``)."""

changes = Table(
    "changes",
    METADATA,
    Column("tenant_id", BigId, ForeignKey("tenants.id", ondelete="CASCADE"),
           primary_key=True, autoincrement=False),
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    Column("label", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)
"""The change log: number by number, which label has changed. What it has become is read
from the label's present state, so that applying a change twice does no harm."""

snapshots = Table(
    "snapshots",
    METADATA,
    Column("id", BigId, primary_key=True),
    Column("tenant_id", BigId, ForeignKey("tenants.id", ondelete="CASCADE"), nullable=False),
    Column("pack", String(64), nullable=False),
    Column("dimension", Integer, nullable=False),
    Column("engine", String(16), nullable=False),
    Column("media_key", String(512), nullable=False),
    Column("sha256", String(64), nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("count", BigInteger, nullable=False),
    # the change log's number up to which the snapshot holds everything
    Column("number", BigInteger, nullable=False),
    Column("created_at", Float, nullable=False),
    Index(None, "tenant_id", "number"),
    sqlite_autoincrement=True,
)

discarded = Table(
    "discarded",
    METADATA,
    Column("media_key", String(512), primary_key=True),
    # no foreign key: the objects of a tenant outlive its row
    Column("tenant_id", BigId, nullable=False, index=True),
    Column("discarded_at", Float, nullable=False),
)
"""Objects that no row names any more, until they are deleted from the media store; noted
in the transaction that takes their row."""

_ZERO = text("0")

usage = Table(
    "usage",
    METADATA,
    Column("tenant_id", BigId, ForeignKey("tenants.id", ondelete="CASCADE"),
           primary_key=True, autoincrement=False),
    # A day (UTC, YYYY-MM-DD) or a month (YYYY-MM).
    Column("period", String(10), primary_key=True),
    # "*": all operations together.
    Column("operation", String(32), primary_key=True),
    Column("charged", BigInteger, nullable=False, server_default=_ZERO),
    Column("free", BigInteger, nullable=False, server_default=_ZERO),
    Column("refunded", BigInteger, nullable=False, server_default=_ZERO),
    Column("refused", BigInteger, nullable=False, server_default=_ZERO),
    sqlite_with_rowid=False,
)
"""Calls, counted; a quota holds for what is charged."""

used_clips = Table(
    "used_clips",
    METADATA,
    Column("id", BigId, primary_key=True),
    Column("tenant_id", BigId, ForeignKey("tenants.id", ondelete="CASCADE"), nullable=False),
    Column("face_id", BigId, ForeignKey("faces.id", ondelete="CASCADE"), nullable=False,
           index=True),
    Column("sha256", String(64), nullable=False),
    # how the face changed in it (pipeline.living.motion_signature): no picture of one
    Column("way", LargeBinary, nullable=False),
    Column("used_at", Float, nullable=False, index=True),
    Index(None, "tenant_id", "sha256"),
)
"""Clips that were taken for live ones, so that none is taken twice."""
