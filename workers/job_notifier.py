"""Publishing on Redis that a job has ended, to the web processes that hold responses.

Nothing depends on it but latency: those processes also look into the database.
"""

from __future__ import annotations

import logging

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

    def publish(self, *ids: str) -> bool:
        """Say that jobs have ended; False when Redis does not answer."""
        if not ids:
            return True
        if self._breaker.is_open():
            return False
        pipeline = self._redis.pipeline(transaction=False)
        for job_id in ids:
            pipeline.publish(DONE_CHANNEL, job_id)
        try:
            with map_redis_errors("publish"):
                pipeline.execute()
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
