"""The circuit breaker, under a clock of the test."""

from __future__ import annotations

from pipeline.circuit_breaker import CircuitBreaker


def test_opens_after_a_failure_and_closes_by_itself() -> None:
    now = 100.0
    breaker = CircuitBreaker(2.0, lambda: now)
    assert not breaker.is_open()
    breaker.record_failure()
    assert breaker.is_open()
    now += 1.9
    assert breaker.is_open()
    now += 0.1
    assert not breaker.is_open()
    breaker.record_failure()
    assert breaker.is_open()


def test_tells_when_an_outage_begins_and_when_it_ends() -> None:
    breaker = CircuitBreaker(0.0)
    assert not breaker.record_success()
    assert breaker.record_failure()
    assert not breaker.record_failure()
    assert breaker.record_success()
    assert not breaker.record_success()
    assert breaker.record_failure()
