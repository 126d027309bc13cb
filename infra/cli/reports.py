"""Reports with a line for every item, as CSV or JSON Lines."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from pipeline.errors import InvalidParameter

# A spreadsheet takes a cell that begins so for a formula, and carries it out.
FORMULA = ("=", "+", "-", "@", "\t", "\r")

Write = Callable[[Mapping[str, object]], None]


@contextmanager
def report(path: Path | None, columns: Sequence[str]) -> Iterator[Write]:
    """A writer of rows into ``path``, by its ending ``.csv`` or ``.jsonl``; without a
    path, one that does nothing. Raises ``InvalidParameter``."""
    if path is None:
        yield lambda _: None
        return
    make = writer_for(path)
    try:
        # For nobody else's eyes: names.
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8", newline="") as stream:
            yield make(stream, columns)
    except OSError as error:
        raise InvalidParameter(f"{path} cannot be written: {error.strerror}") from error


def check_target(path: Path) -> None:
    """Whether a report can be written there later. Raises ``InvalidParameter``."""
    writer_for(path)
    check_place(path)


def check_place(path: Path) -> None:
    """Whether a file can be written there later. Raises ``InvalidParameter``."""
    folder = path.absolute().parent
    if path.is_dir() or not folder.is_dir() or not os.access(folder, os.W_OK):
        raise InvalidParameter(f"{path} cannot be written there")


def writer_for(path: Path) -> Callable[[TextIO, Sequence[str]], Write]:
    """What writes a report of this name. Raises ``InvalidParameter``."""
    makers = {".csv": csv_writer, ".jsonl": json_writer}
    make = makers.get(path.suffix.lower())
    if make is None:
        raise InvalidParameter(f"{path} must end in .csv or .jsonl")
    return make


def csv_writer(stream: TextIO, columns: Sequence[str]) -> Write:
    """Writes the header now, a line a row then."""
    writer = csv.writer(stream)
    writer.writerow(columns)
    return lambda row: writer.writerow(cell(row[column]) for column in columns)


def json_writer(stream: TextIO, columns: Sequence[str]) -> Write:
    """Writes a JSON object a row."""

    def write(row: Mapping[str, object]) -> None:
        values = {column: row[column] for column in columns}
        stream.write(json.dumps(values, ensure_ascii=False) + "\n")

    return write


def cell(value: object) -> object:
    """``value``, when it is text that a spreadsheet would carry out, behind an apostrophe."""
    if isinstance(value, str) and value.startswith(FORMULA):
        return f"'{value}"
    return value
