"""``faceline call``: a signed call from the command line."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from infra.cli.console import print_json
from infra.local.client import FaceClient, base64_file
from infra.local.credentials import load_credentials
from infra.local.stack import running_stack
from pipeline.accounts.credential_set import Credentials
from pipeline.config.settings import Settings, load_settings
from pipeline.errors import ConfigurationError, InvalidParameter

CallOperation = Literal["locate", "verify", "features"]


def call(
    operation: Annotated[CallOperation, typer.Argument(help="What to ask for.")],
    photos: Annotated[list[Path], typer.Argument(help="A photo; two for verify.")],
    faces: Annotated[int, typer.Option(min=1, help="locate: the most faces to list.")] = 50,
    url: Annotated[
        str | None, typer.Option(help="The service; without it: the stack on this machine.")
    ] = None,
    app_id: Annotated[str | None, typer.Option(envvar="FACELINE_CALL_APP_ID")] = None,
    app_secret: Annotated[str | None, typer.Option(envvar="FACELINE_CALL_APP_SECRET")] = None,
) -> None:
    """Send photos as a signed job and print the envelope.

    Uses the credentials of the demo application by default. Exit code 1 when the envelope's
    code is not 0.
    """
    settings = load_settings()
    credentials = _credentials(settings, app_id, app_secret)
    client = FaceClient(url or _local_url(settings), credentials)
    envelope = client.call(operation, _data(operation, photos, faces))
    print_json(envelope)
    if envelope.get("code") != 0:
        raise typer.Exit(1)


def _data(operation: CallOperation, photos: list[Path], faces: int) -> dict[str, Any]:
    names = ["image1", "image2"] if operation == "verify" else ["image"]
    if len(photos) != len(names):
        raise InvalidParameter(f"{operation} takes {len(names)} photo{'s' * (len(names) - 1)}")
    pictures = dict(zip(names, map(base64_file, photos), strict=True))
    return {**pictures, "max_face_num": faces} if operation == "locate" else pictures


def _credentials(settings: Settings, app_id: str | None, app_secret: str | None) -> Credentials:
    if app_id and app_secret:
        return Credentials(app_id, app_secret)
    if app_id or app_secret:
        raise InvalidParameter("--app-id and --app-secret must be given together")
    kept = load_credentials(settings.data.demo_credentials)
    if kept is None:
        raise ConfigurationError(
            "no credentials: give --app-id and --app-secret (from `faceline apps create NAME`), "
            "or run `faceline up --demo` once"
        )
    return kept


def _local_url(settings: Settings) -> str:
    running = running_stack(settings.data_dir)
    if running is None or not running.url:
        raise ConfigurationError(
            f"no stack runs on {settings.data_dir}: start one with `faceline up`, or give the "
            "address of the service with --url"
        )
    return running.url
