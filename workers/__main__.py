"""``python -m workers [worker|upkeep]``: settings come from the environment."""

from __future__ import annotations

import signal
import sys
import threading

import workers.single_threaded_blas  # noqa: F401  # first: see there
from pipeline.config.settings import load_settings
from pipeline.errors import FaceError
from workers.logs import setup_logging


def main(arguments: list[str]) -> int:
    """The exit code: 0, or 2 when the process cannot start."""
    try:
        settings = load_settings()
        setup_logging(settings)
        # Neither waits for modules that only the other one imports.
        if arguments == ["upkeep"]:
            from workers.upkeep.loop import run

            stop = threading.Event()
            signal.signal(signal.SIGTERM, lambda *_: stop.set())
            run(settings, stop)
            return 0
        from workers.serve import run_worker

        return run_worker(settings)
    except FaceError as error:
        sys.stderr.write(f"{error}\n")
        return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
