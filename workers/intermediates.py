"""Passes the context of a job from one worker to the next.

Contexts are kept in Redis for a while, encrypted where the tenant has a key. A context that
Redis should not hold, because of its pixels, is left out: the next worker finds a mark in
its place and runs the stages before once more. The keys of fetched
pictures follow the mark, because pictures must not be fetched again. Every value begins with
its checksum: one that is read damaged counts as lost.
"""

from __future__ import annotations

import hashlib
import logging
import time

from redis.exceptions import OutOfMemoryError

from pipeline import storage_keys
from pipeline.config.settings import Settings
from pipeline.encryption.data_key import DataKey
from pipeline.errors import DecryptionFailed, IntermediateLost
from pipeline.execution.context import JobContext
from workers.connection import map_redis_errors, open_redis
from workers.context_codec import array_bytes, pack, unpack

# Seconds for one call: the largest value takes a tenth of that over a slow network.
TIMEOUT_S = 5.0

# Bytes of one value: five megapixels. Larger pictures are rare, and decoding one
# again is quicker than sending 100 MB through Redis.
LARGEST = 16 * 1024 * 1024

# Below this a value is kept whatever memory Redis has left: an aligned face is 37 kB.
SMALL = 256 * 1024

# Seconds for which the fill of Redis is taken as known.
FILL_KNOWN_S = 1.0

logger = logging.getLogger(__name__)

CHECKSUM_BYTES = 16

_RECOMPUTE = b"again"
_ENCRYPTED = b"encrypted"


class Intermediates:
    """Contexts between stages; thread-safe. Make it after a fork.

    Methods raise ``BrokerUnavailable``.
    """

    def __init__(self, settings: Settings) -> None:
        self._redis = open_redis(settings.wake_url, TIMEOUT_S)
        self._expiry_s = settings.intermediate_s
        self._budget = settings.redis_budget_mb * 1024 * 1024
        self._full = False
        self._checked_at = float("-inf")

    def put(
        self, job_id: str, stage: str, context: JobContext, data_key: DataKey | None = None
    ) -> bool:
        """Keep the input of ``stage``; False when only the mark was kept."""
        name = storage_keys.intermediate(job_id, stage)
        data = pack(context) if array_bytes(context) <= LARGEST else None
        with map_redis_errors("put"):
            if data is not None and self._has_room(len(data)):
                try:
                    kept = _encrypted(data, name, data_key)
                    self._redis.set(name, _checksum(kept) + kept, ex=self._expiry_s)
                except OutOfMemoryError:
                    self._full, self._checked_at = True, time.monotonic()
                else:
                    return True
            mark = _RECOMPUTE + (pack(JobContext(media=context.media)) if context.media else b"")
            self._redis.set(name, _checksum(mark) + mark, ex=self._expiry_s)
        return False

    def get(
        self, job_id: str, stage: str, data_key: DataKey | None = None
    ) -> tuple[JobContext, bool]:
        """(the input of ``stage``, whether it is complete: otherwise the stages before must
        run again, except for the fetched pictures that it names).

        Raises ``IntermediateLost`` when nothing was left, it has expired or is damaged.
        """
        name = storage_keys.intermediate(job_id, stage)
        with map_redis_errors("get"):
            found = self._redis.get(name)
        if not isinstance(found, bytes):
            raise IntermediateLost
        data = found[CHECKSUM_BYTES:]
        if found[:CHECKSUM_BYTES] != _checksum(data):
            logger.warning(
                "An intermediate value is damaged",
                extra={"action": "intermediate_damaged", "job": job_id, "stage": stage},
            )
            raise IntermediateLost("An intermediate value is damaged.")
        if not data.startswith(_RECOMPUTE):
            return unpack(_decrypted(data, name, data_key)), True
        kept = data.removeprefix(_RECOMPUTE)
        return (unpack(kept) if kept else JobContext()), False

    def discard(self, job_id: str, stage: str) -> None:
        """Delete the input of ``stage``."""
        with map_redis_errors("discard"):
            self._redis.unlink(storage_keys.intermediate(job_id, stage))

    def close(self) -> None:
        self._redis.close()

    def _has_room(self, size: int) -> bool:
        """Whether Redis should hold a value of ``size`` bytes: a small one always, another
        one unless Redis held more than its budget at most a second ago."""
        if SMALL < size <= LARGEST and time.monotonic() - self._checked_at > FILL_KNOWN_S:
            used = int(self._redis.info("memory")["used_memory"])
            self._full, self._checked_at = used > self._budget, time.monotonic()
        return size <= SMALL or (size <= LARGEST and not self._full)


def _checksum(data: bytes) -> bytes:
    return hashlib.blake2b(data, digest_size=CHECKSUM_BYTES).digest()


def _encrypted(data: bytes, name: str, data_key: DataKey | None) -> bytes:
    return data if data_key is None else _ENCRYPTED + data_key.encrypt(data, name)


def _decrypted(data: bytes, name: str, data_key: DataKey | None) -> bytes:
    """The bytes of another worker, which may be from just before the tenant had a key."""
    if not data.startswith(_ENCRYPTED):
        return data
    if data_key is None:
        raise IntermediateLost
    try:
        return data_key.decrypt(data.removeprefix(_ENCRYPTED), name)
    except DecryptionFailed as error:
        raise IntermediateLost from error
