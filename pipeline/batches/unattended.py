"""The sources of batches that the service reads itself: the bucket that applications import
from, and what operators upload.

``Batch.source`` names a prefix of the bucket, a stored list of its objects, or a stored archive.
Lists and archives are kept in the media store until they were read to their end. Their data about
people are then in the items and the gallery, and are erased with them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import msgspec
from sqlalchemy import Engine, bindparam, select

from pipeline import storage_keys
from pipeline.batches.model import Batch, BatchState, ItemState
from pipeline.batches.store import BatchStore
from pipeline.config.settings import Settings
from pipeline.database.engine import read_values
from pipeline.database.schema import batches
from pipeline.errors import MediaNotFound
from pipeline.media.base import MediaStore, age_limit
from pipeline.sources.base import PictureSource
from pipeline.sources.import_bucket import UNNAMED_ITEM, ListedItem, ListedSource, prefix_source
from pipeline.sources.names import from_printable
from pipeline.sources.uploaded import uploaded_source

PREFIX = "prefix:"
LIST = "list:"
UPLOAD = "upload:"

LIST_GRACE_S = 600.0  # a list is stored just before its batch is recorded

_UNREAD_BATCHES = select(batches.c.id).where(
    batches.c.tenant_id == bindparam("tenant"),
    batches.c.fingerprint == bindparam("fingerprint"),
    # A failed batch may be retried, and its unread items are in the list alone.
    batches.c.state.in_([BatchState.READING.value, BatchState.FAILED.value]),
)


@dataclass(frozen=True, slots=True)
class UnattendedSources:
    """Opens the sources of unattended batches."""

    settings: Settings
    media: MediaStore
    batches: BatchStore

    def open(self, batch: Batch) -> PictureSource:
        """Raises ``ConfigurationError`` where importing is switched off (by now),
        ``InvalidParameter``, ``MediaUnavailable``, and ``MediaNotFound`` for an upload that is
        gone."""
        layout, tenant = batch.options.layout, batch.tenant_id
        if batch.source.startswith(UPLOAD):
            data = self.media.get(stored_key(batch))
            return uploaded_source(data, layout, take_litter=batch.options.take_litter)
        if batch.source.startswith(PREFIX):
            return prefix_source(
                self.settings, tenant, batch.source.removeprefix(PREFIX), layout,
                take_litter=batch.options.take_litter,
            )
        try:
            listed = decode_list(self.media.get(stored_key(batch)))
        except MediaNotFound:  # the list was read to its end: only retried items are left
            listed = list(self._items_to_retry(batch))
        return ListedSource(self.settings, tenant, listed, layout)

    def close(self, batch: Batch) -> None:
        """Called once the source was read to its end. Raises ``MediaUnavailable``."""
        if batch.source.startswith((LIST, UPLOAD)):
            self.media.delete(stored_key(batch))

    def _items_to_retry(self, batch: Batch) -> Iterator[ListedItem]:
        for page in self.batches.item_pages(batch.id, ItemState.AGAIN):
            for item in page:
                if UNNAMED_ITEM.fullmatch(item.source_name):
                    continue  # its key was refused, and would be again
                about = item.about
                yield ListedItem(
                    from_printable(item.source_name), about.name, about.collection,
                    about.external_id, about.description,
                )


def prefix_name(prefix: str) -> str:
    """The ``source`` of a batch of all objects below a prefix."""
    return f"{PREFIX}{prefix}"


def list_name(key: str) -> str:
    """The ``source`` of a batch of the list that is stored under a key."""
    return f"{LIST}{key}"


def upload_name(key: str) -> str:
    """The ``source`` of a batch of the archive that is stored under a key."""
    return f"{UPLOAD}{key}"


def stored_key(batch: Batch) -> str:
    """The key of a batch's stored list or archive."""
    return batch.source.partition(":")[2]


def encode_list(listed: Sequence[ListedItem]) -> bytes:
    return msgspec.json.encode(listed)


def decode_list(data: bytes) -> list[ListedItem]:
    return msgspec.json.decode(data, type=list[ListedItem])


def sweep_lists(engine: Engine, media: MediaStore, tenant_id: int, now: float) -> int:
    """Delete the lists and archives that no batch needs any more; how many. ``now`` in epoch
    seconds.
    Raises ``MediaUnavailable``, ``DatabaseUnavailable``."""
    unneeded, old = [], age_limit(media, now, LIST_GRACE_S)
    for stored in media.walk(storage_keys.lists_prefix(tenant_id)):
        if stored.modified < old:
            parameters = {
                "tenant": tenant_id, "fingerprint": storage_keys.list_fingerprint(stored.key)
            }
            if not read_values(engine, _UNREAD_BATCHES, parameters):
                unneeded.append(stored.key)
    for key in unneeded:
        media.delete(key)
    return len(unneeded)
