"""Batches whose items a test chooses, without a source that is read."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence
from dataclasses import dataclass

from pipeline import keys
from pipeline.batches.model import Batch, BatchItem, ItemState, NewItem, Options, fingerprint_of
from pipeline.batches.store import Added, BatchStore
from pipeline.plans import Stage
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
        options: Options | None = None, collection: str = "", ring: bool = True,
    ) -> Batch:
        """A new batch of these pictures, all waiting: ``0.jpg`` of the person ``0``, ..."""
        options = options or Options()
        mark = fingerprint_of(self.cluster.tenant, source, options)
        batch, _ = self.store.open(self.cluster.tenant, mark, source, options)
        batch = self.store.take_over(batch.id, SUBMITTER, LEASE_S)
        items = [
            self._item(batch, number, data, collection)
            for number, data in enumerate(pictures, 1)
        ]
        added = self.store.add(batch, SUBMITTER, items, chunk=chunk)
        batch = self.store.exhaust(batch.id, SUBMITTER, len(items))
        if ring:
            self.ring(added)
        return batch

    def ring(self, added: Added) -> None:
        for job in added.jobs:
            self.cluster.dispatcher.ring(job.id, Stage.BULK)

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
        key = keys.image_media(self.cluster.tenant, f"{batch.id}.{number}", name)
        media.put(key, data)
        return NewItem(
            number, f"{number - 1}.jpg", About(name=str(number - 1), collection=collection),
            ItemState.WAITING, sha256=keys.media_hash(key), media_key=key, size=len(data),
        )


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
