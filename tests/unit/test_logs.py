"""The form of log lines."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from pipeline.config.settings import Settings
from workers.logs import JsonLines, TextLines, setup_logging


def record(message: str, *arguments: object, **extra: Any) -> logging.LogRecord:
    made = logging.makeLogRecord({"msg": message, "args": arguments, "levelname": "INFO"})
    made.created, made.msecs = 1767225600.0, 250.0
    vars(made).update(extra)
    return made


def test_text_is_a_sentence_and_its_fields() -> None:
    line = TextLines().format(record("A job %s", "ended", action="job_ended", job="5f0c"))
    assert line.startswith("2026-01-01T00:00:00.250Z INFO ")
    assert line.endswith(" A job ended action=job_ended job=5f0c")


def test_nobody_forges_a_line_or_a_field() -> None:
    moving = "a\n2026 ERROR\r\x1b[2K\x85\u2028\u202e\x00b"
    try:
        int(moving)
    except ValueError:
        made = record(f"Odd: {moving}", path=moving, name_="x y=z", exc_info=sys.exc_info())
    first, *rest = TextLines().format(made).splitlines()
    assert r"Odd: a\n2026 ERROR\r\x1b[2K\x85\u2028\u202e\x00b" in first
    assert first.endswith('name_="x y=z"')
    assert all(line.startswith("  ") for line in rest)
    assert first.isprintable()


def test_json_is_one_object_a_line() -> None:
    line = JsonLines().format(record("Zeile\neins", action="x", path=Exception("odd")))
    assert "\n" not in line
    fields = json.loads(line)
    assert (fields["message"], fields["action"], fields["path"]) == ("Zeile\neins", "x", "odd")
    assert fields["time"] == "2026-01-01T00:00:00.250Z"


@pytest.mark.parametrize("formatter", [TextLines(), JsonLines()])
def test_an_exception_is_told(formatter: logging.Formatter) -> None:
    try:
        int("seven")
    except ValueError:
        made = record("Failed", exc_info=sys.exc_info())
    assert "ValueError: invalid literal" in formatter.format(made)


@pytest.fixture
def restored() -> Iterator[None]:
    """Logging as it was before the test."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:], root.level = handlers, level


@pytest.mark.usefixtures("restored")
def test_libraries_are_quieter_than_we_are(capsys: pytest.CaptureFixture[str]) -> None:
    setup_logging(Settings(log_level="INFO", log_format="json"))
    logging.getLogger("workers").info("ours")
    logging.getLogger("kombu").info("theirs")
    logging.getLogger("celery.worker").warning("important")
    lines = [json.loads(line)["message"] for line in capsys.readouterr().err.splitlines()]
    assert lines == ["ours", "important"]
