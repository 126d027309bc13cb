"""Reports with one line a row, as CSV or JSON Lines."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Mapping, Sequence
from typing import TextIO

# A spreadsheet evaluates a cell that starts with one of these as a formula.
FORMULA = ("=", "+", "-", "@", "\t", "\r")

Write = Callable[[Mapping[str, object]], None]
MakeWriter = Callable[[TextIO, Sequence[str]], Write]


def csv_writer(stream: TextIO, columns: Sequence[str]) -> Write:
    """Writes the header, and returns a writer of rows."""
    writer = csv.writer(stream)
    writer.writerow(columns)
    return lambda row: writer.writerow(spreadsheet_safe(row[column]) for column in columns)


def json_writer(stream: TextIO, columns: Sequence[str]) -> Write:
    """Returns a writer of one JSON object per row."""

    def write(row: Mapping[str, object]) -> None:
        values = {column: row[column] for column in columns}
        stream.write(json.dumps(values, ensure_ascii=False) + "\n")

    return write


def spreadsheet_safe(value: object) -> object:
    """``value`` with a leading apostrophe if a spreadsheet would evaluate it."""
    if isinstance(value, str) and value.startswith(FORMULA):
        return f"'{value}"
    return value
