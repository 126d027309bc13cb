"""A media store that encrypts the objects of tenants with a data key."""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.encryption.data_key import DataKey, KeySource
from pipeline.errors import DecryptionFailed, MediaCorrupt
from pipeline.media.base import MediaStore, WrappingStore
from pipeline.storage_keys import ENCRYPTED_SUFFIX, is_encrypted, tenant_of


class EncryptedStore(WrappingStore):
    """The key of an encrypted object says so; objects stored before their tenant had a data
    key stay readable.

    Methods that need a data key also raise ``TenantNotFound`` when the tenant is deleted or
    its data key destroyed, and ``DatabaseUnavailable``.
    """

    def __init__(self, inner: MediaStore, keys: KeySource) -> None:
        super().__init__(inner)
        self._keys = keys

    def name_of(self, tenant_id: int, sha256: str) -> str:
        key = self._keys.data_key(tenant_id)
        return sha256 if key is None else key.keyed_hash(sha256) + ENCRYPTED_SUFFIX

    def put(self, key: str, data: bytes) -> None:
        self._inner.put(key, self.stored_form(key, data))

    def put_many(self, pairs: Sequence[tuple[str, bytes]]) -> None:
        self._inner.put_many([(key, self.stored_form(key, data)) for key, data in pairs])

    def stored_form(self, key: str, data: bytes) -> bytes:
        return self._key(key).encrypt(data, key) if is_encrypted(key) else data

    def get(self, key: str) -> bytes:
        stored = self._inner.get(key)
        if not is_encrypted(key):
            return stored
        data_key = self._key(key)
        try:
            return data_key.decrypt(stored, key)
        except DecryptionFailed as error:
            raise MediaCorrupt(
                f"The stored object {key} is damaged: it cannot be decrypted."
            ) from error

    def _key(self, key: str) -> DataKey:
        found = self._keys.data_key(tenant_of(key))
        if found is None:
            raise MediaCorrupt(f"The stored object {key} has no key: its tenant has none.")
        return found


def rewrite_object(media: MediaStore, tenant_id: int, old: str) -> str:
    """Stores a copy of the object ``old`` under its tenant's current naming, which encrypts it
    once the tenant has a data key; returns the key of the copy.

    Raises ``MediaNotFound``, ``MediaUnavailable``.
    """
    data = media.get(old)
    fresh = f"{old.rpartition('/')[0]}/{media.name(tenant_id, data)}"
    media.put(fresh, data)
    return fresh
