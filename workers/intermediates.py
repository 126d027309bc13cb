"""What one stage leaves for the next when they run on different workers.

Kept in Redis for a while, encrypted where the tenant has a key. Pixels that Redis should
not carry stay out: then the next worker finds a mark in their place and computes the
stages before once more. Behind the mark stands what cannot be computed again: where the
fetched pictures lie.
"""

from __future__ import annotations

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
# again is quicker than carrying 100 MB through Redis.
LARGEST = 16 * 1024 * 1024

# Below this a value is kept whatever memory Redis has left: an aligned face is 37 kB.
SMALL = 256 * 1024

# Seconds for which the fill of Redis is taken as known.
FILL_KNOWN_S = 1.0

_RECOMPUTE = b"again"
_ENCRYPTED = b"sealed"


class Intermediates:
    """Carries between stages; thread-safe, made after a fork.

    Methods raise ``BrokerUnavailable``.
    """

    def __init__(self, settings: Settings) -> None:
        self._redis = open_redis(settings.wake_url, TIMEOUT_S)
        self._expiry_s = settings.intermediate_s
        self._budget = settings.redis_budget_mb * 1024 * 1024
        self._full = False
        self._looked = float("-inf")

    def put(
        self, job_id: str, stage: str, carry: JobContext, seal: DataKey | None = None
    ) -> bool:
        """Keep the input of ``stage``; False when only the mark was kept."""
        key = storage_keys.intermediate(job_id, stage)
        size = array_bytes(carry)
        with map_redis_errors():
            if size <= LARGEST and (size <= SMALL or not self._is_full()):
                try:
                    self._redis.set(key, _encrypted(pack(carry), key, seal), ex=self._expiry_s)
                except OutOfMemoryError:
                    self._full, self._looked = True, time.monotonic()
                else:
                    return True
            kept = pack(JobContext(media=carry.media)) if carry.media else b""
            self._redis.set(key, _RECOMPUTE + kept, ex=self._expiry_s)
        return False

    def get(
        self, job_id: str, stage: str, seal: DataKey | None = None
    ) -> tuple[JobContext, bool]:
        """(the input of ``stage``, whether that is all of it: else it is to be computed
        again, but for the fetched pictures that it names).

        Raises ``IntermediateLost`` when nothing was left or it has expired.
        """
        key = storage_keys.intermediate(job_id, stage)
        with map_redis_errors():
            data = self._redis.get(key)
        if not isinstance(data, bytes):
            raise IntermediateLost
        if not data.startswith(_RECOMPUTE):
            return unpack(_decrypted(data, key, seal)), True
        kept = data.removeprefix(_RECOMPUTE)
        return (unpack(kept) if kept else JobContext()), False

    def discard(self, job_id: str, stage: str) -> None:
        """Free what was left for ``stage``; nobody needs it any more."""
        with map_redis_errors():
            self._redis.unlink(storage_keys.intermediate(job_id, stage))

    def close(self) -> None:
        self._redis.close()

    def _is_full(self) -> bool:
        """Whether Redis holds more than its budget, as it was at most a second ago."""
        if time.monotonic() - self._looked > FILL_KNOWN_S:
            used = int(self._redis.info("memory")["used_memory"])
            self._full, self._looked = used > self._budget, time.monotonic()
        return self._full


def _encrypted(data: bytes, key: str, seal: DataKey | None) -> bytes:
    return data if seal is None else _ENCRYPTED + seal.encrypt(data, key)


def _decrypted(data: bytes, key: str, seal: DataKey | None) -> bytes:
    """What another worker has left, maybe a moment before the tenant had a key."""
    if not data.startswith(_ENCRYPTED):
        return data
    if seal is None:
        raise IntermediateLost
    try:
        return seal.decrypt(data.removeprefix(_ENCRYPTED), key)
    except DecryptionFailed as error:
        raise IntermediateLost from error
