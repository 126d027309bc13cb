"""The demonstration of ``faceline up --demo``: it runs beside the stack, as a client."""

from __future__ import annotations

import shlex
import sys
import threading
from pathlib import Path

from api_shim.dialects.e.dialect import Face2
from infra.cli.console import print_line
from infra.cli.stop_signals import StopRequest
from infra.local.client import FaceClient
from infra.local.demo import DemoFailed, demo_credentials, demo_photo, run_demo
from infra.local.stack import LocalStack
from pipeline.accounts.credential_set import Credentials
from pipeline.config.settings import Settings
from pipeline.errors import FaceError


def demonstrate(stack: LocalStack, stop: StopRequest, *, invite: bool) -> None:
    """Supervise the stack while the demonstration runs; with ``invite`` say how to go on.
    Raises ``DemoFailed`` and what the calls raise."""
    show = _Demonstration(stack.settings, stack.url)
    show.start()
    stack.supervisor.watch(lambda: stop.requested.is_set() or not show.is_alive())
    if stop.requested.is_set():
        return
    if not show.complete:
        raise show.error or DemoFailed()
    if invite:
        _invite(stack, show.credentials)


class _Demonstration(threading.Thread):
    """Runs the demonstration in a daemon thread: a call that hangs must not delay the stop."""

    def __init__(self, settings: Settings, url: str) -> None:
        super().__init__(name="demo", daemon=True)
        self.credentials = demo_credentials(settings)
        self.complete = False
        self.error: FaceError | None = None
        self._settings = settings
        self._client = FaceClient(url, self.credentials)

    def run(self) -> None:
        try:
            run_demo(self._settings, self._client, print_line)
            self.complete = True
        except FaceError as error:
            self.error = error


def _invite(stack: LocalStack, credentials: Credentials) -> None:
    photo = demo_photo()
    print_line("\n".join([
        f"\nServing at {stack.url}", *(f"  {line}" for line in credentials.lines()),
        "\nTry it with your own photo, in another terminal:",
        f"\n{_command(stack.settings)} call locate {shlex.quote(str(photo))}",
        "\nor with nothing but a shell (the signature is made anew at each call):",
        f"\n{Face2.curl_line(stack.url, credentials, str(photo))}",
        "\nCtrl-C stops everything.",
    ]))


def _command(settings: Settings) -> str:
    """The command line that calls this command from the same directory."""
    script = Path(sys.executable).with_name("faceline")
    if script.is_relative_to(Path.cwd()):
        script = script.relative_to(Path.cwd())
    name = shlex.quote(str(script)) if script.exists() else "faceline"
    if "data_dir" not in settings.model_fields_set:
        return name
    return f"{name} --data-dir {shlex.quote(str(settings.data_dir))}"
