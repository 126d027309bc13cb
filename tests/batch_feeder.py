"""Batches with items that a test chooses; no source is read."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence
from dataclasses import dataclass

from pipeline import storage_keys
from pipeline.batches.model import (
    Batch,
    BatchItem,
    BatchOptions,
    ItemState,
    NewItem,
    fingerprint_of,
)
from pipeline.batches.store import AddedItems, BatchStore
from pipeline.operations import Stage
from pipeline.sources.base import About
from tests.cluster import Cluster

SUBMITTER = "test"
LEASE_S = 600.0


@dataclass(frozen=True, slots=True)
class Feeder:
    """Feeds batches of a cluster, each read to its end at once."""

    cluster: Cluster

    @property
    def store(self) -> BatchStore:
        return BatchStore(self.cluster.engine)

    def feed(
        self, pictures: Sequence[bytes], *, chunk: int = 32, source: str = "test",
        options: BatchOptions | None = None, collection: str = "", ring: bool = True,
    ) -> Batch:
        """A new batch of these pictures, all waiting: ``0.jpg`` of the person ``0``, ..."""
        options = options or BatchOptions()
        mark = fingerprint_of(self.cluster.tenant, source, options)
        batch, _ = self.store.open(self.cluster.tenant, mark, source, options)
        batch = self.store.acquire(batch.id, SUBMITTER, LEASE_S)
        items = [
            self._item(batch, number, data, collection)
            for number, data in enumerate(pictures, 1)
        ]
        added = self.store.add(batch, SUBMITTER, items, chunk_size=chunk)
        batch = self.store.finish_reading(batch.id, SUBMITTER, len(items))
        if ring:
            self.ring(added)
        return batch

    def ring(self, added: AddedItems) -> None:
        for job in added.jobs:
            self.cluster.dispatcher.publish(job.id, Stage.BULK)

    def wait(self, batch: Batch, within_s: float = 60.0) -> Batch:
        """The batch once it has ended."""
        until = time.monotonic() + within_s
        while not (found := self.store.get(None, batch.id)).ended:
            assert time.monotonic() < until, f"{found}\n{self.cluster.logs()}"
            time.sleep(0.05)
        return found

    def items(self, batch: Batch) -> list[BatchItem]:
        return self.store.items(batch.id, limit=100_000)

    def _item(self, batch: Batch, number: int, data: bytes, collection: str) -> NewItem:
        media = self.cluster.media
        name = media.name(self.cluster.tenant, data)
        key = storage_keys.image_media(self.cluster.tenant, f"{batch.id}.{number}", name)
        media.put(key, data)
        return NewItem(
            number, f"{number - 1}.jpg", About(name=str(number - 1), collection=collection),
            ItemState.WAITING, sha256=storage_keys.media_hash(key), media_key=key, size=len(data),
        )


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
