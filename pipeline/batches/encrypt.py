"""Encrypting what batches keep of a tenant that has a key since they began."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Engine, Row, exists, select, update

from pipeline.batches.item_hashes import name_hash, picture_hash
from pipeline.batches.model import ItemState
from pipeline.database.engine import reading, writing
from pipeline.database.schema import batch_items, batches
from pipeline.encryption.data_key import DataKey
from pipeline.errors import MediaNotFound
from pipeline.gallery.trash import discard, discard_unless_named, reclaim
from pipeline.media.base import MediaStore
from pipeline.media.encrypted import rewrite_object

# Rows looked at in one transaction.
PAGE_ITEMS = 200

_ITEM_COLUMNS = select(
    batch_items.c.batch_id, batch_items.c.number, batch_items.c.name_mark,
    batch_items.c.source_name, batch_items.c.sha256, batch_items.c.media_key, batch_items.c.state,
)


@dataclass(slots=True)
class ItemEncryption:
    """Of one tenant, whose ``key`` every process knows. ``missing`` objects were not in
    the store. ``clock`` gives epoch seconds."""

    engine: Engine
    media: MediaStore
    tenant_id: int
    key: DataKey
    clock: Callable[[], float]
    missing: int = 0

    def run(self) -> int:
        """Marks and hashes of items, and the pictures of those that wait; how many items
        it were. Raises ``MediaUnavailable``, ``DatabaseUnavailable``."""
        return sum(
            self._encrypt(row)
            for rows in self._pages()
            for row in rows
            if self._is_unencrypted(row)
        )

    def _is_unencrypted(self, row: Row[*tuple[Any, ...]]) -> bool:
        """Whether an item was recorded without the key. Of an erased one nothing is left
        to make another mark of; it is known by either."""
        return row.source_name is not None and bytes(row.name_mark) == name_hash(
            row.batch_id, row.source_name, None
        )

    def _encrypt(self, row: Row[*tuple[Any, ...]]) -> int:
        held = row.state == ItemState.WAITING and row.media_key is not None
        fresh = self._encrypted_copy(row.media_key) if held else row.media_key
        sha256 = None if row.sha256 is None else self.key.keyed_hash(row.sha256)
        same = (
            batch_items.c.batch_id == row.batch_id, batch_items.c.number == row.number,
            batch_items.c.state == row.state, batch_items.c.source_name == row.source_name,
        )
        with writing(self.engine) as connection:
            reclaim(connection, [fresh] if held else [])
            changed = connection.execute(
                update(batch_items).where(*same).values(
                    name_mark=name_hash(row.batch_id, row.source_name, self.key),
                    picture_mark=None if sha256 is None
                    else picture_hash(row.batch_id, sha256, self.key),
                    sha256=sha256, media_key=fresh,
                )
            ).rowcount
            if held and fresh != row.media_key:
                if changed:
                    discard(connection, self.tenant_id, row.media_key, self.clock())
                else:  # it has ended meanwhile
                    named = exists().where(
                        batch_items.c.batch_id == row.batch_id, batch_items.c.media_key == fresh
                    )
                    discard_unless_named(connection, self.tenant_id, fresh, named, self.clock())
        return changed

    def _encrypted_copy(self, old: str) -> str:
        """The key of a picture that is stored encrypted, too, now."""
        try:
            return rewrite_object(self.media, self.tenant_id, old)
        except MediaNotFound:
            self.missing += 1
            return old

    def _pages(self) -> Iterator[list[Row[*tuple[Any, ...]]]]:
        with reading(self.engine) as connection:
            mine = list(connection.execute(
                select(batches.c.id).where(batches.c.tenant_id == self.tenant_id)
            ).scalars())
        for batch_id in mine:
            last = 0
            while rows := self._page(batch_id, last):
                yield rows
                last = rows[-1].number

    def _page(self, batch_id: str, after: int) -> list[Row[*tuple[Any, ...]]]:
        query = (
            _ITEM_COLUMNS.where(batch_items.c.batch_id == batch_id, batch_items.c.number > after)
            .order_by(batch_items.c.number).limit(PAGE_ITEMS)
        )
        with reading(self.engine) as connection:
            return list(connection.execute(query).all())
