"""Measuring the calls to a media store."""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.media.base import WrappingStore
from pipeline.metrics.stores import StoreCall


class MeasuredStore(WrappingStore):
    """Counts calls, seconds and failures."""

    def put(self, key: str, data: bytes) -> None:
        with StoreCall("media", "put"):
            self._inner.put(key, data)

    def put_many(self, pairs: Sequence[tuple[str, bytes]]) -> None:
        with StoreCall("media", "put_many"):
            self._inner.put_many(pairs)

    def get(self, key: str) -> bytes:
        with StoreCall("media", "get"):
            return self._inner.get(key)

    def exists(self, key: str) -> bool:
        with StoreCall("media", "exists"):
            return self._inner.exists(key)

    def delete(self, key: str) -> None:
        with StoreCall("media", "delete"):
            self._inner.delete(key)

    def ping(self) -> None:
        with StoreCall("media", "ping"):
            self._inner.ping()
