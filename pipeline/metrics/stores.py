"""Measuring calls to the stores."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Literal

from pipeline.errors import (
    BrokerUnavailable,
    DatabaseUnavailable,
    FaceError,
    MediaCorrupt,
    MediaUnavailable,
)
from pipeline.metrics.catalogue import STORE_ERRORS, STORE_SECONDS

StoreName = Literal["database", "media", "broker", "redis"]

# Errors that are the store's fault: an object that is not there is none.
_FAULTS: dict[StoreName, tuple[type[FaceError], ...]] = {
    "database": (DatabaseUnavailable,),
    "media": (MediaUnavailable, MediaCorrupt),
    "broker": (BrokerUnavailable,),
    "redis": (BrokerUnavailable,),
}


class StoreCall:
    """``with StoreCall("media", "get"): ...`` counts a call, its seconds and whether it failed."""

    __slots__ = ("_began", "_call", "_store")

    def __init__(self, store: StoreName, call: str) -> None:
        self._store: StoreName = store
        self._call = call
        self._began = 0.0

    def __enter__(self) -> None:
        self._began = time.perf_counter()

    def __exit__(
        self, _kind: type[BaseException] | None, error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        STORE_SECONDS.observe(time.perf_counter() - self._began, self._store, self._call)
        if error is not None and isinstance(error, _FAULTS[self._store]):
            STORE_ERRORS.add(self._store)
