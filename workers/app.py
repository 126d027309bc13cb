"""The Celery application: settings only, it imports no task."""

from __future__ import annotations

from celery import Celery
from kombu.entity import Queue

from pipeline.config.settings import Settings
from pipeline.errors import ConfigurationError
from pipeline.operations import FUSED_STAGES, Stage
from workers.queues import queue_name
from workers.redis_url import REDIS_SCHEMES, kombu_options, kombu_tls, kombu_url
from workers.work_limit import WALL_CLOCK_FACTOR

# Seconds for one call to the broker, and for connecting to it.
SOCKET_TIMEOUT_S = 2.0
CONNECT_TIMEOUT_S = 1.0

# Seconds that a worker waits at Redis for a message before it asks again. Redis answers at
# once when one comes; a worker that stops waits for the answer.
MESSAGE_WAIT_S = 2

# Seconds between the soft time limit of a job and the kill of its process: long enough to
# write the job's end.
GRACE_S = 15

# Seconds that a stopping worker leaves to its current jobs.
SHUTDOWN_S = 20


def make_app(settings: Settings) -> Celery:
    """The application of the web side, workers and upkeep; connects to nothing yet.

    Raises ``ConfigurationError`` for an unknown stage.
    """
    served_stages(settings)
    app = Celery("faceline", broker=kombu_url(settings.broker_url), set_as_current=False)
    app.conf.update(_configuration(settings))
    return app


def served_stages(settings: Settings) -> frozenset[Stage]:
    """The stages that a worker serves. Raises ``ConfigurationError`` for an unknown one."""
    names = [name.strip() for name in settings.stages.split(",") if name.strip()]
    for name in names:
        if name not in set(Stage):
            raise ConfigurationError(f"FACELINE_STAGES names {name!r}, which is no stage")
    return frozenset(map(Stage, names)) or frozenset(FUSED_STAGES)


def _configuration(settings: Settings) -> dict[str, object]:
    return {
        # Bound to the nameless exchange, which routes a message to the queue of its routing
        # key: there is no binding that a wiped Redis could lose.
        "task_queues": [Queue(queue_name(stage)) for stage in Stage],
        "task_default_queue": queue_name(Stage.DECODE),
        "task_create_missing_queues": False,
        "task_serializer": "json",
        "result_serializer": "json",
        "accept_content": ["json"],
        "result_accept_content": ["json"],
        # Results live in SQL.
        "task_ignore_result": True,
        "task_store_errors_even_if_ignored": False,
        "result_backend": None,
        # A job runs again because its row says so, not because its message comes back.
        # RabbitMQ redelivers the messages of a dead worker; that does no harm.
        "task_acks_late": True,
        "task_reject_on_worker_lost": False,
        "task_acks_on_failure_or_timeout": True,
        "task_soft_time_limit": WALL_CLOCK_FACTOR * settings.job_time_limit_s,
        "task_time_limit": WALL_CLOCK_FACTOR * settings.job_time_limit_s + GRACE_S,
        "worker_prefetch_multiplier": 1,
        "worker_max_tasks_per_child": settings.jobs_per_process or None,
        "worker_soft_shutdown_timeout": SHUTDOWN_S,
        "worker_enable_soft_shutdown_on_idle": False,
        "worker_cancel_long_running_tasks_on_connection_loss": False,
        "worker_enable_remote_control": False,
        # Of no use but to Flower. Messages that a process takes along itself send none.
        "worker_send_task_events": settings.celery_events,
        "task_send_sent_event": False,
        "worker_hijack_root_logger": False,
        "worker_redirect_stdouts": False,
        "worker_disable_rate_limits": True,
        "worker_proc_alive_timeout": 60.0,
        "broker_transport_options": _transport_options(settings),
        "broker_use_ssl": kombu_tls(settings.broker_url),
        "broker_connection_timeout": CONNECT_TIMEOUT_S,
        "broker_connection_retry_on_startup": True,
        "broker_connection_max_retries": None,
        "broker_pool_acquire_timeout": 2,
        "broker_heartbeat": 0,
        "task_publish_retry": False,
    }


def _transport_options(settings: Settings) -> dict[str, object]:
    options: dict[str, object] = {
        # Also bounds connecting, which kombu would retry without end.
        "max_retries": 0, "interval_start": 0.0, "interval_step": 0.2, "interval_max": 0.2,
    }
    if settings.broker_url.startswith((*REDIS_SCHEMES, "redis+socket://")):
        options |= {
            # Kombu can keep a copy of each message until it is acknowledged and restore it
            # after a long time. It still loses some when a worker is killed, and the copies
            # cost half of a worker's time for messages. The reconciler loses none and is
            # quicker.
            "ack_emulation": False,
            "socket_timeout": SOCKET_TIMEOUT_S,
            "socket_connect_timeout": CONNECT_TIMEOUT_S,
            "socket_keepalive": True,
            "health_check_interval": 10,
            "polling_interval": MESSAGE_WAIT_S,
            **kombu_options(settings.broker_url),
        }
    return options
