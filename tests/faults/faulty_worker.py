"""A worker with a fault: ``python -m tests.faults.faulty_worker``, for tests only.

``FAULT`` names the fault on a picture that contains ``MARK``; a fault called
``..._once`` happens the first time only, which ``FAULT_FILE`` remembers. The product
has no hooks for this: functions are replaced from here before the worker starts.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import workers.app
import workers.dispatch
import workers.runtime
import workers.serve
from pipeline.analysis.engine import PictureRequest
from pipeline.execution import bulk, pictures
from pipeline.index.local_views import LocalViews
from pipeline.stages import decode as decode_stage
from tests.faults import faulty_decoder
from tests.faults.faulty_decoder import MARK
from workers.__main__ import main
from workers.job_notifier import JobNotifier
from workers.messages import StageMessage
from workers.tasks import stage as stage_tasks

# Seconds of the fault "slow": several visibility timeouts and leases.
SLOW_S = 8.0
VISIBILITY_S = 2

logger = logging.getLogger(__name__)


def kill_process() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def kill_group() -> None:
    os.killpg(0, signal.SIGKILL)


def slow() -> None:
    time.sleep(SLOW_S)


def hang() -> None:
    time.sleep(1000)


def hang_deaf() -> None:
    """Hang as native code does: the soft time limit's signal is not seen."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})
    time.sleep(1000)


FAULTS: dict[str, Callable[[], None]] = {
    "kill_process": kill_process,
    "kill_group": kill_group,
    "slow": slow,
    "hang": hang,
    "hang_deaf": hang_deaf,
}


def strike() -> None:
    name = os.environ["FAULT"]
    if name.endswith("_once"):
        seen = Path(os.environ["FAULT_FILE"])
        if seen.exists():
            return
        seen.touch()
    FAULTS[name.removesuffix("_once")]()


def fault_in_decode() -> None:
    healthy: Callable[..., Any] = vars(pictures)["decode"]

    def decode(data: bytes, *rest: Any, **named: Any) -> Any:
        if MARK in data:
            strike()
        return healthy(data, *rest, **named)

    vars(pictures)["decode"] = decode


def fault_in_bulk() -> None:
    healthy: Callable[..., Any] = vars(bulk)["analyse_pictures"]

    def analyse_pictures(requests: Sequence[PictureRequest], *rest: Any) -> Any:
        if any(MARK in request.data for request in requests):
            strike()
        return healthy(requests, *rest)

    vars(bulk)["analyse_pictures"] = analyse_pictures


def fault_in_search() -> None:
    healthy: Callable[..., Any] = LocalViews.search

    def search(*arguments: Any) -> Any:
        strike()
        return healthy(*arguments)

    setattr(LocalViews, "search", search)  # noqa: B010  # mypy forbids the assignment


def fault_in_decoder() -> None:
    """The process that decodes strikes, and not the worker."""
    work = f"{faulty_decoder.MODULE}:{os.environ['FAULT']}"
    vars(decode_stage)["DECODE_FUNCTION"] = work
    vars(workers.runtime)["DECODERS"] = (work,)


def fault_after_the_end() -> None:
    """Strike between the commit of the end of jobs and everything after it."""

    def publish(*arguments: Any) -> bool:
        strike()
        return True

    setattr(JobNotifier, "publish", publish)  # noqa: B010


def short_visibility() -> None:
    """Unacknowledged messages come back after ``VISIBILITY_S``; each delivery is logged."""
    make_app: Callable[..., Any] = workers.app.make_app
    run_jobs: Callable[..., int] = vars(stage_tasks)["run_jobs"]

    def impatient(settings: Any) -> Any:
        app = make_app(settings)
        app.conf.broker_transport_options |= {
            "ack_emulation": True, "visibility_timeout": VISIBILITY_S,
            "unacked_restore_interval": 1, "unacked_restore_throttle": 1,
        }
        return app

    def logged(message: StageMessage, *rest: Any) -> int:
        logger.info("delivered", extra={"job": message.job})
        return run_jobs(message, *rest)

    for module in (workers.app, workers.dispatch, workers.serve):
        vars(module)["make_app"] = impatient
    vars(stage_tasks)["run_jobs"] = logged


if __name__ == "__main__":
    {
        "after_the_end": fault_after_the_end, "search": fault_in_search,
        "decode": fault_in_decode, "decoder": fault_in_decoder, "bulk": fault_in_bulk,
    }[os.environ.get("FAULT_PLACE", "decode")]()
    if os.environ.get("FAULT_VISIBILITY") == "short":
        short_visibility()
    sys.exit(main([]))
