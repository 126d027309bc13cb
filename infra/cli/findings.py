"""A report with a line for every item of a source, as CSV or JSON Lines."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from pipeline.errors import InvalidParameter
from pipeline.sources.survey import Finding

COLUMNS = (
    "number", "source_name", "verdict", "reason", "detail", "original", "name", "collection",
    "external_id", "description", "sha256", "size", "width", "height",
)

# A spreadsheet takes a cell that begins so for a formula, and carries it out.
FORMULA = ("=", "+", "-", "@", "\t", "\r")

Write = Callable[[Finding], None]


@contextmanager
def report(path: Path | None) -> Iterator[Write]:
    """A writer of findings into ``path``, by its ending ``.csv`` or ``.jsonl``; without
    a path, one that does nothing. Raises ``InvalidParameter``."""
    if path is None:
        yield lambda _: None
        return
    makers = {".csv": _csv_writer, ".jsonl": _json_writer}
    make = makers.get(path.suffix.lower())
    if make is None:
        raise InvalidParameter(f"{path} must end in .csv or .jsonl")
    try:
        # For nobody else's eyes: names.
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    except OSError as error:
        raise InvalidParameter(f"{path} cannot be written: {error.strerror}") from error
    with os.fdopen(descriptor, "w", encoding="utf-8", newline="") as stream:
        yield make(stream)


def values(finding: Finding) -> dict[str, object]:
    """A finding by the report's columns."""
    flat = {
        "name": finding.about.name, "collection": finding.about.collection,
        "external_id": finding.about.external_id, "description": finding.about.description,
    }
    return {
        column: flat[column] if column in flat else getattr(finding, column)
        for column in COLUMNS
    }


def _csv_writer(stream: TextIO) -> Write:
    writer = csv.writer(stream)
    writer.writerow(COLUMNS)
    return lambda finding: writer.writerow(map(cell, values(finding).values()))


def _json_writer(stream: TextIO) -> Write:
    def write(finding: Finding) -> None:
        stream.write(json.dumps(values(finding), ensure_ascii=False) + "\n")

    return write


def cell(value: object) -> object:
    """``value``, when it is text that a spreadsheet would carry out, behind an apostrophe."""
    if isinstance(value, str) and value.startswith(FORMULA):
        return f"'{value}"
    return value
