"""The tables, as SQLAlchemy Core sees them. Alembic makes them (``migrations/``)."""

from __future__ import annotations

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    UniqueConstraint,
    text,
)

METADATA = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "pk": "pk_%(table_name)s",
    }
)

# SQLite counts rows up by itself only for INTEGER keys.
BigId = BigInteger().with_variant(Integer, "sqlite")
# Text, on PostgreSQL too: nothing searches in it, and JSONB would refuse a \u0000 that a
# client sent, change the order of keys and cost more to write.
Json = JSON(none_as_null=True)

tenants = Table(
    "tenants",
    METADATA,
    Column("id", BigId, primary_key=True),
    Column("name", String(128), nullable=False, unique=True),
    Column("settings", Json, nullable=False),
    Column("disabled", Boolean, nullable=False, default=False),
    Column("created_at", Float, nullable=False),
    sqlite_autoincrement=True,
)

credentials = Table(
    "credentials",
    METADATA,
    Column("id", BigId, primary_key=True),
    Column("tenant_id", BigId, ForeignKey("tenants.id", ondelete="CASCADE"), nullable=False),
    # "signed" (dialect e: appId, appSecret, SM2) or "key" (X-API-Key)
    Column("kind", String(16), nullable=False),
    # What the caller names himself by: the appId, or the key's public prefix.
    Column("public_id", String(64), nullable=False, unique=True),
    # A secret that must be read again (signatures) is encrypted, one that must only be
    # recognised (keys) is an HMAC; both under the master key.
    Column("secret", LargeBinary, nullable=False),
    Column("sm2_public_key", String(130), nullable=True),
    Column("disabled", Boolean, nullable=False, default=False),
    Column("created_at", Float, nullable=False),
    Column("expires_at", Float, nullable=True),
    Index(None, "tenant_id"),
    sqlite_autoincrement=True,
)

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
