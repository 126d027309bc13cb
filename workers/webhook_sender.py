"""Sends what the outbox of webhooks holds. It needs the database, the master key and a way out,
and neither Redis nor the media store. Several may run at once."""

from __future__ import annotations

import logging
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field

from pipeline.config.settings import Settings
from pipeline.database.clock import database_clock
from pipeline.database.engine import open_engine
from pipeline.deployment.heartbeat_file import HeartbeatFile
from pipeline.deployment.metrics import process_gauges
from pipeline.deployment.processes import Heartbeat, Role
from pipeline.encryption.vault import Vault, open_vault, webhook_secret_owner
from pipeline.errors import ConfigurationError, DatabaseUnavailable
from pipeline.fetching.base import FetchRefused, FetchTimedOut
from pipeline.fetching.open import open_poster
from pipeline.fetching.post import PostAnswer, WebPoster
from pipeline.metrics.endpoint import MetricsEndpoint
from pipeline.periodic import PeriodicTask
from pipeline.sandbox.core_dumps import forbid_core_dumps
from pipeline.storage_keys import HOUR_S
from pipeline.webhooks.model import Attempt, DeliveryState
from pipeline.webhooks.queue import DeliveryQueue
from pipeline.webhooks.signing import signed_headers

logger = logging.getLogger(__name__)

# Seconds between two looks for what is due, when no attempt has ended meanwhile.
LOOK_EVERY_S = 1.0

# Seconds beyond the deadline of an attempt, for writing down how it went, after which another
# sender may make it again.
GRACE_S = 10.0

# Seconds between two rounds that give up what is overdue.
GIVE_UP_EVERY_S = 60.0

JSON_HEADERS = {"Content-Type": "application/json", "Accept": "*/*"}


@dataclass(slots=True)
class WebhookSender:
    """Makes at most ``concurrency`` attempts at a time."""

    queue: DeliveryQueue
    vault: Vault
    poster: WebPoster
    concurrency: int
    _in_flight: Counter[int] = field(default_factory=Counter)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _ended: threading.Event = field(default_factory=threading.Event)

    def run(self, stop: threading.Event, beat: Callable[[], object] = lambda: None) -> None:
        """Send what is due until ``stop`` is set, then wait for the attempts in flight. ``beat`` is
        called in each round."""
        give_up = PeriodicTask("webhooks_give_up", self.queue.give_up_overdue, GIVE_UP_EVERY_S)
        with ThreadPoolExecutor(self.concurrency, "webhooks") as pool:
            look = PeriodicTask("webhooks", lambda: self._start(pool))
            while not stop.is_set():
                beat()
                self._ended.clear()
                look.attempt()
                give_up.attempt_when_due()
                # Either event ends the pause; ``stop`` is seen a second later at most.
                self._ended.wait(LOOK_EVERY_S)

    def _start(self, pool: ThreadPoolExecutor) -> None:
        with self._lock:
            in_flight = Counter(self._in_flight)
        room = self.concurrency - in_flight.total()
        if room <= 0:
            return
        for attempt in self.queue.claim(room, self.poster.deadline_s + GRACE_S, in_flight):
            with self._lock:
                self._in_flight[attempt.webhook_id] += 1
            pool.submit(self._make, attempt)

    def _make(self, attempt: Attempt) -> None:
        try:
            self.send(attempt)
        except DatabaseUnavailable as error:
            # The claim runs out, and the attempt is made again.
            logger.warning(
                "Could not record a delivery: %s", error, extra=_fields(attempt, "webhook_lost")
            )
        except Exception:
            # A bug in one delivery must not end the others; its claim runs out.
            logger.exception("A delivery failed", extra=_fields(attempt, "webhook_failed"))
        finally:
            with self._lock:
                self._in_flight[attempt.webhook_id] -= 1
            self._ended.set()

    def send(self, attempt: Attempt) -> None:
        """Make an attempt and record how it went. Raises ``DatabaseUnavailable``."""
        try:
            answer = self._post(attempt)
        except (FetchRefused, FetchTimedOut) as error:
            late = isinstance(error, FetchTimedOut)
            self._failed(attempt, f"no answer in time: {error}" if late else str(error))
            return
        except ConfigurationError as error:  # a secret under an unknown master key
            self._failed(attempt, str(error))
            return
        if not 200 <= answer.status < 300:
            self._failed(attempt, f"status {answer.status}", answer)
        elif self.queue.delivered(attempt, answer.status):
            logger.info("A webhook was told", extra=_fields(attempt, "webhook_delivered"))

    def _post(self, attempt: Attempt) -> PostAnswer:
        owner = webhook_secret_owner(attempt.webhook_id)
        secrets = [self.vault.decrypt_text(secret, owner) for secret in attempt.secrets]
        body = attempt.payload.encode()
        signed = signed_headers(secrets, attempt.id, self.queue.clock(), body)
        return self.poster.post(attempt.url, {**JSON_HEADERS, **signed}, body)

    def _failed(self, attempt: Attempt, error: str, answer: PostAnswer | None = None) -> None:
        status = None if answer is None else answer.status
        retry_after_s = 0.0 if answer is None else answer.retry_after_s
        state = self.queue.failed(attempt, error, status, retry_after_s)
        dead = state is DeliveryState.DEAD
        logger.log(
            logging.ERROR if dead else logging.WARNING,
            "A webhook could not be told%s: %s", ", and is not told again" if dead else "", error,
            extra=_fields(attempt, "webhook_dead" if dead else "webhook_retry_later"),
        )


def _fields(attempt: Attempt, action: str) -> dict[str, object]:
    return {
        "action": action, "webhook": attempt.webhook_id, "delivery": attempt.id,
        "attempt": attempt.number,
    }


@contextmanager
def open_sender(settings: Settings) -> Iterator[WebhookSender]:
    """The sender of the settings. Raises ``ConfigurationError``."""
    engine = open_engine(settings.sql_url, durable=False)
    heartbeat = Heartbeat(engine, Role.WEBHOOKS)
    try:
        queue = DeliveryQueue(
            engine, settings.webhook_retry_for_h * HOUR_S, database_clock(engine)
        )
        sender = WebhookSender(
            queue, open_vault(settings), open_poster(settings), settings.webhook_concurrency
        )
        heartbeat.start()
        yield sender
    finally:
        heartbeat.close()
        engine.dispose()


def run(settings: Settings, stop: threading.Event) -> None:
    """Send webhooks until ``stop`` is set. Raises ``ConfigurationError``."""
    forbid_core_dumps()
    with MetricsEndpoint(settings) as metrics, open_sender(settings) as sender:
        metrics.add(process_gauges(Role.WEBHOOKS))
        logger.info("Sending webhooks", extra={"action": "webhooks_started"})
        file = HeartbeatFile(settings.heartbeat_file, Role.WEBHOOKS)
        sender.run(stop, lambda: file.beat(ready=True))
        file.remove()
    logger.info("No more webhooks are sent", extra={"action": "webhooks_stopped"})
