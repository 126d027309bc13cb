"""By what an item and a picture are known again when nothing else is left of them."""

from __future__ import annotations

from pipeline.encryption.data_key import DataKey
from pipeline.encryption.hashing import digest

HASH_BYTES = 16  # of a million items two have one mark with a chance of 1 in 10**26


def name_hash(batch_id: str, source_name: str, key: DataKey | None) -> bytes:
    """What stands for an item's name; no other batch has it. With the tenant's ``key``
    nobody can find out by trying whether a name was in the batch."""
    return _hash(f"name {batch_id} {source_name}", key)


def picture_hash(batch_id: str, sha256: str, key: DataKey | None) -> bytes:
    """The same for a picture's hash."""
    return _hash(f"picture {batch_id} {sha256}", key)


def _hash(text: str, key: DataKey | None) -> bytes:
    return bytes.fromhex(digest(text) if key is None else key.keyed_hash(text))[:HASH_BYTES]
