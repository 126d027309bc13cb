"""Batches whose pictures the service reads itself, from the bucket that applications
import from: what they are called in ``Batch.source``, and the source behind that.

A list of objects lies in the media store until it is read to its end: what it says of
people is in the items then, and erased with them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import msgspec
from sqlalchemy import Engine, bindparam, select

from pipeline import keys
from pipeline.batches.model import Batch, BatchState, ItemState
from pipeline.batches.store import BatchStore
from pipeline.config import Settings
from pipeline.database.engine import reading
from pipeline.database.schema import batches
from pipeline.errors import MediaNotFound
from pipeline.media.base import MediaStore
from pipeline.sources.base import Source
from pipeline.sources.imports import REFUSED_NAME, ListedItem, ListedSource, prefix_source
from pipeline.sources.names import unshown

PREFIX = "prefix:"
LIST = "list:"

BLOCK = 1000  # items read at a time

GRACE_S = 600.0  # a list is stored just before its batch is recorded

_TO_BE_READ = select(batches.c.id).where(
    batches.c.tenant_id == bindparam("tenant"), batches.c.fingerprint == bindparam("owner"),
    # what failed may be tried again, and what was not read yet is nowhere else
    batches.c.state.in_([BatchState.READING.value, BatchState.FAILED.value]),
)


@dataclass(frozen=True, slots=True)
class Opener:
    """Opens the sources of batches that nobody attends."""

    settings: Settings
    media: MediaStore
    batches: BatchStore

    def open(self, batch: Batch) -> Source:
        """Raises ``ConfigurationError`` where importing is switched off (by now),
        ``InvalidParameter``, ``MediaUnavailable``."""
        layout, tenant = batch.options.layout, batch.tenant_id
        if batch.source.startswith(PREFIX):
            return prefix_source(
                self.settings, tenant, batch.source.removeprefix(PREFIX), layout
            )
        try:
            listed = decoded(self.media.get(list_key(batch)))
        except MediaNotFound:  # it was read whole: what remains are items to be read again
            listed = list(self._again(batch))
        return ListedSource(self.settings, tenant, listed, layout)

    def close(self, batch: Batch) -> None:
        """The source was read to its end. Raises ``MediaUnavailable``."""
        if batch.source.startswith(LIST):
            self.media.delete(list_key(batch))

    def _again(self, batch: Batch) -> Iterator[ListedItem]:
        after = 0
        while page := self.batches.items(
            batch.id, after=after, limit=BLOCK, state=ItemState.AGAIN
        ):
            for item in page:
                about = item.about
                if REFUSED_NAME.fullmatch(item.source_name):
                    continue  # what was wrong with it stays wrong
                yield ListedItem(
                    unshown(item.source_name), about.name, about.collection, about.external_id,
                    about.description,
                )
            after = page[-1].number


def named_prefix(prefix: str) -> str:
    """The ``source`` of a batch of all that is below a prefix."""
    return f"{PREFIX}{prefix}"


def named_list(key: str) -> str:
    """The ``source`` of a batch of the list that is stored under a key."""
    return f"{LIST}{key}"


def list_key(batch: Batch) -> str:
    return batch.source.removeprefix(LIST)


def encoded(listed: Sequence[ListedItem]) -> bytes:
    """A list as it is stored."""
    return msgspec.json.encode(listed)


def decoded(data: bytes) -> list[ListedItem]:
    return msgspec.json.decode(data, type=list[ListedItem])


def sweep_lists(engine: Engine, media: MediaStore, tenant_id: int, now: float) -> int:
    """Delete the lists of batches that nobody is to read any more; how many. ``now`` in
    epoch seconds. Raises ``MediaUnavailable``, ``DatabaseUnavailable``."""
    doomed = []
    for stored in media.walk(keys.lists_prefix(tenant_id)):
        if stored.modified < now - GRACE_S:
            with reading(engine) as connection:
                asked = {"tenant": tenant_id, "owner": keys.list_owner(stored.key)}
                if connection.execute(_TO_BE_READ, asked).first() is None:
                    doomed.append(stored.key)
    for key in doomed:
        media.delete(key)
    return len(doomed)
