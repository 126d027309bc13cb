"""The entry of the ``faceline`` command: its groups, and how an error is shown."""

from __future__ import annotations

import os
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Annotated

import typer

import workers.one_thread  # noqa: F401  # first: see there
from infra.cli import (
    apps,
    batches,
    calibrate,
    call,
    database,
    doctor,
    enroll,
    gallery,
    index,
    jobs,
    limits,
    living,
    models,
    processes,
    secrets,
    settings,
    up,
    usage,
)
from infra.cli.console import say
from pipeline import errors
from pipeline.errors import FaceError

app = typer.Typer(
    name="faceline",
    help="Self-hosted face service. `faceline up --demo` shows it on this machine.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
app.command("up")(up.up)
app.command("serve")(processes.serve)
app.command("worker")(processes.worker)
app.command("upkeep")(processes.upkeep)
app.command("init")(database.init)
app.command("doctor")(doctor.doctor)
app.command("call")(call.call)
app.command("enroll")(enroll.enroll)
app.command("calibrate")(calibrate.calibrate)
app.command("living")(living.living)
app.command("settings")(settings.settings)
app.command("usage")(usage.usage)
for command in (limits.limits, limits.operations, limits.allow, limits.deny, limits.expire):
    apps.app.command()(command)
app.add_typer(apps.app, name="apps")
app.add_typer(batches.app, name="batches")
app.add_typer(gallery.app, name="gallery")
app.add_typer(index.app, name="index")
app.add_typer(jobs.app, name="jobs")
app.add_typer(models.app, name="models")
app.add_typer(secrets.app, name="secrets")

# What to do about an error whose message does not say it.
ADVICE: dict[type[FaceError], str] = {
    errors.DatabaseUnavailable: "check FACELINE_DATABASE_URL, or run `faceline init`",
    errors.BrokerUnavailable: "check FACELINE_BROKER_URL and that Redis runs",
    errors.MediaUnavailable: "check FACELINE_MEDIA_URL and that the store runs",
    errors.TenantNotFound: "`faceline apps list` shows the names",
    errors.CredentialNotFound: "`faceline apps list` shows the ids",
    errors.JobNotFound: "`faceline jobs list` shows the ids",
    errors.BatchNotFound: "`faceline batches list` shows the ids",
    errors.ProviderUnavailable: "check FACELINE_PROVIDERS",
}


@app.callback()
def options(
    data_dir: Annotated[
        Path | None,
        typer.Option(help="Directory of the embedded stack; stands for FACELINE_DATA_DIR."),
    ] = None,
) -> None:
    """What holds for every command."""
    if data_dir is not None:
        os.environ["FACELINE_DATA_DIR"] = str(data_dir)


@app.command("version")
def show_version() -> None:
    """Print the version."""
    try:
        typer.echo(version("faceline"))
    except PackageNotFoundError:
        typer.echo("not installed")


def main() -> None:
    """Run the command; an error of ours is one clear text on stderr. Exit codes: 1 it
    could not be done, 2 it was asked or configured wrongly."""
    try:
        app()
    except FaceError as error:
        say(f"faceline: {explain(error)}", style="red")
        wrong = isinstance(error, errors.ConfigurationError | errors.BadInput)
        sys.exit(2 if wrong else 1)
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:
        # The reader of the output went away, as `head` does. What is still buffered
        # would raise once more at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)


def explain(error: FaceError) -> str:
    """An error's message, and what to do next where the message does not say it."""
    message = error.message.rstrip(".")
    for kind, advice in ADVICE.items():
        if isinstance(error, kind):
            return f"{message}. To do: {advice}."
    return f"{message}."


if __name__ == "__main__":
    main()
