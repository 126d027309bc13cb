"""Reading a damaged object again: what a network or a disk spoils once, it rarely spoils again."""

from __future__ import annotations

import logging
import time

from pipeline.errors import MediaCorrupt
from pipeline.media.base import WrappingStore

logger = logging.getLogger(__name__)

# Reads of an object before it counts as damaged, and the seconds between two of them.
READS = 3
PAUSE_S = 0.05


class RereadingStore(WrappingStore):
    """Outside of all stores that check what they read. ``get`` raises ``MediaCorrupt`` when
    every read was damaged."""

    def get(self, key: str) -> bytes:
        for reads in range(1, READS + 1):
            try:
                data = self._inner.get(key)
            except MediaCorrupt as error:
                logger.warning(
                    "A stored object was read damaged: %s", error,
                    extra={"action": "object_damaged", "key": key, "read": reads,
                           "of": READS},
                )
                if reads == READS:
                    raise
                time.sleep(PAUSE_S)
            else:
                return data
        raise AssertionError("unreachable")
