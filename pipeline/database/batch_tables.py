"""The tables of batches."""

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
    Text,
    UniqueConstraint,
    text,
)

from pipeline.database.metadata import METADATA, BigId, Json
from pipeline.identifiers import MAX_COLLECTION_KEY_BYTES

_ZERO = text("0")
_HAS_CRITERIA = text("criteria IS NOT NULL")
_HAS_IMAGE = text("image_ref IS NOT NULL")
_IS_DUPLICATE = text("original IS NOT NULL")

batches = Table(
    "batches",
    METADATA,
    Column("id", String(32), primary_key=True),
    Column("tenant_id", BigId, ForeignKey("tenants.id", ondelete="CASCADE"), nullable=False),
    # By which the same command finds its batch: a hash of the source and the options.
    Column("fingerprint", String(64), nullable=False),
    Column("source", Text, nullable=False),
    Column("options", Json, nullable=False),
    # "reading", "working" (the source was read to its end), "done", "cancelled", "failed"
    Column("state", String(16), nullable=False),
    # The number of items, and of those in each state: changed together with the items.
    Column("items", BigInteger, nullable=False, server_default=_ZERO),
    Column("waiting", BigInteger, nullable=False, server_default=_ZERO),
    Column("enrolled", BigInteger, nullable=False, server_default=_ZERO),
    Column("duplicate", BigInteger, nullable=False, server_default=_ZERO),
    Column("rejected", BigInteger, nullable=False, server_default=_ZERO),
    Column("cancelled", BigInteger, nullable=False, server_default=_ZERO),
    # Whether the source was read to its end, how many items it has (if it tells), and the
    # share of it that was read, 0 to 1.
    Column("exhausted", Boolean, nullable=False, default=False),
    Column("total", BigInteger, nullable=True),
    Column("position", Float, nullable=True),
    # The progress of the search for duplicate people (pipeline/batches/duplicate_search.py).
    Column("findings", Json, nullable=True),
    # Why the source could not be read, until it can (pipeline/batches/source_errors.py).
    Column("source_error", Json, nullable=True),
    Column("created_at", Float, nullable=False),
    Column("updated_at", Float, nullable=False),
    Column("finished_at", Float, nullable=True),
    # The process that reads the source, and the end of its lease.
    Column("submitter", String(128), nullable=True),
    Column("submitter_until", Float, nullable=False, server_default=_ZERO),
    UniqueConstraint("tenant_id", "fingerprint"),
)

batch_items = Table(
    "batch_items",
    METADATA,
    Column("batch_id", String(32), ForeignKey("batches.id", ondelete="CASCADE"),
           primary_key=True),
    Column("number", BigInteger, primary_key=True, autoincrement=False),
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
    Column("external_id", String(255), nullable=True),
    Column("description", String(255), nullable=True),
    Column("sha256", String(64), nullable=True),
    # The item's object while it waits; then it belongs to the image, or is discarded.
    Column("media_key", String(512), nullable=True),
    Column("size", BigInteger, nullable=False, server_default=_ZERO),
    Column("width", Integer, nullable=False, server_default=_ZERO),
    Column("height", Integer, nullable=False, server_default=_ZERO),
    # "again" (to be read once more), "waiting", "enrolled", "duplicate", "rejected",
    # "cancelled"
    Column("state", String(16), nullable=False),
    Column("reason", String(32), nullable=True),
    Column("detail", Text, nullable=True),
    # The number of the item with the same bytes.
    Column("original", BigInteger, nullable=True),
    # No foreign keys: erasing a face updates them (gallery/batch_items.py).
    Column("image_ref", BigInteger, nullable=True),
    Column("face_id", BigInteger, nullable=True),
    Column("faces", Integer, nullable=False, server_default=_ZERO),
    Column("job_id", String(32), nullable=True),
    Column("tries", Integer, nullable=False, server_default=_ZERO),
    # The fingerprint of the pack and settings that rejected it and would do so again.
    Column("criteria", String(64), nullable=True),
    Column("erased_at", Float, nullable=True),
    UniqueConstraint("batch_id", "name_hash"),
    Index(None, "batch_id", "picture_hash"),
    Index("ix_batch_items_state", "batch_id", "state", "number"),
    Index("ix_batch_items_criteria", "tenant_id", "sha256",
          sqlite_where=_HAS_CRITERIA, postgresql_where=_HAS_CRITERIA),
    Index("ix_batch_items_image_ref", "image_ref",
          sqlite_where=_HAS_IMAGE, postgresql_where=_HAS_IMAGE),
    Index("ix_batch_items_original", "batch_id", "original",
          sqlite_where=_IS_DUPLICATE, postgresql_where=_IS_DUPLICATE),
    sqlite_with_rowid=False,
)
"""The items of the sources of batches."""

findings = Table(
    "findings",
    METADATA,
    Column("id", BigId, primary_key=True),
    Column("batch_id", String(32), ForeignKey("batches.id", ondelete="CASCADE"), nullable=False),
    # pipeline/batches/duplicate_search.py
    Column("kind", String(16), nullable=False),
    # No names: they are read from the faces. Deleting either face deletes the finding.
    Column("face_id", BigId, ForeignKey("faces.id", ondelete="CASCADE"), nullable=False),
    Column("other_id", BigId, ForeignKey("faces.id", ondelete="CASCADE"), nullable=True),
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
