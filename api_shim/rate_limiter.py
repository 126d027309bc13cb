"""Requests per second, counted in Redis for all processes together.

The generic cell rate algorithm (ITU-T I.371) stores one number per bucket: the moment at
which the bucket would be full again. One script checks and fills all buckets of a request,
by Redis's clock. While Redis is away, each process counts by itself: a tenant can then use
its rate once per process, and no request is delayed or exempt.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

from pipeline import storage_keys
from pipeline.circuit_breaker import CircuitBreaker
from pipeline.errors import BrokerUnavailable
from pipeline.metering.limits import Limit
from workers.connection import map_redis_errors, open_redis

logger = logging.getLogger(__name__)

# Seconds for Redis to answer: a healthy one needs less than a millisecond.
REDIS_TIMEOUT_S = 0.25

# Seconds before Redis is tried again after a failure: without the pause, every request
# would wait for the timeout.
REDIS_PAUSE_S = 2.0

# Buckets that a process holds in memory before it drops those that are full again.
MAX_LOCAL_BUCKETS = 10_000

# KEYS: the buckets. ARGV: for each bucket the microseconds between two requests, and the
# burst. Returns the microseconds to wait, or 0 when the request passes and was counted.
SCRIPT = """
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local wait, filled = 0, {}
for i = 1, #KEYS do
  local interval, burst = tonumber(ARGV[2 * i - 1]), tonumber(ARGV[2 * i])
  local full = tonumber(redis.call('GET', KEYS[i]) or now)
  full = math.min(math.max(full, now), now + burst * interval)
  wait = math.max(wait, full - (burst - 1) * interval - now)
  filled[i] = full + interval
end
if wait > 0 then return math.ceil(wait) end
for i = 1, #KEYS do
  local lives = math.ceil((filled[i] - now) / 1000) + 1000
  redis.call('SET', KEYS[i], string.format('%.0f', filled[i]), 'PX', lives)
end
return 0
"""

RateLimits = Sequence[tuple[str, Limit]]
"""The limits of a request as (operation, limit); each limit has a rate."""


class RateLimiter:
    """Counts requests; thread-safe."""

    def __init__(self, redis_url: str) -> None:
        self._redis = open_redis(redis_url, REDIS_TIMEOUT_S)
        self._script: Any = self._redis.register_script(SCRIPT)
        self._local = LocalRateLimiter(time.monotonic)
        self._breaker = CircuitBreaker(REDIS_PAUSE_S)

    def take(self, tenant_id: int, limits: RateLimits) -> float:
        """Count a request and return 0, or return the seconds until a limit lets it
        pass."""
        if not self._breaker.is_open():
            try:
                return self._ask(tenant_id, limits)
            except BrokerUnavailable as error:
                if self._breaker.record_failure():
                    logger.warning(
                        "Rates are counted by each process: %s", error,
                        extra={"action": "rates_local"},
                    )
        return self._local.take(tenant_id, limits)

    def close(self) -> None:
        self._redis.close()

    def _ask(self, tenant_id: int, limits: RateLimits) -> float:
        buckets = [storage_keys.rate_bucket(tenant_id, operation) for operation, _ in limits]
        numbers = [
            number for _, limit in limits
            for number in (1e6 / (limit.per_second or 1.0), limit.effective_burst)
        ]
        with map_redis_errors("rate"):
            wait = int(self._script(keys=buckets, args=numbers))
        if self._breaker.record_success():
            logger.info("Rates are counted in Redis again", extra={"action": "rates_shared"})
        return wait / 1e6


class LocalRateLimiter:
    """The same algorithm in the memory of this process."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._full_at: dict[tuple[int, str], float] = {}
        self._lock = threading.Lock()

    def take(self, tenant_id: int, limits: RateLimits) -> float:
        """As ``RateLimiter.take``."""
        with self._lock:
            now = self._clock()
            wait, filled = 0.0, {}
            for operation, limit in limits:
                interval = 1.0 / (limit.per_second or 1.0)
                bucket = (tenant_id, operation)
                full = self._full_at.get(bucket, now)
                full = min(max(full, now), now + limit.effective_burst * interval)
                wait = max(wait, full - (limit.effective_burst - 1) * interval - now)
                filled[bucket] = full + interval
            if wait <= 0:
                self._forget(now)
                self._full_at |= filled
            return max(wait, 0.0)

    def _forget(self, now: float) -> None:
        if len(self._full_at) >= MAX_LOCAL_BUCKETS:
            self._full_at = {bucket: full for bucket, full in self._full_at.items() if full > now}
