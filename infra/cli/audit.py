"""``faceline audit``: the audit log for other programs."""

from __future__ import annotations

import csv
import sys
from dataclasses import asdict, fields
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated

import msgspec
import typer

from infra.cli.database import Stores
from pipeline.errors import InvalidParameter
from pipeline.operators.audit import AuditFilter, AuditLog, parse_moment
from pipeline.operators.model import AuditEntry


class Format(StrEnum):
    """How entries are written."""

    JSON = "json"
    CSV = "csv"


def audit(
    since: Annotated[
        str | None, typer.Option(help="From this time on, such as 2026-11-30 or 2026-11-30T18:00Z.")
    ] = None,
    until: Annotated[str | None, typer.Option(help="Before this time.")] = None,
    operator: Annotated[str, typer.Option(help="Only of this operator.")] = "",
    action: Annotated[str, typer.Option(help="Only this action, such as face.show.")] = "",
    application: Annotated[str, typer.Option("--app", help="Only of this application.")] = "",
    form: Annotated[Format, typer.Option("--format", help="JSON lines, or CSV.")] = Format.JSON,
) -> None:
    """Write the audit log to the standard output, the oldest entry first: each sign-in, each look
    at a person, each change and each refusal. Times without a zone are UTC."""
    wanted = AuditFilter(
        operator=operator, action=action, application=application,
        since=_moment(since), until=_moment(until),
    )
    entries = AuditLog(Stores().engine).export(wanted)
    if form is Format.CSV:
        writer = csv.writer(sys.stdout)
        writer.writerow([each.name for each in fields(AuditEntry)])
        for entry in entries:
            row = {**asdict(entry), "at": _iso(entry.at)}
            writer.writerow([_harmless(value) for value in row.values()])
        return
    for entry in entries:
        row = {**asdict(entry), "at": _iso(entry.at)}
        sys.stdout.write(msgspec.json.encode(row).decode() + "\n")


def _moment(text: str | None) -> float | None:
    """Raises ``InvalidParameter``."""
    if text is None:
        return None
    try:
        return parse_moment(text)
    except ValueError as error:
        raise InvalidParameter(f"{text!r} is no time such as 2026-11-30T18:00Z") from error


def _iso(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds")


def _harmless(value: object) -> object:
    """A cell that no spreadsheet takes for a formula."""
    if isinstance(value, str) and value.startswith(("=", "+", "-", "@", "\t", "\r")):
        return f"'{value}"
    return value
