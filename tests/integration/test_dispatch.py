"""Messages to a real Redis that is well, frozen, dead and back again."""

from __future__ import annotations

import base64
import json
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from pipeline.config.settings import Settings
from pipeline.errors import BrokerUnavailable, ConfigurationError
from pipeline.storage_keys import DONE_CHANNEL
from tests.servers import RedisServer
from tests.waiting import TIMEOUT_S
from workers.app import make_app
from workers.connection import map_redis_errors, open_redis
from workers.dispatch import RETRY_AFTER_S, Dispatcher
from workers.job_notifier import JobNotifier

JOB = "ab" * 16

# The promise is two seconds; a busy machine may start the test a second late.
# Seconds for one call: far above the two or so that it takes, because other work may hold the
# machine, and far below the minutes that the client libraries would wait.
BOUND_S = 20.0


@pytest.fixture
def settings(redis_server: RedisServer) -> Settings:
    return Settings(broker_url=redis_server.url)


@pytest.fixture
def dispatcher(settings: Settings) -> Iterator[Dispatcher]:
    dispatcher = Dispatcher(settings)
    yield dispatcher
    dispatcher.close()


def test_messages_are_counted_by_stage(dispatcher: Dispatcher) -> None:
    assert dispatcher.depth("decode") == 0
    assert all(dispatcher.publish(JOB, "decode") for _ in range(3))
    assert dispatcher.publish(JOB, "embed")
    assert {s: dispatcher.depth(s) for s in ("decode", "detect", "embed")} == {
        "decode": 3, "detect": 0, "embed": 1,
    }


def test_messages_of_every_priority_are_counted(
    dispatcher: Dispatcher, redis_server: RedisServer
) -> None:
    client = open_redis(redis_server.url, 1.0)
    with client:
        for priority in ("\x06\x163", "\x06\x166", "\x06\x169"):
            client.lpush(f"faceline.decode{priority}", "{}")
    dispatcher.publish(JOB, "decode")
    assert dispatcher.depth("decode") == 4


def test_many_threads_share_a_dispatcher(dispatcher: Dispatcher) -> None:
    def publish() -> None:
        for _ in range(25):
            assert dispatcher.publish(JOB, "decode")

    threads = [threading.Thread(target=publish) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert dispatcher.depth("decode") == 400


def test_a_wiped_redis_takes_messages_at_once(
    dispatcher: Dispatcher, redis_server: RedisServer
) -> None:
    dispatcher.publish(JOB, "decode")
    with open_redis(redis_server.url, 1.0) as client:
        client.flushall()
    assert dispatcher.publish(JOB, "decode")
    assert dispatcher.depth("decode") == 1


def test_a_frozen_redis_does_not_hold_the_caller(
    dispatcher: Dispatcher, settings: Settings, redis_server: RedisServer
) -> None:
    notifier = JobNotifier(settings)
    assert dispatcher.publish(JOB, "decode")
    assert notifier.publish(JOB)
    calls: list[Callable[[], bool]] = [
        lambda: dispatcher.publish(JOB, "decode"), lambda: notifier.publish(JOB),
    ]
    redis_server.freeze()
    try:
        for call in calls:
            assert not timed(call)
            # Known to be away: the next callers do not wait at all.
            start = time.monotonic()
            assert not any(call() for _ in range(100))
            # Each would wait for a second, and longer for a connection.
            assert time.monotonic() - start < BOUND_S
    finally:
        redis_server.thaw()
    until = time.monotonic() + TIMEOUT_S
    while not all(call() for call in calls):
        assert time.monotonic() < until
        time.sleep(0.1)
    notifier.close()


def test_a_frozen_redis_does_not_hold_a_new_dispatcher(
    dispatcher: Dispatcher, redis_server: RedisServer
) -> None:
    """It has no connection yet: connecting is bounded, too."""
    redis_server.freeze()
    try:
        assert not timed(lambda: dispatcher.publish(JOB, "decode"))
    finally:
        redis_server.thaw()


def test_a_dead_redis_and_its_return(
    dispatcher: Dispatcher, redis_server: RedisServer
) -> None:
    assert dispatcher.publish(JOB, "decode")
    redis_server.kill()
    assert not timed(lambda: dispatcher.publish(JOB, "decode"))
    with pytest.raises(BrokerUnavailable):
        dispatcher.depth("decode")
    redis_server.start()
    time.sleep(RETRY_AFTER_S)
    assert dispatcher.publish(JOB, "decode")
    assert dispatcher.depth("decode") == 1


def test_a_full_redis_is_an_unavailable_broker(
    dispatcher: Dispatcher, redis_server: RedisServer
) -> None:
    assert dispatcher.publish(JOB, "decode")
    with open_redis(redis_server.url, 1.0) as client:
        client.config_set("maxmemory", "1")
        assert not timed(lambda: dispatcher.publish(JOB, "decode"))
        client.config_set("maxmemory", "0")
        time.sleep(RETRY_AFTER_S)
        assert dispatcher.publish(JOB, "decode")


def timed(call: Callable[[], bool]) -> bool:
    """The result of ``call()``, within the promised time."""
    start = time.monotonic()
    answer = call()
    assert time.monotonic() - start < BOUND_S
    return answer


def test_an_end_is_announced(settings: Settings, redis_server: RedisServer) -> None:
    notifier = JobNotifier(settings)
    with open_redis(redis_server.url, 5.0) as client, client.pubsub() as channel:
        channel.subscribe(DONE_CHANNEL)
        assert channel.get_message(timeout=5) is not None  # the subscription's own
        assert notifier.publish(JOB)
        message = channel.get_message(timeout=5)
    notifier.close()
    assert message is not None
    assert message["data"] == JOB.encode()


def test_errors_of_redis_stay_below(redis_server: RedisServer) -> None:
    with open_redis(redis_server.url, 1.0) as client:
        client.set("key", "text")
        with pytest.raises(BrokerUnavailable), map_redis_errors("call"):
            client.lpush("key", "not a list")
        redis_server.kill()
        with pytest.raises(BrokerUnavailable), map_redis_errors("call"):
            client.get("key")


def test_wrong_settings_are_named() -> None:
    with pytest.raises(ConfigurationError, match="FACELINE_REDIS_URL"):
        JobNotifier(Settings(broker_url="amqp://localhost"))
    with pytest.raises(ConfigurationError, match="polish"):
        make_app(Settings(stages="decode,polish"))


def test_redis_gets_the_message_that_kombu_would_send(
    dispatcher: Dispatcher, settings: Settings, redis_server: RedisServer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """But for random ids, and the position of the body's own spaces."""
    assert dispatcher.publish(JOB, "decode")
    monkeypatch.setattr(dispatcher, "_redis", None)
    assert dispatcher.publish(JOB, "decode")
    with open_redis(redis_server.url, 1.0) as client:
        ours, theirs = (read_message(client.rpop("faceline.decode")) for _ in range(2))
    assert ours == theirs
    assert ours["body"][0] == [{"v": 1, "job": JOB, "stage": "decode"}]


def read_message(data: object) -> dict[str, Any]:
    """A message with its body read, and without the ids that differ each time."""
    assert isinstance(data, bytes)
    message: dict[str, Any] = json.loads(data)
    message["body"] = json.loads(base64.b64decode(message["body"]))
    ids = [message["headers"].pop(name) for name in ("id", "root_id")]
    ids += [message["properties"].pop(name) for name in ("correlation_id", "delivery_tag")]
    assert all(uuid.UUID(each) for each in ids)
    return message
