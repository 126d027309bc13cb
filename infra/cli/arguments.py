"""Arguments and options that several commands share."""

from __future__ import annotations

from typing import Annotated

import typer

AppName = Annotated[str, typer.Argument(help="The application's name.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
