"""Sending messages to a broker that is a Redis, without kombu.

Kombu makes a client, a producer and a queue for each message: eight times the processor time
that the message itself takes. The bytes are those that kombu would send, and kombu reads them.
"""

from __future__ import annotations

import base64
import uuid
from collections.abc import Mapping
from typing import Any

import msgspec
from redis import Redis

from pipeline.config.settings import Settings
from workers.connection import map_redis_errors, open_redis
from workers.queues import queue_name
from workers.redis_url import REDIS_SCHEMES

_PERSISTENT = 2


class RedisQueues:
    """Thread-safe; connects at its first use, also after a fork. ``timeout_s`` bounds connecting
    and sending, each."""

    def __init__(self, url: str, timeout_s: float) -> None:
        self._redis: Redis = open_redis(url, timeout_s)

    def send(
        self, stage: str, body: object, headers: Mapping[str, Any], properties: Mapping[str, Any]
    ) -> None:
        """Send a task message, as ``create_task_message`` makes it, to the queue of ``stage``.
        Raises ``BrokerUnavailable``."""
        name = queue_name(stage)
        message = {
            "body": base64.b64encode(msgspec.json.encode(body)).decode(),
            "content-encoding": "utf-8",
            "content-type": "application/json",
            "headers": headers,
            "properties": {
                **properties,
                "delivery_mode": _PERSISTENT,
                "delivery_info": {"exchange": "", "routing_key": name},
                "priority": 0,
                "body_encoding": "base64",
                "delivery_tag": str(uuid.uuid4()),
            },
        }
        with map_redis_errors("send", "broker"):
            self._redis.lpush(name, msgspec.json.encode(message))

    def close(self) -> None:
        self._redis.close()


def redis_queues(settings: Settings, timeout_s: float) -> RedisQueues | None:
    """None where the broker is no single Redis."""
    return RedisQueues(settings.broker_url, timeout_s) if is_one_redis(settings) else None


def is_one_redis(settings: Settings) -> bool:
    """Whether the broker is a single Redis: kombu also knows lists of servers, separated by
    ";"."""
    return settings.broker_url.startswith(REDIS_SCHEMES) and ";" not in settings.broker_url
