"""Requests per second, counted in a real Redis and without one."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from redis import Redis

from api_shim import rates
from api_shim.rates import OwnRates, Rates
from pipeline import keys
from pipeline.metering.limits import WHOLE, Limit
from tests.job_factory import Clock
from tests.servers import RedisServer

HOURLY = Limit(per_second=1 / 3600, burst=5)


@pytest.fixture
def shared(redis_server: RedisServer) -> Iterator[Rates]:
    made = Rates(redis_server.url)
    yield made
    made.close()


def test_a_burst_passes_and_then_one_an_interval(shared: Rates) -> None:
    waits = [shared.take(1, [(WHOLE, HOURLY)]) for _ in range(7)]
    assert waits[:5] == [0, 0, 0, 0, 0]
    assert all(3500 < wait <= 3600 for wait in waits[5:])


def test_tenants_and_operations_have_buckets_of_their_own(shared: Rates) -> None:
    one = Limit(per_second=1 / 3600, burst=1)
    assert shared.take(1, [("search", one)]) == 0
    assert shared.take(1, [("search", one)]) > 0
    assert shared.take(1, [("locate", one)]) == 0
    assert shared.take(2, [("search", one)]) == 0


def test_what_one_limit_refuses_is_not_counted_for_the_other(shared: Rates) -> None:
    one = Limit(per_second=1 / 3600, burst=1)
    both = [(WHOLE, HOURLY), ("search", one)]
    assert shared.take(1, both) == 0
    for _ in range(9):
        assert shared.take(1, both) > 0
    assert [shared.take(1, [(WHOLE, HOURLY)]) > 0 for _ in range(5)] == [
        False, False, False, False, True
    ]


def test_processes_count_together(redis_server: RedisServer) -> None:
    limit = Limit(per_second=1 / 3600, burst=40)
    processes = [Rates(redis_server.url) for _ in range(2)]
    with ThreadPoolExecutor(16) as threads:
        waits = list(threads.map(lambda n: processes[n % 2].take(1, [(WHOLE, limit)]), range(200)))
    assert waits.count(0) == 40
    for process in processes:
        process.close()


def test_the_rate_comes_back(shared: Rates) -> None:
    limit = Limit(per_second=50.0, burst=1)
    assert shared.take(1, [(WHOLE, limit)]) == 0
    until = time.monotonic() + 10
    while (wait := shared.take(1, [(WHOLE, limit)])) > 0:
        assert wait <= 0.02
        assert time.monotonic() < until
        time.sleep(wait)


def test_a_lower_limit_that_is_raised_does_not_keep_anybody_waiting(shared: Rates) -> None:
    assert shared.take(1, [(WHOLE, Limit(per_second=0.001, burst=1))]) == 0
    assert shared.take(1, [(WHOLE, Limit(per_second=0.001, burst=1))]) > 900
    assert shared.take(1, [(WHOLE, Limit(per_second=100.0, burst=1))]) <= 0.01


def test_buckets_pass_away(shared: Rates, redis_server: RedisServer) -> None:
    shared.take(7, [("search", Limit(per_second=10.0))])
    with Redis.from_url(redis_server.url) as redis:
        lives = redis.pttl(keys.rate(7, "search"))
    assert 0 < lives <= 1100


def test_without_redis_a_process_counts_by_itself(
    redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(rates, "REST_S", 0.0)
    shared = Rates(redis_server.url)
    caplog.set_level(logging.INFO)
    shared.take(1, [(WHOLE, HOURLY)])
    redis_server.kill()
    waits = [shared.take(1, [(WHOLE, HOURLY)]) for _ in range(7)]
    assert [wait > 0 for wait in waits] == [False] * 5 + [True] * 2
    redis_server.start()
    assert shared.take(1, [(WHOLE, HOURLY)]) == 0
    shared.close()
    told = [getattr(record, "action", "") for record in caplog.records]
    assert [action for action in told if action.startswith("rates")] == [
        "rates_own", "rates_shared"
    ]


def test_a_frozen_redis_costs_one_request_the_timeout(redis_server: RedisServer) -> None:
    """Whatever the machine is busy with: of many requests in the rest only one asks."""
    shared = Rates(redis_server.url)
    redis_server.freeze()
    begun = time.monotonic()
    for _ in range(200):
        shared.take(1, [(WHOLE, Limit(per_second=1000.0))])
    took = time.monotonic() - begun
    redis_server.thaw()
    shared.close()
    # 200 timeouts would be 50 seconds or more.
    assert took < 25


def test_a_process_forgets_full_buckets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rates, "MOST_OWN", 10)
    clock = Clock()
    own = OwnRates(clock)
    limit = Limit(per_second=1.0, burst=1)
    for tenant in range(10):
        assert own.take(tenant, [(WHOLE, limit)]) == 0
    clock.forward(2.0)
    assert own.take(99, [(WHOLE, limit)]) == 0
    assert own.take(99, [(WHOLE, limit)]) == pytest.approx(1.0)
    assert own.take(5, [(WHOLE, limit)]) == 0
