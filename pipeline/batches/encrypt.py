"""Encrypts the batches of a tenant that has received a key since they began."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Engine, Row, exists, select, update

from pipeline.batches.model import ItemState
from pipeline.batches.resume import name_hash, picture_hash
from pipeline.database.engine import reading, writing
from pipeline.database.keyset import read_pages
from pipeline.database.schema import batch_items, batches
from pipeline.encryption.data_key import DataKey
from pipeline.errors import MediaNotFound
from pipeline.gallery.trash import discard, discard_unless_named, reclaim
from pipeline.media.base import MediaStore
from pipeline.media.encrypted import rewrite_object

PAGE_ITEMS = 200  # rows read with one query

_COLUMNS = select(
    batch_items.c.batch_id, batch_items.c.number, batch_items.c.name_hash,
    batch_items.c.source_name, batch_items.c.sha256, batch_items.c.media_key, batch_items.c.state,
)


@dataclass(slots=True)
class ItemEncryption:
    """Encrypts the items of one tenant, whose ``key`` every process has. ``missing`` counts
    objects that were not in the media store. ``clock`` gives epoch seconds."""

    engine: Engine
    media: MediaStore
    tenant_id: int
    key: DataKey
    clock: Callable[[], float]
    missing: int = 0

    def run(self) -> int:
        """Replace the hashes of items, and encrypt the pictures of those that wait; the
        number of changed items. Raises ``MediaUnavailable``, ``DatabaseUnavailable``."""
        with reading(self.engine) as connection:
            query = select(batches.c.id).where(batches.c.tenant_id == self.tenant_id)
            ids = list(connection.execute(query).scalars())
        return sum(
            self._encrypt(row)
            for batch_id in ids
            for page in read_pages(
                self.engine, _COLUMNS.where(batch_items.c.batch_id == batch_id),
                batch_items.c.number, PAGE_ITEMS,
            )
            for row in page
            if self._is_unencrypted(row)
        )

    def _is_unencrypted(self, row: Row[*tuple[Any, ...]]) -> bool:
        """Whether the item was recorded without the key. An erased item has no name to make
        another hash from; it is found by either hash."""
        return row.source_name is not None and bytes(row.name_hash) == name_hash(
            row.batch_id, row.source_name, None
        )

    def _encrypt(self, row: Row[*tuple[Any, ...]]) -> int:
        has_object = row.state == ItemState.WAITING and row.media_key is not None
        media_key = self._encrypted_copy(row.media_key) if has_object else row.media_key
        sha256 = None if row.sha256 is None else self.key.keyed_hash(row.sha256)
        unchanged = (
            batch_items.c.batch_id == row.batch_id, batch_items.c.number == row.number,
            batch_items.c.state == row.state, batch_items.c.source_name == row.source_name,
        )
        with writing(self.engine) as connection:
            reclaim(connection, [media_key] if has_object else [])
            changed = connection.execute(
                update(batch_items).where(*unchanged).values(
                    name_hash=name_hash(row.batch_id, row.source_name, self.key),
                    picture_hash=None if sha256 is None
                    else picture_hash(row.batch_id, sha256, self.key),
                    sha256=sha256, media_key=media_key,
                )
            ).rowcount
            if has_object and media_key != row.media_key:
                if changed:
                    discard(connection, self.tenant_id, row.media_key, self.clock())
                else:  # the item has ended meanwhile
                    is_named = exists().where(
                        batch_items.c.batch_id == row.batch_id,
                        batch_items.c.media_key == media_key,
                    )
                    discard_unless_named(
                        connection, self.tenant_id, media_key, is_named, self.clock()
                    )
        return changed

    def _encrypted_copy(self, old: str) -> str:
        """The key of the encrypted copy of an object; ``old`` when there is no object."""
        try:
            return rewrite_object(self.media, self.tenant_id, old)
        except MediaNotFound:
            self.missing += 1
            return old
