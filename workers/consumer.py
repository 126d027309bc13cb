"""Celery's consumer, made to reconnect soon and to survive junk in its queues."""

from __future__ import annotations

from functools import partial
from typing import Any

from celery.worker.consumer import Consumer
from kombu.connection import Connection

# Seconds between tries to reach the broker: the first pause, what each adds, the longest.
# Celery waits up to 30: longer than a response is held.
FIRST_S, STEP_S, LONGEST_S = 0.25, 0.25, 2.0


class FastReconnectConsumer(Consumer):  # type: ignore[misc]  # celery has no types
    """Connects again within two seconds of the broker's return."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        broken: tuple[type[BaseException], ...] = self.conninfo.connection_errors
        # Bytes in a Redis list that are no message: kombu has taken them out when it fails
        # to read them. Celery would end the worker over it; as an error of the connection
        # it costs a new connection.
        self.connection_errors = (*broken, ValueError, TypeError)

    def ensure_connected(self, conn: Connection) -> Connection:
        conn.ensure_connection = partial(  # type: ignore[method-assign]
            conn.ensure_connection,
            interval_start=FIRST_S, interval_step=STEP_S, interval_max=LONGEST_S,
        )
        connected: Connection = super().ensure_connected(conn)
        return connected
