"""Arguments and options that several commands share, and what they name."""

from __future__ import annotations

import getpass
import os
from collections.abc import Iterable
from typing import Annotated, Protocol, TypeVar

import typer

from pipeline.errors import NotFound

AppName = Annotated[str, typer.Argument(help="The application's name.")]
OptionalAppName = Annotated[str | None, typer.Argument(help="An application; without one: all.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask.")]
Limit = Annotated[int, typer.Option(min=1, max=10_000, help="How many at most.")]

RECENT = 1000  # jobs or batches among which the beginning of an id is looked up


class HasId(Protocol):
    """A job or a batch."""

    @property
    def id(self) -> str: ...


T = TypeVar("T", bound=HasId)


def only_match(beginning: str, recent: Iterable[T], what: str, unknown: type[NotFound]) -> T:
    """The only one of ``recent`` whose id begins with ``beginning``. Raises ``unknown``."""
    found = [each for each in recent if each.id.startswith(beginning)]
    if len(found) > 1:
        raise unknown(f"{len(found)} recent ids of a {what} begin with {beginning!r}")
    if not found:
        raise unknown(f"no {what} has the id {beginning!r}")
    return found[0]


def local_operator() -> str:
    """Who runs the command, as records name them; a container's user may have no name."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        user = f"user {os.getuid()}"
    return f"{user} (command line)"
