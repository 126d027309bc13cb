"""Output of the command: tables for people, JSON for machines."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterable, Sequence
from typing import Any

import typer
from rich.console import Console
from rich.table import Table

from pipeline.identifiers import escape_controls

# Width without a terminal, in characters: enough for a table of ids and paths.
PIPE_WIDTH = 200

out = Console(width=None if sys.stdout.isatty() else PIPE_WIDTH)
err = Console(stderr=True)


def print_table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Prints a table; cells are printed literally, without markup, and None as an empty one."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*(_escape(cell) for cell in row))
    out.print(table)


def print_json(value: Any) -> None:
    """Prints plain JSON on stdout, the same on a terminal and in a pipe."""
    typer.echo(json.dumps(value, ensure_ascii=False, indent=2))


def print_notice(text: str, style: str | None = None) -> None:
    """Prints lines for people on stderr; stdout is for results. Does not wrap lines, so that
    they can be copied."""
    text = "\n".join(map(escape_controls, text.split("\n")))
    err.print(text, style=style, markup=False, highlight=False, soft_wrap=True)


def print_line(text: str) -> None:
    """Prints a line of a command's result on stdout, without wrapping."""
    out.print(text, markup=False, highlight=False, soft_wrap=True)


def shortened(text: str, most: int = 48) -> str:
    """``text`` with its middle replaced by an ellipsis if longer than ``most`` characters."""
    if len(text) <= most:
        return text
    return f"{text[: most // 2]}…{text[-(most - most // 2 - 1) :]}"


def local_time(moment: float | None) -> str:
    """Epoch seconds as local time; empty for None."""
    return "" if moment is None else time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(moment))


def _escape(cell: object) -> str:
    return "" if cell is None else escape_controls(str(cell)).replace("[", r"\[")
