"""``faceline probe``: what compose and Kubernetes ask a container, as an exit code."""

from __future__ import annotations

from enum import StrEnum
from http.client import HTTPConnection, HTTPException
from typing import Annotated

import typer

from pipeline.config.settings import load_settings
from pipeline.deployment.heartbeat_file import read_heartbeat
from pipeline.errors import ConfigurationError, FaceError

# Seconds that a shim has to answer: its stores have four.
ANSWER_S = 5.0


class Probed(StrEnum):
    """The roles whose processes can be probed."""

    SHIM = "shim"
    WORKER = "worker"
    INDEX = "index"
    UPKEEP = "upkeep"
    WEBHOOKS = "webhooks"


class ProbeFailed(FaceError):
    """The process is not as it should be."""


def probe(
    role: Annotated[Probed, typer.Argument(help="What the process is.")],
    ready: Annotated[
        bool, typer.Option("--ready", help="It must also take requests or work.")
    ] = False,
    port: Annotated[
        int | None, typer.Option(min=1, max=65535, help="Of a shim; stands for FACELINE_PORT.")
    ] = None,
) -> None:
    """Whether a process on this machine is alive: exit code 0, else 1 and the reason.

    A shim is asked for `/livez` (`--ready`: `/readyz`). Of every other role the file
    that FACELINE_HEARTBEAT_FILE names is read.
    """
    settings = load_settings()
    if role is Probed.SHIM:
        _ask_shim(settings.host, port or settings.port, "/readyz" if ready else "/livez")
        return
    if not settings.heartbeat_file:
        raise ConfigurationError("FACELINE_HEARTBEAT_FILE names no file, here and in the process")
    try:
        fault = read_heartbeat(settings.heartbeat_file).fault(role, ready=ready)
    except ConfigurationError as error:
        fault = error.message
    if fault:
        raise ProbeFailed(fault)


def _ask_shim(host: str, port: int, path: str) -> None:
    reached = "127.0.0.1" if host in ("", "0.0.0.0", "::") else host  # noqa: S104
    connection = HTTPConnection(reached, port, timeout=ANSWER_S)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        body = answer.read().decode(errors="replace")
    except (OSError, HTTPException) as error:
        raise ProbeFailed(f"no answer at {reached}:{port}: {error}") from error
    finally:
        connection.close()
    if answer.status != 200:
        raise ProbeFailed(f"{path} answers {answer.status}: {body}")
