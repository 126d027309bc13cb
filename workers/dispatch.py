"""Sending messages that a job waits at a stage, to the workers of that stage.

The job's row is committed before. A lost message costs a few seconds, until the
reconciler sends it again; it never costs the job.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from celery import Celery
from kombu.connection import Connection
from kombu.exceptions import KombuError
from kombu.messaging import Producer
from kombu.utils.uuid import uuid

from pipeline.circuit_breaker import CircuitBreaker
from pipeline.config.settings import Settings
from pipeline.errors import BrokerUnavailable
from pipeline.jobs.model import Job
from pipeline.metrics.stores import StoreCall
from workers.app import CONNECT_TIMEOUT_S, make_app
from workers.messages import encode
from workers.queues import queue_name
from workers.redis_queues import redis_queues

logger = logging.getLogger(__name__)

# Seconds without another try after a failure: while the broker is away, one caller
# a second waits for it and the others go on.
RETRY_AFTER_S = 1.0


class Dispatcher:
    """Publishes messages; thread-safe. Make it after a fork."""

    def __init__(self, settings: Settings, app: Celery | None = None) -> None:
        self._app = app or make_app(settings)
        self._redis = redis_queues(settings, CONNECT_TIMEOUT_S)
        self._breaker = CircuitBreaker(RETRY_AFTER_S)

    def publish(self, job_id: str, stage: str) -> bool:
        """Send one message; False when the broker did not take it.

        Returns within about two seconds whatever the broker does, and at once while
        the broker is known to be away.
        """
        if self._breaker.is_open():
            return False
        try:
            self._send(job_id, stage)
        except BrokerUnavailable as error:
            self._breaker.record_failure()
            logger.warning(
                "Could not send a job to its workers: %s", error,
                extra={"action": "publish_failed", "job": job_id, "stage": stage},
            )
            return False
        return True

    def publish_all(self, jobs: Sequence[Job]) -> list[str]:
        """Send a message for each job; the ids of those that were sent. Raises
        ``BrokerUnavailable`` when not even the first was."""
        sent: list[str] = []
        for job in jobs:
            try:
                self._send(job.id, job.stage)
            except BrokerUnavailable:
                if not sent:
                    raise
                break
            sent.append(job.id)
        return sent

    def depth(self, stage: str) -> int:
        """How many messages are in the queue of ``stage``, without those that workers have
        taken and not acknowledged. Raises ``BrokerUnavailable``."""
        with self._producer("depth") as producer:
            queue = self._app.amqp.queues[queue_name(stage)](producer.channel)
            return int(queue.queue_declare().message_count)

    def ping(self) -> None:
        """Return when the broker answers. Raises ``BrokerUnavailable``."""
        with self._producer("ping") as producer:
            producer.connection.ensure_connection(max_retries=1, timeout=CONNECT_TIMEOUT_S)

    def close(self) -> None:
        if self._redis is not None:
            self._redis.close()
        self._app.close()

    def _send(self, job_id: str, stage: str) -> None:
        # As ``send_task``, without the parts that are not used: it takes half the time.
        message = self._app.amqp.create_task_message(
            uuid(), queue_name(stage), (encode(job_id, stage),), {},
            argsrepr=job_id, kwargsrepr="{}", ignore_result=True,
        )
        if self._redis is not None:
            self._redis.send(stage, message.body, message.headers, message.properties)
            return
        queue = self._app.amqp.queues[queue_name(stage)]
        with self._producer("send") as producer:
            producer.publish(
                message.body, exchange="", routing_key=queue.name, declare=[queue],
                serializer="json", headers=message.headers, **message.properties,
            )

    @contextmanager
    def _producer(self, call: str) -> Iterator[Producer]:
        """A producer from the pool; every error inside becomes ``BrokerUnavailable``. The
        metrics count it as a ``call``."""
        with StoreCall("broker", call), self._mapped_producer() as producer:
            yield producer

    @contextmanager
    def _mapped_producer(self) -> Iterator[Producer]:
        try:
            with (
                self._app.producer_pool.acquire(
                    block=True, timeout=self._app.conf.broker_pool_acquire_timeout
                ) as producer,
                _map_broker_errors(producer.connection),
            ):
                yield producer
        except KombuError as error:
            raise BrokerUnavailable(f"No connection to the broker is free: {error}") from error


@contextmanager
def _map_broker_errors(connection: Connection) -> Iterator[None]:
    broken = (KombuError, *connection.connection_errors, *connection.channel_errors)
    try:
        yield
    except broken as error:
        # Its state is unknown: the next caller opens a new connection.
        connection.collect(socket_timeout=0.1)
        raise BrokerUnavailable(f"The message broker does not answer: {error}") from error
