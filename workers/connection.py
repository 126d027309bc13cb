"""Connections to Redis beside the broker: short timeouts, no retries, errors of this project."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

from pipeline.errors import BrokerUnavailable, ConfigurationError
from pipeline.metrics.stores import StoreCall, StoreName

REDIS_SCHEMES = ("redis://", "rediss://", "unix://")


def open_redis(url: str, timeout_s: float) -> Redis:
    """A client whose calls take at most about twice ``timeout_s`` (connect, answer).

    Nothing is sent yet. The client is thread-safe. Make it after a fork.
    Raises ``ConfigurationError`` when the URL is no Redis.
    """
    if not url.startswith(REDIS_SCHEMES):
        raise ConfigurationError(
            "FACELINE_REDIS_URL must name a Redis when the broker is another kind of server"
        )
    return Redis.from_url(
        url,
        socket_timeout=timeout_s,
        socket_connect_timeout=timeout_s,
        socket_keepalive=True,
        # The default of three tries would multiply the timeouts.
        retry=Retry(NoBackoff(), 0),
    )


@contextmanager
def map_redis_errors(call: str, store: StoreName = "redis") -> Iterator[None]:
    """Translate every error of redis-py to ``BrokerUnavailable``. The metrics count it as a
    ``call`` to ``store``."""
    with StoreCall(store, call):
        try:
            yield
        except (RedisError, OSError) as error:
            raise BrokerUnavailable(f"Redis does not answer: {error}") from error
