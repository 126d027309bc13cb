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

_ZERO = text("0")
_JUDGED = text("judged IS NOT NULL")
_TAKEN = text("image_ref IS NOT NULL")
_DOUBLED = text("original IS NOT NULL")

batches = Table(
    "batches",
    METADATA,
    Column("id", String(32), primary_key=True),
    Column("tenant_id", BigId, ForeignKey("tenants.id", ondelete="CASCADE"), nullable=False),
    # What the same command finds its batch by: made from the source and the options.
    Column("fingerprint", String(64), nullable=False),
    Column("source", Text, nullable=False),
    Column("options", Json, nullable=False),
    # "reading", "working" (all is read), "done", "cancelled" or "failed"
    Column("state", String(16), nullable=False),
    # How many items there are, and of each state: changed with the items.
    Column("items", BigInteger, nullable=False, server_default=_ZERO),
    Column("waiting", BigInteger, nullable=False, server_default=_ZERO),
    Column("enrolled", BigInteger, nullable=False, server_default=_ZERO),
    Column("duplicate", BigInteger, nullable=False, server_default=_ZERO),
    Column("rejected", BigInteger, nullable=False, server_default=_ZERO),
    Column("cancelled", BigInteger, nullable=False, server_default=_ZERO),
    # Whether the source was read to its end; how many items it has, when it says so; how
    # much of it was read, 0 to 1.
    Column("exhausted", Boolean, nullable=False, default=False),
    Column("total", BigInteger, nullable=True),
    Column("position", Float, nullable=True),
    # What a search of the batch in itself has found.
    Column("findings", Json, nullable=True),
    # Why the source could not be read, until it can (pipeline/batches/source_errors.py).
    Column("trouble", Json, nullable=True),
    Column("created_at", Float, nullable=False),
    Column("updated_at", Float, nullable=False),
    Column("finished_at", Float, nullable=True),
    # Who reads the source, and until when he is taken to be alive.
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
    # its batch's; the batch goes with the tenant
    Column("tenant_id", BigInteger, nullable=False),
    # By which an item and a picture are known again, also when nothing else is left of
    # them: 16 bytes of a hash that no other batch has.
    Column("name_mark", LargeBinary, nullable=False),
    Column("picture_mark", LargeBinary, nullable=True),
    # What the source says; null once the person was erased.
    Column("source_name", Text, nullable=True),
    Column("name", String(255), nullable=True),
    Column("collection", String(128), nullable=True),
    Column("external_id", String(255), nullable=True),
    Column("description", String(255), nullable=True),
    Column("sha256", String(64), nullable=True),
    # The row's own object as long as it waits; then the picture's (images), or nobody's.
    Column("media_key", String(512), nullable=True),
    Column("size", BigInteger, nullable=False, server_default=_ZERO),
    Column("width", Integer, nullable=False, server_default=_ZERO),
    Column("height", Integer, nullable=False, server_default=_ZERO),
    # "again" (to be read once more), "waiting", "enrolled", "duplicate", "rejected" or
    # "cancelled"
    Column("state", String(16), nullable=False),
    Column("reason", String(32), nullable=True),
    Column("detail", Text, nullable=True),
    # The number of the item that has the same bytes.
    Column("original", BigInteger, nullable=True),
    # No foreign keys: erasing a face takes care of them (gallery/batched.py).
    Column("image_ref", BigInteger, nullable=True),
    Column("face_id", BigInteger, nullable=True),
    Column("faces", Integer, nullable=False, server_default=_ZERO),
    Column("job_id", String(32), nullable=True),
    Column("tries", Integer, nullable=False, server_default=_ZERO),
    # Under which pack and settings it was refused: under the same it will be again.
    Column("judged", String(64), nullable=True),
    Column("erased_at", Float, nullable=True),
    UniqueConstraint("batch_id", "name_mark"),
    Index(None, "batch_id", "picture_mark"),
    Index("ix_batch_items_state", "batch_id", "state", "number"),
    Index("ix_batch_items_judged", "tenant_id", "sha256",
          sqlite_where=_JUDGED, postgresql_where=_JUDGED),
    Index("ix_batch_items_image_ref", "image_ref",
          sqlite_where=_TAKEN, postgresql_where=_TAKEN),
    Index("ix_batch_items_original", "batch_id", "original",
          sqlite_where=_DOUBLED, postgresql_where=_DOUBLED),
    sqlite_with_rowid=False,
)
"""What was found in the source of a batch, and what became of it."""

findings = Table(
    "findings",
    METADATA,
    Column("id", BigId, primary_key=True),
    Column("batch_id", String(32), ForeignKey("batches.id", ondelete="CASCADE"), nullable=False),
    # pipeline/batches/duplicate_search.py
    Column("kind", String(16), nullable=False),
    # No names: these are read with the faces, and a finding goes with either of them.
    Column("face_id", BigId, ForeignKey("faces.id", ondelete="CASCADE"), nullable=False),
    Column("other_id", BigId, ForeignKey("faces.id", ondelete="CASCADE"), nullable=True),
    # The item that brought the picture of the face again.
    Column("number", BigInteger, nullable=True),
    Column("cosine", Float, nullable=True),
    # Pairs, or faces, that the finding stands for.
    Column("count", BigInteger, nullable=False),
    Index(None, "batch_id", "kind", "id"),
    Index(None, "face_id"),
    Index(None, "other_id"),
    sqlite_autoincrement=True,
)
"""Who stands under two names in a batch, and which names for two people."""
