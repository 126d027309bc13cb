"""Telling whoever holds a response that a job has ended.

Nothing depends on it but latency: who waits looks into the database, too.
"""

from __future__ import annotations

import logging
import time

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
    """Publishes ends of jobs; thread-safe, made after a fork."""

    def __init__(self, settings: Settings) -> None:
        self._redis = open_redis(settings.wake_url, TIMEOUT_S)
        self._rest_until = 0.0

    def publish(self, job_id: str) -> bool:
        """Say that a job has ended; False when Redis does not answer."""
        if time.monotonic() < self._rest_until:
            return False
        try:
            with map_redis_errors():
                self._redis.publish(DONE_CHANNEL, job_id)
        except BrokerUnavailable as error:
            self._rest_until = time.monotonic() + RETRY_AFTER_S
            logger.warning(
                "Could not announce that a job has ended: %s", error,
                extra={"action": "announce_failed", "job": job_id},
            )
            return False
        return True

    def close(self) -> None:
        self._redis.close()
