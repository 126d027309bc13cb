"""The service that a command uses: a running one, or one started for the command."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from infra.local.progress import Awaited
from infra.local.stack import (
    BULK,
    LocalStack,
    RunningStack,
    is_taken,
    running_stack,
    stack_owner,
)
from pipeline.config.settings import Settings
from pipeline.errors import FaceError, InvalidParameter
from pipeline.operations import Stage

POLL_S = 0.1

# Seconds between two checks that the stack in use still runs.
STACK_CHECK_S = 2.0

# The processes that enrol whole sources; there is no API meanwhile.
BULK_PROCESSES: dict[str, tuple[str, ...]] = {"upkeep": ("upkeep",), "bulk": BULK}

Until = Callable[[], bool]


class StackStopped(FaceError):
    """The stack that did the work was stopped; run the same command again to continue."""


@dataclass(frozen=True, slots=True)
class Deployment:
    """A deployment that does the work. ``settings`` reach it. ``watch`` waits until its
    argument returns true, and keeps the command's own processes alive meanwhile. ``own``:
    the deployment ends with the command."""

    settings: Settings
    watch: Callable[[Until], None]
    own: bool


@contextmanager
def open_deployment(
    settings: Settings, say: Callable[[str], None], stopping: Callable[[], bool], *,
    own: bool = True,
) -> Iterator[Deployment]:
    """The stack on this data directory; else the configured deployment; else, with ``own``, a
    stack that ends with the block. Use it from the main thread.

    Raises ``BrokerUnavailable``, ``InvalidParameter`` when nothing runs and ``own`` is
    false, and what ``LocalStack`` raises.
    """
    running = _awaited(settings.data_dir, say, stopping)
    if running is not None:
        found = with_redis(settings, running.redis_url)
        yield Deployment(found, lambda until: _watch_stack(settings.data_dir, until), own=False)
    elif is_configured(settings):
        require_broker(settings)
        yield Deployment(settings, _watch, own=False)
    elif not own:
        raise InvalidParameter(
            "--no-wait needs a running service, which continues after this command: start one "
            "with `faceline up`"
        )
    else:
        with LocalStack(settings, say, stopping, BULK_PROCESSES) as stack:
            found = with_redis(settings, stack.redis_url)
            yield Deployment(found, stack.supervisor.watch, own=True)


def _awaited(
    data_dir: Path, say: Callable[[str], None], stopping: Callable[[], bool]
) -> RunningStack | None:
    """The running stack, after waiting for one that starts or stops."""
    awaited = Awaited(
        f"the stack on {data_dir}, which starts or stops", lambda: stack_owner(data_dir), say
    )
    announced = False
    while (running := running_stack(data_dir)) is None and is_taken(data_dir):
        if stopping() or not awaited.goes_on():
            return None
        if not announced:
            say(f"Waiting for the stack on {data_dir}, which is starting or stopping ...")
            announced = True
        time.sleep(POLL_S)
    return running


def is_configured(settings: Settings) -> bool:
    """Whether the settings name a deployment instead of the embedded stack."""
    return bool(settings.database_url) or "broker_url" in settings.model_fields_set


def with_redis(settings: Settings, redis_url: str) -> Settings:
    """The settings with the Redis of a stack."""
    return settings.model_copy(update={"broker_url": redis_url, "redis_url": ""})


def require_broker(settings: Settings) -> None:
    """Raises ``BrokerUnavailable`` when no broker answers."""
    from workers.dispatch import Dispatcher  # importing Celery takes 0.2 s

    dispatcher = Dispatcher(settings)
    try:
        dispatcher.depth(Stage.BULK)
    finally:
        dispatcher.close()


def _watch(until: Until) -> None:
    while not until():
        time.sleep(POLL_S)


def _watch_stack(data_dir: Path, until: Until) -> None:
    look_at = time.monotonic() + STACK_CHECK_S
    while not until():
        if time.monotonic() > look_at:
            if running_stack(data_dir) is None:
                raise StackStopped
            look_at = time.monotonic() + STACK_CHECK_S
        time.sleep(POLL_S)
