"""docs/contracts.md: every route and every code of a document has its row, and every
row a test that is there."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

from api_shim.dialects.a import envelope as a_envelope
from api_shim.dialects.a.dialect import ApidFace
from api_shim.dialects.b import envelope as b_envelope
from api_shim.dialects.b.dialect import FacesAndGroups
from api_shim.dialects.base import Endpoint
from api_shim.dialects.c import envelope as c_envelope
from api_shim.dialects.c.dialect import Linkface
from api_shim.dialects.d import envelope as d_envelope
from api_shim.dialects.d.dialect import FaceSearch
from api_shim.dialects.e import envelope as e_envelope
from api_shim.dialects.e.dialect import Face2
from api_shim.dialects.registry import load_dialects

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "contracts.md"

# A row's first name in backticks is an operation or a code; others are about neither.
NAMED = re.compile(r"\*?`([^`]+)`\*?")


@dataclass(frozen=True)
class Document:
    """The names that a document's rows must have; ``later`` are those not served yet."""

    endpoints: tuple[Endpoint, ...]
    codes: Iterable[object]
    later: frozenset[str] = frozenset()

    @property
    def names(self) -> set[str]:
        routes = {
            f"{method} {endpoint.plain_path}"
            for endpoint in self.endpoints for method in endpoint.methods
        }
        return {*routes, *map(str, self.codes), *self.later}


DOCUMENTS = {
    "a": Document(
        ApidFace.endpoints,
        {a_envelope.SUCCESS, a_envelope.INTERNAL, *a_envelope.CODES.values()},
        frozenset({"POST /api/living", "8"}),
    ),
    "b": Document(
        FacesAndGroups.endpoints,
        {
            0, b_envelope.INTERNAL.code,
            *(answer.code for answer in b_envelope.ANSWERS.values()),
        },
    ),
    "c": Document(Linkface.endpoints, {each.name for each in c_envelope.EVERY_STATUS}),
    "d": Document(FaceSearch.endpoints, {each.name for each in d_envelope.EVERY_STATUS}),
    "e": Document(
        Face2.endpoints, {e_envelope.SUCCESS, e_envelope.INTERNAL, *e_envelope.CODES.values()}
    ),
}


@cache
def rows(letter: str) -> list[tuple[str, str]]:
    """(first cell, last cell) of a document's table, or of that of all documents."""
    title = f"Document {letter}" if letter in DOCUMENTS else letter
    _, found, section = PAGE.read_text("utf-8").partition(f"\n## {title}\n")
    assert found, f"no section {title}"
    section = section.partition("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("|")][2:]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return [(row[0], row[-1]) for row in cells]


def proofs(cell: str) -> Iterator[tuple[Path, str]]:
    """(file, function) of every test that a cell names; a name without a file is in the
    file before it, and a file without a name means all its tests."""
    file = None
    for named in re.findall("`([^`]+)`", cell):
        before, _, test = named.rpartition("::")
        if not before and test.endswith(".py"):
            before, test = test, ""
        if before:
            file = ROOT / (before if "/" in before else f"tests/acceptance/{before}")
        assert file is not None, f"{cell!r} begins without a file"
        yield file, test


@cache
def functions(file: Path) -> set[str]:
    tree = ast.parse(file.read_text("utf-8"))
    return {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


@pytest.mark.parametrize("letter", DOCUMENTS)
def test_every_route_and_every_code_has_its_row(letter: str) -> None:
    first = [NAMED.match(cell) for cell, _ in rows(letter)]
    named = [match[1] for match in first if match]
    assert sorted(named) == sorted(DOCUMENTS[letter].names)


@pytest.mark.parametrize("letter", [*DOCUMENTS, "All documents"])
def test_every_row_names_tests_that_are_there(letter: str) -> None:
    for name, cell in rows(letter):
        tests = list(proofs(cell))
        assert tests, f"{name} has no test"
        for file, test in tests:
            assert file.is_file(), f"{name}: there is no {file.relative_to(ROOT)}"
            found = functions(file)
            assert test in found if test else any(each.startswith("test_") for each in found), (
                f"{name}: {file.name} has no {test}"
            )


def test_every_dialect_that_is_served_has_its_section() -> None:
    assert {dialect.letter for dialect in load_dialects()} == set(DOCUMENTS)
