"""Metadata and column types that all tables share."""

from __future__ import annotations

from sqlalchemy import JSON, BigInteger, Integer, MetaData

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
