"""The OpenAPI document as others read it: a validator, redocly's rules, a reviewed copy."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator

from tests.openapi_snapshot import SNAPSHOT, as_text, difference, served_document
from tests.programs import find_redocly

LINT_S = 120.0


@pytest.fixture(scope="module")
def document(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return served_document(tmp_path_factory.mktemp("openapi"))


def test_it_is_valid(document: dict[str, Any]) -> None:
    errors = [error.message for error in OpenAPIV31SpecValidator(document).iter_errors()]
    assert errors == []


def test_it_is_what_was_reviewed(document: dict[str, Any]) -> None:
    reviewed, served = SNAPSHOT.read_text(), as_text(document) + "\n"
    assert served == reviewed, (
        "The API's description changed. If that is meant, run `make openapi`, review the "
        f"difference and commit it.\n{difference(reviewed, served)}"
    )


def test_redocly_finds_no_error(document: dict[str, Any], tmp_path: Path) -> None:
    """The rules of redocly's set `recommended`."""
    redocly = find_redocly()
    (tmp_path / "openapi.json").write_text(json.dumps(document))
    linted = subprocess.run(
        [redocly, "lint", "openapi.json", "--extends=recommended", "--format=stylish"],
        cwd=tmp_path, capture_output=True, text=True, timeout=LINT_S, check=False,
        env={**os.environ, "REDOCLY_TELEMETRY": "off", "REDOCLY_SUPPRESS_UPDATE_NOTICE": "true"},
    )
    assert linted.returncode == 0, linted.stdout + linted.stderr


def test_a_difference_is_shown_and_cut() -> None:
    reviewed = as_text({"paths": {f"/{number}": {"get": {}} for number in range(200)}})
    served = as_text({"paths": {f"/{number}": {"put": {}} for number in range(200)}})

    assert difference(reviewed, reviewed) == ""
    shown = difference(reviewed, served).splitlines()
    assert any(line.startswith("-") and "get" in line for line in shown)
    assert shown[-1].endswith("more lines")
    assert json.loads(served)["paths"]["/7"] == {"put": {}}
