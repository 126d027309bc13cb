"""What all tables have in common."""

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

# SQLite counts rows up by itself only for INTEGER keys.
BigId = BigInteger().with_variant(Integer, "sqlite")
# Text, on PostgreSQL too: nothing searches in it, and JSONB would refuse a \u0000 that a
# client sent, change the order of keys and cost more to write.
Json = JSON(none_as_null=True)
