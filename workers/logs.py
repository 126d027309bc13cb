"""Log lines: a sentence, and the fields that a search needs.

``logger.info("A job ended", extra={"action": "job_ended", "job": job.id})`` reads
``... A job ended action=job_ended job=5f0c`` or is one JSON object, by settings.
"""

from __future__ import annotations

import json
import logging
import os
import re
import sys
import time
from typing import Any

import msgspec

from pipeline.config.settings import Settings
from pipeline.identifiers import escape_controls
from pipeline.tracing.context import TraceFields

# The fields of every record; all others were given as ``extra``.
_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {
    "message", "asctime", "taskName", "data", "color_message"
}

# A value that needs no quotes.
_WORD = re.compile(r"[^\s\"=]+")

# Libraries whose lower levels would flood an operator's log.
_QUIETER = dict.fromkeys(("alembic", "amqp", "celery", "kombu"), logging.WARNING)


def setup_logging(settings: Settings) -> None:
    """One handler on stderr for the whole process; replaces earlier ones."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines() if settings.log_format == "json" else TextLines())
    if settings.traces_url:
        handler.addFilter(TraceFields())
    logging.basicConfig(level=settings.log_level, handlers=[handler], force=True)
    for name, level in _QUIETER.items():
        logging.getLogger(name).setLevel(max(level, logging.getLevelName(settings.log_level)))


class TextLines(logging.Formatter):
    """``2026-01-31T12:00:00.123Z INFO 4711 A job ended action=job_ended job=5f0c``

    Only the lines of an exception follow their line, and they are indented: text from outside
    can forge neither a line nor a field.
    """

    def format(self, record: logging.LogRecord) -> str:
        fields = "".join(f" {name}={_field(value)}" for name, value in _extra(record).items())
        said = escape_controls(record.getMessage())
        line = f"{_time(record)} {record.levelname} {os.getpid()} {said}{fields}"
        if not record.exc_info:
            return line
        told = self.formatException(record.exc_info).splitlines()
        return "\n".join([line, *(f"  {escape_controls(each)}" for each in told)])


class JsonLines(logging.Formatter):
    """One JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": _time(record),
            "level": record.levelname,
            "logger": record.name,
            "pid": os.getpid(),
            "message": record.getMessage(),
            **_extra(record),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return msgspec.json.encode(line, enc_hook=str).decode()


def _field(value: object) -> str:
    text = str(value)
    return escape_controls(text) if _WORD.fullmatch(text) else json.dumps(text)


def _extra(record: logging.LogRecord) -> dict[str, Any]:
    return {name: value for name, value in vars(record).items() if name not in _STANDARD}


def _time(record: logging.LogRecord) -> str:
    stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
    return f"{stamp}.{int(record.msecs):03d}Z"
