"""Taking further messages of a stage out of its queue, past Celery.

One call to Redis looks and takes; Celery's consumer needs some fifty times as long for a message.
"""

from __future__ import annotations

import base64
import logging
from typing import Any

import msgspec

from pipeline.circuit_breaker import CircuitBreaker
from pipeline.config.settings import Settings
from pipeline.errors import BrokerUnavailable, InvalidParameter
from workers.connection import map_redis_errors, open_redis
from workers.messages import decode
from workers.queues import queue_name

logger = logging.getLogger(__name__)

# Seconds for the call, and without another one after a failure.
TIMEOUT_S = 0.5
RETRY_AFTER_S = 2.0

# Kombu's queue is a list whose oldest message is last.
_TAKE = """
local most = math.min(tonumber(ARGV[1]), math.floor(redis.call('LLEN', KEYS[1]) / ARGV[2]))
local taken = {}
for number = 1, most do taken[number] = redis.call('RPOP', KEYS[1]) end
return taken
"""


class _Envelope(msgspec.Struct, rename={"content_type": "content-type"}):
    """A message of Celery as kombu keeps it in Redis: ``body`` is base64 of JSON, the task's
    arguments first."""

    body: str
    content_type: str


class WaitingMessages:
    """The queues of a broker that is Redis. Make it after a fork."""

    def __init__(self, settings: Settings) -> None:
        self._redis = open_redis(settings.broker_url, TIMEOUT_S)
        self._take = self._redis.register_script(_TAKE)
        self._breaker = CircuitBreaker(RETRY_AFTER_S)

    def take(self, stage: str, most: int, share: int) -> list[str]:
        """The ids of the jobs whose messages are taken: at most ``most``, and one in ``share``
        of those that wait at ``stage``. The caller runs the jobs or sends the messages again.
        Empty when Redis does not answer."""
        if self._breaker.is_open():
            return []
        try:
            with map_redis_errors("take", "broker"):
                taken: list[bytes] = self._take([queue_name(stage)], [most, share])
        except BrokerUnavailable as error:
            self._breaker.record_failure()
            logger.warning(
                "Could not look for waiting jobs: %s", error, extra={"action": "take_failed"}
            )
            return []
        return [job_id for job_id in (_job_of(data, stage) for data in taken) if job_id]

    def close(self) -> None:
        self._redis.close()


def _job_of(data: bytes, stage: str) -> str | None:
    """The job of a message; None for what is no message of this service."""
    try:
        envelope = msgspec.json.decode(data, type=_Envelope)
        body = base64.b64decode(envelope.body, validate=True)
        (message,), _, _ = msgspec.json.decode(body, type=tuple[tuple[Any], Any, Any])
        found = decode(message)
    except (msgspec.MsgspecError, ValueError, InvalidParameter) as error:
        logger.warning("A message was rejected: %s", error, extra={"action": "message_rejected"})
        return None
    return found.job if found.stage == stage else None
