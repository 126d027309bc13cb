"""Publishing on Redis that a job has ended, to the web processes that hold responses.

Nothing depends on it but latency: those processes also look into the database.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from functools import partial

from pipeline.circuit_breaker import CircuitBreaker
from pipeline.config.settings import Settings
from pipeline.errors import BrokerUnavailable
from pipeline.storage_keys import DONE_CHANNEL
from workers.connection import map_redis_errors, open_redis

logger = logging.getLogger(__name__)

# Seconds for a publish: a Redis that works needs under a millisecond.
TIMEOUT_S = 0.5

# Seconds without another try after a failure, so that an absent Redis does not
# cost every job of a worker the timeout.
RETRY_AFTER_S = 2.0


class JobNotifier:
    """Publishes ends of jobs; thread-safe. Make it after a fork."""

    def __init__(self, settings: Settings) -> None:
        self._redis = open_redis(settings.wake_url, TIMEOUT_S)
        self._breaker = CircuitBreaker(RETRY_AFTER_S)

    def publish(self, job_id: str) -> bool:
        """Say that a job has ended; False when Redis does not answer."""
        return self._send([job_id], partial(self._redis.publish, DONE_CHANNEL, job_id))

    def publish_all(self, ids: Sequence[str]) -> bool:
        """Say that jobs have ended, at once."""
        if not ids:
            return True
        pipeline = self._redis.pipeline(transaction=False)
        for job_id in ids:
            pipeline.publish(DONE_CHANNEL, job_id)
        return self._send(ids, pipeline.execute)

    def _send(self, ids: Sequence[str], send: Callable[[], object]) -> bool:
        if self._breaker.is_open():
            return False
        try:
            with map_redis_errors():
                send()
        except BrokerUnavailable as error:
            self._breaker.record_failure()
            logger.warning(
                "Could not publish that a job has ended: %s", error,
                extra={"action": "notify_failed", "job": ids[0]},
            )
            return False
        return True

    def close(self) -> None:
        self._redis.close()
