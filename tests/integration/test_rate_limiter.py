"""Requests per second, counted in a real Redis and without one."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from redis import Redis

from api_shim import rate_limiter
from api_shim.rate_limiter import LocalRateLimiter, RateLimiter
from pipeline import storage_keys
from pipeline.metering.limits import ALL_OPERATIONS, Limit
from tests.job_factory import Clock
from tests.servers import RedisServer
from tests.waiting import TIMEOUT_S

HOURLY = Limit(per_second=1 / 3600, burst=5)


@pytest.fixture
def shared(redis_server: RedisServer) -> Iterator[RateLimiter]:
    made = RateLimiter(redis_server.url)
    yield made
    made.close()


def test_a_burst_passes_and_then_one_an_interval(shared: RateLimiter) -> None:
    waits = [shared.take(1, [(ALL_OPERATIONS, HOURLY)]) for _ in range(7)]
    assert waits[:5] == [0, 0, 0, 0, 0]
    assert all(3500 < wait <= 3600 for wait in waits[5:])


def test_tenants_and_operations_have_buckets_of_their_own(shared: RateLimiter) -> None:
    one = Limit(per_second=1 / 3600, burst=1)
    assert shared.take(1, [("search", one)]) == 0
    assert shared.take(1, [("search", one)]) > 0
    assert shared.take(1, [("locate", one)]) == 0
    assert shared.take(2, [("search", one)]) == 0


def test_what_one_limit_refuses_is_not_counted_for_the_other(shared: RateLimiter) -> None:
    one = Limit(per_second=1 / 3600, burst=1)
    both = [(ALL_OPERATIONS, HOURLY), ("search", one)]
    assert shared.take(1, both) == 0
    for _ in range(9):
        assert shared.take(1, both) > 0
    assert [shared.take(1, [(ALL_OPERATIONS, HOURLY)]) > 0 for _ in range(5)] == [
        False, False, False, False, True
    ]


def test_processes_count_together(redis_server: RedisServer) -> None:
    limit = Limit(per_second=1 / 3600, burst=40)
    processes = [RateLimiter(redis_server.url) for _ in range(2)]
    with ThreadPoolExecutor(16) as threads:
        waits = list(
            threads.map(lambda n: processes[n % 2].take(1, [(ALL_OPERATIONS, limit)]), range(200))
        )
    assert waits.count(0) == 40
    for process in processes:
        process.close()


def test_the_rate_comes_back(shared: RateLimiter) -> None:
    limit = Limit(per_second=50.0, burst=1)
    assert shared.take(1, [(ALL_OPERATIONS, limit)]) == 0
    until = time.monotonic() + TIMEOUT_S
    while (wait := shared.take(1, [(ALL_OPERATIONS, limit)])) > 0:
        assert wait <= 0.02
        assert time.monotonic() < until
        time.sleep(wait)


def test_a_lower_limit_that_is_raised_does_not_keep_anybody_waiting(shared: RateLimiter) -> None:
    assert shared.take(1, [(ALL_OPERATIONS, Limit(per_second=0.001, burst=1))]) == 0
    assert shared.take(1, [(ALL_OPERATIONS, Limit(per_second=0.001, burst=1))]) > 900
    assert shared.take(1, [(ALL_OPERATIONS, Limit(per_second=100.0, burst=1))]) <= 0.01


def test_buckets_pass_away(shared: RateLimiter, redis_server: RedisServer) -> None:
    shared.take(7, [("search", Limit(per_second=10.0))])
    with Redis.from_url(redis_server.url) as redis:
        lives = redis.pttl(storage_keys.rate_bucket(7, "search"))
    assert 0 < lives <= 1100


def test_without_redis_a_process_counts_by_itself(
    redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(rate_limiter, "REDIS_PAUSE_S", 0.0)
    shared = RateLimiter(redis_server.url)
    caplog.set_level(logging.INFO)
    shared.take(1, [(ALL_OPERATIONS, HOURLY)])
    redis_server.kill()
    waits = [shared.take(1, [(ALL_OPERATIONS, HOURLY)]) for _ in range(7)]
    assert [wait > 0 for wait in waits] == [False] * 5 + [True] * 2
    redis_server.start()
    assert shared.take(1, [(ALL_OPERATIONS, HOURLY)]) == 0
    shared.close()
    actions = [getattr(record, "action", "") for record in caplog.records]
    assert [action for action in actions if action.startswith("rates")] == [
        "rates_local", "rates_shared"
    ]


def test_a_frozen_redis_costs_one_request_the_timeout(redis_server: RedisServer) -> None:
    """Whatever the machine is busy with: of many requests in the rest only one asks."""
    shared = RateLimiter(redis_server.url)
    redis_server.freeze()
    begun = time.monotonic()
    for _ in range(200):
        shared.take(1, [(ALL_OPERATIONS, Limit(per_second=1000.0))])
    took = time.monotonic() - begun
    redis_server.thaw()
    shared.close()
    # 200 timeouts would be 50 seconds or more.
    assert took < 25


def test_a_process_forgets_full_buckets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rate_limiter, "MAX_LOCAL_BUCKETS", 10)
    clock = Clock()
    own = LocalRateLimiter(clock)
    limit = Limit(per_second=1.0, burst=1)
    for tenant in range(10):
        assert own.take(tenant, [(ALL_OPERATIONS, limit)]) == 0
    clock.forward(2.0)
    assert own.take(99, [(ALL_OPERATIONS, limit)]) == 0
    assert own.take(99, [(ALL_OPERATIONS, limit)]) == pytest.approx(1.0)
    assert own.take(5, [(ALL_OPERATIONS, limit)]) == 0
