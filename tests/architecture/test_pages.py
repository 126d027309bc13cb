"""The pages of the project lead somewhere, and name files that exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = [*sorted(ROOT.glob("*.md")), *sorted(ROOT.glob("docs/**/*.md"))]
NAMES = [str(page.relative_to(ROOT)) for page in PAGES]

# A path in backquotes, with or without the name of a test. LETTER and NAME stand for any.
FILE = re.compile(r"`((?:pipeline|workers|api_shim|infra|tests|docs)/[a-z0-9_./-]*)(?:::\w+)?`")


def anchors(page: Path) -> set[str]:
    """The places of a page that a link can name, as the usual hosts make them."""
    text = page.read_text("utf-8")
    titles = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    made = {re.sub(r"[^\w -]", "", title).lower().replace(" ", "-") for title in titles}
    return made | set(re.findall(r'<a id="([^"]+)"', text))


@pytest.mark.parametrize("name", NAMES)
def test_links_lead_somewhere(name: str) -> None:
    page = ROOT / name
    broken = []
    for target in re.findall(r"\]\((?!https?:)([^)\s]+)\)", page.read_text("utf-8")):
        path, _, anchor = target.partition("#")
        file = page.parent / path if path else page
        if not file.exists() or (anchor and anchor not in anchors(file)):
            broken.append(target)

    assert broken == []


@pytest.mark.parametrize("name", NAMES)
def test_files_that_are_named_exist(name: str) -> None:
    named = FILE.findall((ROOT / name).read_text("utf-8"))

    assert [path for path in named if not (ROOT / path).exists()] == []


def test_every_decision_is_in_the_index() -> None:
    folder = ROOT / "docs" / "decisions"
    pages = {page.name for page in folder.glob("*.md")} - {"README.md"}

    assert set(re.findall(r"\]\((\d{4}-[\w-]+\.md)\)", (folder / "README.md").read_text())) == pages


def test_every_part_of_the_domain_is_in_the_architecture() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text("utf-8")
    parts = [
        path.name + "/" * path.is_dir()
        for path in (ROOT / "pipeline").iterdir()
        if path.name[0].islower() and (path.suffix == ".py" or (path / "__init__.py").exists())
    ]

    assert [p for p in parts if f"`{p}`" not in page and f"pipeline/{p}`" not in page] == []


def test_log_actions_that_are_named_exist() -> None:
    named = {
        action
        for page in PAGES
        for action in re.findall(r'"action": "(\w+)"', page.read_text("utf-8"))
    }
    code = "".join(
        path.read_text("utf-8")
        for layer in ("infra", "api_shim", "workers", "pipeline")
        for path in (ROOT / layer).rglob("*.py")
    )

    assert named
    assert [action for action in sorted(named) if f'"action": "{action}"' not in code] == []
