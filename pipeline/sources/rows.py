"""The rows of a manifest: CSV with a header, or JSON Lines."""

from __future__ import annotations

import codecs
import csv
import io
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from typing import Any, BinaryIO, TextIO

from pipeline.errors import InvalidParameter
from pipeline.sources.encodings import readings, utf16_without_mark
from pipeline.sources.names import MAX_NAME

MAX_LINE = 64 * 1024  # characters; other files may have lines of any length
MAX_TEXT = 1024  # characters of a path or a description

LINE_ENDS = ("\n", "\r")
DELIMITERS = ",;\t|"
# The line before the header by which spreadsheets tell each other the delimiter.
EXCEL_DELIMITER = re.compile(f"sep=([{DELIMITERS}])", re.IGNORECASE)

COLUMNS = {
    "path": "path", "file": "path", "filename": "path", "file_name": "path",
    "key": "key", "object": "key", "object_key": "key",
    "name": "name", "person": "name",
    "collection": "collection", "group": "collection",
    "external_id": "external_id", "id": "external_id",
    "description": "description",
}
"""The accepted names of columns, and the column that each stands for."""

BOMS = (
    (codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


@dataclass(frozen=True, slots=True)
class Row:
    """The stripped values of a row. Either ``path`` or ``key`` is set."""

    line: int
    path: str = ""
    key: str = ""
    name: str = ""
    collection: str = ""
    external_id: str = ""
    description: str = ""


@dataclass(frozen=True, slots=True)
class BrokenRow:
    """A row that cannot be used, and why."""

    line: int
    problem: str


class _BrokenRowError(ValueError):
    """Why a row is broken."""


FIELDS = frozenset(field.name for field in fields(Row)) - {"line"}
MAX_CHARACTERS = {"name": MAX_NAME, "external_id": MAX_NAME}


def unicode_encoding(start: bytes) -> str:
    """The encoding by the byte order mark; without one UTF-16 if it looks like that, else
    UTF-8."""
    marked = (name for mark, name in BOMS if start.startswith(mark))
    return next(marked, "") or utf16_without_mark(start) or "utf-8"


@contextmanager
def as_text(file: BinaryIO, encoding: str, errors: str = "") -> Iterator[TextIO]:
    """The ``file`` as text. Without ``errors`` undecodable bytes are kept as surrogates, or
    replaced in UTF-16."""
    usual = "replace" if encoding.startswith("utf-16") else "surrogateescape"
    text = io.TextIOWrapper(file, encoding=encoding, errors=errors or usual, newline="")
    try:
        yield text
    finally:
        text.detach()  # else the wrapper would close the caller's file


def csv_rows(text: TextIO) -> Iterator[Row | BrokenRow]:
    """The rows of a CSV. The most frequent of ``DELIMITERS`` in the header separates cells.
    Raises ``InvalidParameter`` when no column names the file."""
    lines = _NumberedLines(text)
    header = _header(lines)
    told = EXCEL_DELIMITER.fullmatch(header.strip())
    if told is not None:
        header = _header(lines)
    delimiter = told[1] if told else max(DELIMITERS, key=header.count)
    columns = _columns(next(csv.reader([header], delimiter=delimiter), []))
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    while True:
        line = lines.number + 1
        try:
            cells = next(reader, None)
            if cells is None:
                return
            if cells:
                yield _row(line, _named(columns, cells))
        except _BrokenRowError as error:
            yield BrokenRow(line, str(error))
        except (csv.Error, ValueError):
            yield BrokenRow(line, "not a row of CSV in UTF-8")


def json_rows(text: TextIO) -> Iterator[Row | BrokenRow]:
    """The rows of a file with one JSON object on each line."""
    lines = _NumberedLines(text)
    while True:
        try:
            line = next(lines, None)
            if line is None:
                return
            if line.strip():
                yield _row(lines.number, _object(line))
        except _BrokenRowError as error:
            yield BrokenRow(lines.number, str(error))
        except (ValueError, RecursionError):
            yield BrokenRow(lines.number, "not JSON in UTF-8")


class _NumberedLines(Iterator[str]):
    """Numbered lines. A line that is too long is skipped and raises ``_BrokenRowError``; the
    next one can be read after that, which a generator would not allow."""

    def __init__(self, text: TextIO) -> None:
        self._text = text
        self.number = 0

    def __next__(self) -> str:
        line = self._text.readline(MAX_LINE)
        if not line:
            raise StopIteration
        self.number += 1
        if len(line) < MAX_LINE or line.endswith(LINE_ENDS):
            return line
        while line and not line.endswith(LINE_ENDS):
            line = self._text.readline(MAX_LINE)
        raise _BrokenRowError(f"a line of more than {MAX_LINE} characters")


def _header(lines: _NumberedLines) -> str:
    try:
        return next(lines, "")
    except _BrokenRowError as error:
        raise InvalidParameter(f"this is not a manifest: {error}") from error


def _columns(header: list[str]) -> list[str]:
    columns = [COLUMNS.get(_key(cell), "") for cell in header]
    if "path" not in columns and "key" not in columns:
        raise InvalidParameter("the manifest's first line has no column path and no column key")
    named = [column for column in columns if column]
    if len(named) != len(set(named)):
        raise InvalidParameter("the manifest's first line names a column twice")
    return columns


def _key(cell: str) -> str:
    return cell.strip().lower().replace(" ", "_").replace("-", "_")


def _named(columns: list[str], cells: list[str]) -> dict[str, Any]:
    if len(cells) != len(columns):
        raise _BrokenRowError(f"{len(cells)} cells where the header has {len(columns)}")
    return dict(zip(columns, cells, strict=True))


def _object(text: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except json.JSONDecodeError as error:
        raise _BrokenRowError("not JSON") from error
    if not isinstance(found, dict):
        raise _BrokenRowError("not a JSON object")
    return {COLUMNS.get(_key(key), ""): value for key, value in found.items()}


def _row(line: int, values: dict[str, Any]) -> Row:
    texts = {name: _value(name, value) for name, value in values.items() if name in FIELDS}
    if bool(texts.get("path")) == bool(texts.get("key")):
        raise _BrokenRowError("needs either a path or a key")
    return Row(line, **texts)


def _value(name: str, value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)  # an id that is a number in JSON
    if not isinstance(value, str):
        raise _BrokenRowError(f"{name} is not text")
    text = value.strip()
    if any("\ud800" <= letter <= "\udfff" or letter == "\ufffd" for letter in text):
        raise _BrokenRowError(f"{name} is not in the manifest's encoding: {_advice(text)}")
    longest = MAX_CHARACTERS.get(name, MAX_TEXT)
    if len(text) > longest:
        raise _BrokenRowError(f"{name} has more than {longest} characters")
    return text


def _advice(text: str) -> str:
    """What to do about a value with undecodable bytes."""
    try:
        found = [] if "\ufffd" in text else readings(text.encode("utf-8", "surrogateescape"))
    except UnicodeEncodeError:  # half a surrogate pair, which JSON can write
        found = []
    told = "".join(f", or give --names {encoding} for {read!r}" for encoding, read in found)
    return f"save the file as UTF-8{told}"
