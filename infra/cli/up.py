"""``faceline up``: the whole service on this machine."""

from __future__ import annotations

from typing import Annotated

import typer

from infra.cli.console import print_line
from infra.cli.database import Stores
from infra.cli.operators import console_lines
from infra.cli.stop_signals import StopRequest
from infra.local.stack import LocalStack
from pipeline.config.settings import load_settings
from pipeline.errors import FaceError

# Seconds between two looks at whether a batch has work; deaths and signals are noticed at once.
IDLE_S = 2.0


def up(
    demo: Annotated[
        bool, typer.Option("--demo", help="Show the service on a photo, then keep serving.")
    ] = False,
    once: Annotated[bool, typer.Option("--once", help="With --demo: stop after it.")] = False,
    port: Annotated[
        int | None, typer.Option(min=0, max=65535, help="Port of the shim; 0: any free one.")
    ] = None,
) -> None:
    """Start Redis, workers for every stage, upkeep and the shim; Ctrl-C stops them."""
    settings = load_settings()
    if port is not None:
        settings = settings.model_copy(update={"port": port})
    stop = StopRequest()
    try:
        with (
            stop.handle_signals(),
            LocalStack(settings, print_line, stop.requested.is_set) as stack,
        ):
            if not stop.requested.is_set():
                _serve(stack, stop, demo=demo, once=once)
            print_line("\nStopping ...")
    except FaceError:
        # A failure during a stop is not an error.
        if not stop.requested.is_set():
            raise
    print_line("Everything is stopped.")
    if once and stop.requested.is_set():
        raise typer.Exit(130)  # the shell's code for an interrupt


def _serve(stack: LocalStack, stop: StopRequest, *, demo: bool, once: bool) -> None:
    """Supervises the stack while the demonstration runs as a client."""
    url = stack.url + stack.settings.root_path.rstrip("/")
    for line in () if once else console_lines(Stores(stack.settings), url):
        print_line(line)
    if not demo:
        print_line(f"Serving at {stack.url} . Ctrl-C stops everything.")
        stack.supervisor.watch(stop.requested.is_set, IDLE_S)
        return
    from infra.cli.demonstration import demonstrate  # a second of imports

    demonstrate(stack, stop, invite=not once)
    if not once:
        stack.supervisor.watch(stop.requested.is_set, IDLE_S)
