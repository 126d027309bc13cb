"""Writes reports with one line per item into files, as CSV or JSON Lines."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from infra.local.private_files import private_file
from pipeline.errors import FaceError, InvalidParameter
from pipeline.spreadsheets import MakeWriter, Write, csv_writer, json_writer


class ReportNotWritten(FaceError):
    """The file cannot be written."""


@contextmanager
def open_report(path: Path | None, columns: Sequence[str]) -> Iterator[Write]:
    """A writer of rows into ``path``, in the format of its suffix ``.csv`` or ``.jsonl``;
    without a path it does nothing. The file is replaced only by a complete report. Raises
    ``InvalidParameter``, ``ReportNotWritten``."""
    if path is None:
        yield lambda _: None
        return
    make = check_target(path)
    with open_output(path, ReportNotWritten) as stream:
        yield make(stream, columns)


@contextmanager
def open_output(path: Path, failed: type[FaceError] = InvalidParameter) -> Iterator[TextIO]:
    """A file that only this user can read, and that is replaced only when the block has ended
    well. Raises ``failed``."""
    try:
        with private_file(path) as stream:
            yield stream
    except OSError as error:
        raise failed(f"{path} cannot be written: {error.strerror}") from error


def check_target(path: Path) -> MakeWriter:
    """The writer for the suffix of ``path``, where a report can be written. Raises
    ``InvalidParameter``."""
    make = {".csv": csv_writer, ".jsonl": json_writer}.get(path.suffix.lower())
    if make is None:
        raise InvalidParameter(f"{path} must end in .csv or .jsonl")
    check_place(path)
    return make


def check_place(path: Path) -> None:
    """Checks that a file can be written there. Raises ``InvalidParameter``."""
    folder = path.absolute().parent
    if path.is_dir():
        raise InvalidParameter(f"{path} cannot be written: it is a folder")
    if not folder.is_dir() or not os.access(folder, os.W_OK):
        raise InvalidParameter(
            f"{path} cannot be written: its folder does not exist or is not writable"
        )
