"""Connections to Redis beside the broker: short timeouts, no retries, errors of this project."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

from redis import Redis, asyncio
from redis.asyncio.retry import Retry as AsyncRetry
from redis.asyncio.sentinel import Sentinel as AsyncSentinel
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry
from redis.sentinel import Sentinel

from pipeline.errors import BrokerUnavailable, ConfigurationError
from pipeline.metrics.stores import StoreCall, StoreName
from workers.redis_url import REDIS_SCHEMES, is_sentinel, parse_sentinel


def open_redis(url: str, timeout_s: float) -> Redis:
    """A client whose calls take at most about twice ``timeout_s`` (connect, answer).

    Nothing is sent yet. The client is thread-safe. Make it after a fork.
    Raises ``ConfigurationError`` when the URL is no Redis.
    """
    if not url.startswith(REDIS_SCHEMES):
        raise ConfigurationError(
            "FACELINE_REDIS_URL must name a Redis when the broker is another kind of server"
        )
    limits = _limits(timeout_s, Retry(NoBackoff(), 0))
    if not is_sentinel(url):
        return Redis.from_url(url, **limits)
    found = parse_sentinel(url)
    client: Redis = Sentinel(
        found.hosts, sentinel_kwargs={**found.sentinel_options, **limits},
        **{**found.options, **limits},
    ).master_for(found.master)
    return client


@asynccontextmanager
async def open_async_redis(url: str, timeout_s: float) -> AsyncIterator[asyncio.Redis]:
    """The same for an event loop, until the end of the block."""
    limits = _limits(timeout_s, AsyncRetry(NoBackoff(), 0))
    if not is_sentinel(url):
        client = asyncio.Redis.from_url(url, **limits)
        opened = [client]
    else:
        found = parse_sentinel(url)
        sentinel = AsyncSentinel(
            list(found.hosts), sentinel_kwargs={**found.sentinel_options, **limits},
            **{**found.options, **limits},
        )
        client = sentinel.master_for(found.master)
        opened = [client, *sentinel.sentinels]
    try:
        yield client
    finally:
        for each in opened:
            await each.aclose()


def _limits(timeout_s: float, retry: object) -> dict[str, Any]:
    return {
        "socket_timeout": timeout_s,
        "socket_connect_timeout": timeout_s,
        "socket_keepalive": True,
        # The default of three tries would multiply the timeouts.
        "retry": retry,
    }


def time_of(redis: Redis) -> float:
    """Epoch seconds by the server's clock. Raises redis-py's errors."""
    seconds, microseconds = redis.time()
    return float(seconds) + float(microseconds) / 1e6


@contextmanager
def map_redis_errors(call: str, store: StoreName = "redis") -> Iterator[None]:
    """Translate every error of redis-py to ``BrokerUnavailable``. The metrics count it as a
    ``call`` to ``store``."""
    with StoreCall(store, call):
        try:
            yield
        except (RedisError, OSError) as error:
            raise BrokerUnavailable(f"Redis does not answer: {error}") from error
