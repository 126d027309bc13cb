"""The entry point of the ``faceline`` command: its groups, and how errors are shown."""

from __future__ import annotations

import errno
import os
import sys
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any

import typer
import typer.main
from typer.core import TyperGroup

import workers.single_threaded_blas  # noqa: F401  # first: see there
from infra.cli.console import print_notice
from pipeline import errors
from pipeline.deployment.version import program_version
from pipeline.errors import FaceError

# Each command: (module of this package, its function or group).
COMMANDS = {
    "up": ("up", "up"),
    "serve": ("processes", "serve"),
    "worker": ("processes", "worker"),
    "upkeep": ("processes", "upkeep"),
    "init": ("database", "init"),
    "doctor": ("doctor", "doctor"),
    "top": ("top", "top"),
    "probe": ("probe", "probe"),
    "call": ("call", "call"),
    "enroll": ("enroll.command", "enroll"),
    "backup": ("backup", "backup"),
    "restore": ("restore", "restore"),
    "move": ("move", "move"),
    "receipts": ("receipts", "app"),
    "calibrate": ("calibrate", "calibrate"),
    "living": ("living", "living"),
    "settings": ("settings", "settings"),
    "usage": ("usage", "usage"),
    "apps": ("apps", "app"),
    "batches": ("batch_commands", "app"),
    "gallery": ("gallery", "app"),
    "index": ("index", "app"),
    "jobs": ("jobs", "app"),
    "models": ("models", "app"),
    "packs": ("packs", "app"),
    "operators": ("operators", "app"),
    "audit": ("audit", "audit"),
    "console-link": ("operators", "console_link"),
    "secrets": ("secrets", "app"),
    "webhooks": ("webhooks", "app"),
}


class Commands(TyperGroup):
    """Imports only the requested command; importing all of them takes half a second."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        # Help lists these names, and suggests one for a misspelled command.
        self.commands: Any = {**dict.fromkeys(COMMANDS), **self.commands}

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if cmd_name not in COMMANDS:
            return super().get_command(ctx, cmd_name)
        module, name = COMMANDS[cmd_name]
        found = getattr(import_module(f"infra.cli.{module}"), name)
        if not isinstance(found, typer.Typer):
            alone = typer.Typer(add_completion=False)
            alone.command(cmd_name)(found)
            found = alone
        command = typer.main.get_command(found)
        command.name = cmd_name
        return command


app = typer.Typer(
    name="faceline",
    cls=Commands,
    help="Self-hosted face service. `faceline up --demo` shows it on this machine.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)

# pip installs the desktop build beside the headless one, as insightface asks for it; the last one
# that is written to cv2/ counts, and on a server it lacks a desktop's libraries.
NO_OPENCV = (
    "OpenCV cannot be loaded; run `pip uninstall -y opencv-python opencv-contrib-python && "
    "pip install --force-reinstall --no-deps opencv-python-headless`, which needs no desktop"
)

# Errors of a full disk behind redirected output.
FULL_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)

# Advice for errors whose message has none.
ADVICE: dict[type[FaceError], str] = {
    errors.DatabaseUnavailable: "check FACELINE_DATABASE_URL, or run `faceline init`",
    errors.BrokerUnavailable: "check FACELINE_BROKER_URL and that Redis runs",
    errors.MediaUnavailable: "check FACELINE_MEDIA_URL and that the store runs",
    errors.TenantNotFound: "`faceline apps list` shows the names",
    errors.CredentialNotFound: "`faceline apps list` shows the ids",
    errors.JobNotFound: "`faceline jobs list` shows the ids",
    errors.BatchNotFound: "`faceline batches list` shows the ids",
    errors.OperatorNotFound: "`faceline operators list` shows the names",
    errors.WebhookNotFound: "`faceline webhooks list` shows the numbers",
    errors.DeliveryNotFound: "`faceline webhooks deliveries APP` shows the ids",
    errors.ProviderUnavailable: "check FACELINE_PROVIDERS",
}


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"faceline {program_version()}")
        raise typer.Exit


@app.callback()
def options(
    data_dir: Annotated[
        Path | None,
        typer.Option(help="Directory of the embedded stack; stands for FACELINE_DATA_DIR."),
    ] = None,
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version."
        ),
    ] = False,
) -> None:
    """Options of every command."""
    if data_dir is not None:
        os.environ["FACELINE_DATA_DIR"] = str(data_dir)


@app.command("version")
def show_version() -> None:
    """Print the version."""
    typer.echo(program_version())


def main() -> None:
    """Run the command. A ``FaceError`` is printed on stderr. Exit codes: 1 for a failure, 2 for
    invalid arguments or configuration."""
    try:
        app()
    except FaceError as error:
        print_notice(f"faceline: {explain(error)}", style="red")
        wrong = isinstance(error, errors.ConfigurationError | errors.BadInput)
        sys.exit(2 if wrong else 1)
    except ImportError as error:
        if not _is_opencv_broken():
            raise
        print_notice(f"faceline: {NO_OPENCV} ({error})", style="red")
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:
        # The reader of the output has exited, as `head` does.
        _drop_output()
        sys.exit(1)
    except OSError as error:
        if error.errno not in FULL_DISK:
            raise
        print_notice(f"faceline: the output cannot be written: {error.strerror}", style="red")
        _drop_output()
        sys.exit(1)


def _is_opencv_broken() -> bool:
    try:
        import cv2  # noqa: F401
    except ImportError:
        return True
    return False


def _drop_output() -> None:
    """Redirects stdout to the null device: buffered output would raise again at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def explain(error: FaceError) -> str:
    """An error's message, with advice where the message has none."""
    message = error.message.rstrip(".")
    for kind, advice in ADVICE.items():
        if isinstance(error, kind):
            return f"{message}. To do: {advice}."
    return f"{message}."


if __name__ == "__main__":
    main()
