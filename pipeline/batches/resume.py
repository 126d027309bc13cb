"""Recognises items and pictures when a source is read again.

An item is known by a hash of its name and a picture by a hash of its bytes. Both remain
when everything else about the item was erased.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import Engine, Row, bindparam, func, select

from pipeline.batches.model import Batch, ItemState, KnownItem, PictureRecord
from pipeline.batches.rows import IN_BATCH
from pipeline.database.engine import read_rows, reading
from pipeline.database.schema import batch_items, faces, images
from pipeline.encryption.data_key import DataKey, KeySource
from pipeline.encryption.hashing import digest
from pipeline.sources.base import Item, RefusalReason, RefusedItem
from pipeline.sources.names import NameSet

WINDOW_ITEMS = 2000  # items read with one query

HASH_BYTES = 16  # two of a million items collide with a chance of 1 in 10**26

# Reasons for which several entries of one name may be refused.
REPEATABLE_REASONS = frozenset(
    {
        RefusalReason.DUPLICATE_NAME, RefusalReason.UNSAFE_NAME, RefusalReason.BOMB,
        RefusalReason.TOO_MANY, RefusalReason.ARCHIVE_DAMAGED,
    }
)

_KNOWN_COLUMNS = (batch_items.c.name_hash, batch_items.c.number, batch_items.c.state)
_BY_NAME_HASH = select(*_KNOWN_COLUMNS).where(
    IN_BATCH, batch_items.c.name_hash.in_(bindparam("hashes", expanding=True))
)
_NAME_HASHES = (
    select(*_KNOWN_COLUMNS)
    .where(
        IN_BATCH, batch_items.c.number > bindparam("after"),
        batch_items.c.number <= bindparam("last"),
    )
    .order_by(batch_items.c.number).limit(bindparam("limit"))
)
# The first of the items with the same bytes; the others are its duplicates.
_BY_PICTURE_HASH = (
    select(batch_items.c.picture_hash, func.min(batch_items.c.number).label("number"))
    .where(
        IN_BATCH, batch_items.c.picture_hash.in_(bindparam("hashes", expanding=True)),
        batch_items.c.original.is_(None),
    )
    .group_by(batch_items.c.picture_hash)
)
# Stored pictures that have a face; one without a face is enrolled like a new one.
_ENROLLED_IMAGES = (
    select(
        images.c.sha256, images.c.id, func.min(faces.c.id).label("face_id"),
        func.count(faces.c.id).label("faces"),
    )
    .join(faces, faces.c.image_ref == images.c.id)
    .where(
        images.c.tenant_id == bindparam("tenant"),
        images.c.sha256.in_(bindparam("hashes", expanding=True)),
    )
    .group_by(images.c.sha256, images.c.id)
    .order_by(images.c.id.desc())
)
_REJECTED_BEFORE = select(batch_items.c.sha256, batch_items.c.reason, batch_items.c.detail).where(
    batch_items.c.tenant_id == bindparam("tenant"),
    batch_items.c.sha256.in_(bindparam("hashes", expanding=True)),
    batch_items.c.criteria.is_not(None), batch_items.c.criteria == bindparam("criteria"),
)


def name_hash(batch_id: str, source_name: str, key: DataKey | None) -> bytes:
    """A hash of an item's name that is different in each batch. With the tenant's ``key``,
    trying names cannot reveal whether one was in the batch."""
    return _hash(f"name {batch_id} {source_name}", key)


def picture_hash(batch_id: str, sha256: str, key: DataKey | None) -> bytes:
    """The same for the hash of a picture."""
    return _hash(f"picture {batch_id} {sha256}", key)


def _hash(text: str, key: DataKey | None) -> bytes:
    return bytes.fromhex(digest(text) if key is None else key.keyed_hash(text))[:HASH_BYTES]


@dataclass(frozen=True, slots=True)
class KnownItems:
    """Looks up items and pictures. Methods raise ``DatabaseUnavailable`` and ``TenantNotFound``."""

    engine: Engine
    keys: KeySource

    def name_hash(self, batch: Batch, name: str) -> bytes:
        return name_hash(batch.id, name, self.keys.data_key(batch.tenant_id))

    def after(self, batch: Batch, number: int, limit: int) -> list[tuple[bytes, KnownItem]]:
        """The items past ``number`` in their order, each with the hash of its name."""
        parameters = {"batch": batch.id, "after": number, "last": batch.items, "limit": limit}
        rows = read_rows(self.engine, _NAME_HASHES, parameters)
        return [(bytes(row.name_hash), _known_item(row)) for row in rows]

    def by_name(self, batch: Batch, names: Sequence[str]) -> dict[str, KnownItem]:
        """Those of the names (at most some hundreds) that are items of the batch."""
        if not names:
            return {}
        key = self.keys.data_key(batch.tenant_id)
        # Items recorded before the tenant had a key are found by their unkeyed hash.
        hashes = {name_hash(batch.id, name, each): name for each in {key, None} for name in names}
        parameters = {"batch": batch.id, "hashes": list(hashes)}
        rows = read_rows(self.engine, _BY_NAME_HASH, parameters)
        return {hashes[bytes(row.name_hash)]: _known_item(row) for row in rows}

    def pictures(
        self, batch: Batch, sha256s: Sequence[str], criteria: str = ""
    ) -> dict[str, PictureRecord]:
        """The earlier records of pictures, by ``sha256`` (at most some hundreds); each has the
        first of these: the item of this batch, the enrolled image, the earlier rejection.
        ``criteria`` is the fingerprint under which an earlier rejection still holds; empty:
        earlier rejections do not count."""
        if not sha256s:
            return {}
        key = self.keys.data_key(batch.tenant_id)
        hashes = {picture_hash(batch.id, sha256, key): sha256 for sha256 in sha256s}
        parameters = {"tenant": batch.tenant_id, "hashes": list(sha256s)}
        known: dict[str, PictureRecord] = {}
        with reading(self.engine) as connection:
            if criteria:
                rejected = {**parameters, "criteria": criteria}
                for row in connection.execute(_REJECTED_BEFORE, rejected):
                    known[row.sha256] = PictureRecord(
                        reason=row.reason or "", detail=row.detail or ""
                    )
            for row in connection.execute(_ENROLLED_IMAGES, parameters):
                known[row.sha256] = PictureRecord(
                    image_ref=row.id, face_id=row.face_id, faces=row.faces
                )
            in_batch = connection.execute(
                _BY_PICTURE_HASH, {"batch": batch.id, "hashes": list(hashes)}
            ).all()
        for short, number in in_batch:
            sha256 = hashes[bytes(short)]
            stored = known.get(sha256, PictureRecord())
            known[sha256] = replace(stored, original=number, reason="", detail="")
        return known


def _known_item(row: Row[*tuple[Any, ...]]) -> KnownItem:
    return KnownItem(row.number, ItemState(row.state))


class ItemNames:
    """Gives every entry of a source a unique name, the same each time the source is read from its
    beginning: its source name, which is unique except for some refusals. Those get a number."""

    def __init__(self) -> None:
        self._once = NameSet()
        self._repeats: Counter[str] = Counter()

    def name_of(self, item: Item | RefusedItem) -> str:
        if isinstance(item, Item) or item.reason not in REPEATABLE_REASONS:
            return item.source_name
        name = f"{item.source_name}\0{item.reason}"
        if not self._once.add(name):
            self._repeats[name] += 1
        return f"{name}\0{self._repeats[name]}"


class SeenItems:
    """Finds the items that an earlier run has read, in the order in which it read them.

    One query finds many items as long as the source is unchanged, and one item where it has
    changed; once all were found there are no more queries. Memory does not grow.
    """

    def __init__(self, known: KnownItems, batch: Batch) -> None:
        self._known = known
        self._batch = batch
        self._window: dict[bytes, KnownItem] = {}
        self._read_to = 0  # the last number that a window covered
        self._left = batch.items

    def find(self, name: str) -> KnownItem | None:
        """The item of this name; None when an earlier run has not read it."""
        if not self._left:
            return None
        if not self._window:
            self._read_window(self._read_to)
        item = self._window.pop(self._known.name_hash(self._batch, name), None)
        if item is None:
            item = self._known.by_name(self._batch, [name]).get(name)
            if item is None or item.number > self._batch.items:
                return None
            self._read_window(item.number)
        self._left -= 1
        return item

    def _read_window(self, after: int) -> None:
        window = self._known.after(self._batch, after, WINDOW_ITEMS)
        self._window = dict(window)
        self._read_to = window[-1][1].number if window else after
