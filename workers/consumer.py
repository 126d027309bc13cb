"""Celery's consumer, made to reconnect soon, to survive junk in its queues, and to say that its
loop turns."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from celery.worker.consumer import Consumer
from kombu.connection import Connection

from pipeline.deployment.heartbeat_file import BEAT_EVERY_S

# Seconds between tries to reach the broker: the first pause, what each adds, the longest.
# Celery waits up to 30: longer than a response is held.
FIRST_S, STEP_S, LONGEST_S = 0.25, 0.25, 2.0


class FastReconnectConsumer(Consumer):  # type: ignore[misc]  # celery has no types
    """Connects again within two seconds of the broker's return. ``begun`` is called when signals
    are handled and before the first connection, ``beat`` from its loop every few seconds, with
    whether messages are taken."""

    def __init__(
        self, *arguments: Any, begun: Callable[[], None] = lambda: None,
        beat: Callable[[bool], None] = lambda _: None, **options: Any,
    ) -> None:
        super().__init__(*arguments, **options)
        self._begun = begun
        self._beat = beat
        self._beating: Any = None
        broken: tuple[type[BaseException], ...] = self.conninfo.connection_errors
        # Bytes in a Redis list that are no message: kombu has taken them out when it fails
        # to read them. Celery would end the worker over it; as an error of the connection
        # it costs a new connection.
        self.connection_errors = (*broken, ValueError, TypeError)

    def start(self) -> None:
        self._begun()
        super().start()

    def on_ready(self) -> None:
        super().on_ready()
        if self._beating is not None:  # of the connection before
            self.timer.cancel(self._beating)
        self._beating = self.timer.call_repeatedly(BEAT_EVERY_S, self._beat, (True,))
        self._beat(True)

    def ensure_connected(self, conn: Connection) -> Connection:
        ensure: Callable[..., Connection] = conn.ensure_connection

        def ensure_soon(
            errback: Any, max_retries: Any, callback: Callable[[], object]
        ) -> Connection:
            def while_away() -> None:
                self._beat(False)
                callback()

            return ensure(
                errback, max_retries, callback=while_away,
                interval_start=FIRST_S, interval_step=STEP_S, interval_max=LONGEST_S,
            )

        conn.ensure_connection = ensure_soon  # type: ignore[method-assign]
        connected: Connection = super().ensure_connected(conn)
        return connected
