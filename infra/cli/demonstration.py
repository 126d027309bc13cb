"""The demonstration of ``faceline up --demo``: it runs beside the stack, as a client."""

from __future__ import annotations

import shlex
import sys
import threading
from pathlib import Path

from infra.cli.console import print_line
from infra.cli.stop_signals import StopRequest
from infra.local.client import FaceClient
from infra.local.credentials import Credentials
from infra.local.demo import DemoFailed, demo_credentials, demo_photo, run_demo
from infra.local.stack import LocalStack
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
        f"\n{curl_line(stack.url, credentials, photo)}",
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


def curl_line(url: str, credentials: Credentials, photo: Path) -> str:
    """A POSIX shell line that signs and sends a locate of ``photo``.

    The variables are in the order of the string to sign: sorted by name.
    """
    return (
        f"P={shlex.quote(str(photo))} A={credentials.app_id} K={credentials.app_secret} "
        "T=$(date +%s); "
        """D="{\\"image\\":\\"$(base64 <"$P" | tr -d '\\n')\\",\\"max_face_num\\":9}"; """
        'S=$(printf %s "appId=$A&data=$D&encType=plain&signType=SHA256&timestamp=$T&version=1'
        "&key=$K\" | sha256sum | cut -c1-64 | tr -d '\\n' | base64 | tr -d '\\n'); "
        'printf %s "{\\"appId\\":\\"$A\\",\\"data\\":$D,\\"encType\\":\\"plain\\",'
        '\\"signType\\":\\"SHA256\\",\\"timestamp\\":$T,\\"version\\":\\"1\\",'
        '\\"signData\\":\\"$S\\"}" | '
        "curl -sS --noproxy '*' -H 'Content-Type: application/json' --data-binary @- "
        f"{url}/face2/locate"
    )
