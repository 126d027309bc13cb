"""``docs/security.md`` names code, tests and settings that exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from pipeline.config.settings import Settings

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "security.md").read_text()

# The names in backquotes, which a line break may cut.
NAMED = {re.sub(r"\s+", "", named) for named in re.findall(r"`([^`]+)`", PAGE)}
FOLDERS = ("tests/", "api_shim/", "pipeline/", "workers/", "infra/")


def test_no_section_is_empty() -> None:
    for section in PAGE.split("\n## ")[1:]:
        title, _, text = section.partition("\n")
        assert len(text.split()) > 20, title


@pytest.mark.parametrize("named", sorted(name for name in NAMED if name.startswith(FOLDERS)))
def test_files_are_there(named: str) -> None:
    path, _, test = named.partition("::")
    assert (ROOT / path).exists()
    assert not test or f"def {test}(" in (ROOT / path).read_text()


def test_tests_are_there() -> None:
    known = {
        name
        for path in (ROOT / "tests").rglob("test_*.py")
        for name in [path.name, *re.findall(r"def (test_\w+)\(", path.read_text())]
    }
    named = {part for name in NAMED for part in name.split("::") if part.startswith("test_")}
    assert named <= known


def test_settings_are_there() -> None:
    named = {name.partition("=")[0] for name in NAMED if name.startswith("FACELINE_")}
    assert named
    assert named <= {f"FACELINE_{name.upper()}" for name in Settings.model_fields}


def test_links_lead_somewhere() -> None:
    titles = {
        re.sub(r"[^\w -]", "", title).lower().replace(" ", "-")
        for title in re.findall(r"^#+ (.+)$", PAGE, re.MULTILINE)
    }
    for target in re.findall(r"\]\(([^)]+)\)", PAGE):
        path, _, anchor = target.partition("#")
        assert not path or (ROOT / "docs" / path).exists(), target
        assert path or anchor in titles, target
