"""``faceline doctor`` about the broker and its Redis."""

from __future__ import annotations

import re
import ssl
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from infra.local.stack import running_stack
from pipeline.config.described import variable
from pipeline.config.settings import Settings
from pipeline.deployment.findings import Check, Verdict, clock_check, judged
from pipeline.errors import BrokerUnavailable, ConfigurationError

if TYPE_CHECKING:
    from redis import Redis

TIMEOUT_S = 1.5

URLS = f"{variable('broker_url')} or {variable('redis_url')}"

NOT_TRUSTED = (
    "its certificate is not trusted: add its authority to the system's, or name it in SSL_CERT_FILE"
)

NO_WAY = "no way to the host: check firewall and address"

# Words of redis-py's messages, in lower case, and what to do. The first match counts.
CAUSES: tuple[tuple[str, str], ...] = (
    (("wrongpass|invalid username-password|noauth|hello must be called|authentication required|"
     "without any password"),
     f"correct the password in {URLS}"),
    ("noperm", "let this user of Redis use all commands on its keys and channels"),
    ("name or service not known|name resolution|no address associated",
     f"there is no such host: correct it in {URLS}"),
    ("connection refused|error 111",
     f"nothing listens there: start Redis, or correct {URLS}"),
    ("certificate", NOT_TRUSTED),
    ("ssl|wrong version number|connection closed by server|connection reset",
     "is the URL redis:// or rediss:// (TLS)?"),
    ("no master found",
     "no sentinel knows the master: correct its name in the URL, and start its Redis"),
    ("loading", "wait until Redis has read its file"),
    ("timeout|timed out|no route|unreachable", NO_WAY),
)


def check_broker(settings: Settings) -> Iterator[Check]:
    """The broker and its Redis, as configured or of the running stack."""
    running = running_stack(settings.data_dir)
    configured = "broker_url" in settings.model_fields_set
    if not configured and running is None:
        yield Check("redis", Verdict.NOTE, "not configured: the stack starts its own")
        return
    url = running.redis_url if running is not None and not configured else settings.wake_url
    yield from _check_redis(url)
    if configured and settings.redis_url:
        yield from _check_other_broker(settings)


def _check_redis(url: str) -> Iterator[Check]:
    from redis.exceptions import RedisError

    from workers.connection import open_redis

    try:
        with open_redis(url, TIMEOUT_S) as redis:
            yield from _look_at(redis)
    except ConfigurationError as error:
        yield Check("redis", Verdict.BAD, error.message, f"correct {URLS}")
    except (RedisError, OSError, ValueError) as error:
        yield Check("redis", Verdict.BAD, f"does not answer: {error}", _advice_on(error, url))


def _look_at(redis: Redis) -> Iterator[Check]:
    from workers.connection import time_of

    found: dict[str, Any] = redis.info()
    ahead = time_of(redis) - time.time()
    yield Check("redis", Verdict.GOOD, f"answers, version {found['redis_version']}")
    if found.get("role") == "slave":
        yield Check(
            "redis", Verdict.BAD, "it is a replica, which takes no messages",
            f"name the primary in {URLS}, or its sentinels (sentinel://host:26379?master=NAME)",
        )
    policy = found.get("maxmemory_policy", "?")
    if policy != "noeviction":
        yield Check(
            "redis", Verdict.BAD, f"maxmemory-policy is {policy}: Redis may drop the queue",
            "set maxmemory-policy noeviction",
        )
    if found.get("aof_last_write_status") == "err":
        yield Check(
            "redis", Verdict.BAD, "it cannot write its file, and takes no messages",
            "free space on its disk",
        )
    if not found.get("aof_enabled"):
        yield Check(
            "redis", Verdict.NOTE, "appendonly is off: a restart loses all messages",
            "set appendonly yes; otherwise the reconciler sends everything again",
        )
    yield clock_check(ahead, "Redis")


def _check_other_broker(settings: Settings) -> Iterator[Check]:
    from workers.dispatch import Dispatcher

    dispatcher = Dispatcher(settings)
    failed = ""
    try:
        dispatcher.ping()
    except BrokerUnavailable as error:
        failed = error.message
    finally:
        dispatcher.close()
    yield judged(
        "broker", not failed, failed or "answers",
        f"start it, or correct user, password, virtual host and host in {variable('broker_url')}",
    )


def _advice_on(error: Exception, url: str) -> str:
    if isinstance(error.__cause__, ssl.SSLCertVerificationError):
        return NOT_TRUSTED
    message = str(error).lower()
    for words, advice in CAUSES:
        if re.search(words, message):
            # Redis without TLS waits for more of what is no command to it.
            silent = advice == NO_WAY and url.startswith("rediss:")
            return f"{advice}; without TLS the URL is redis://" if silent else advice
    return f"start it, or correct {URLS}"
