"""Dialects know nothing of each other, and only the registry knows them. (The demo's
client, in ``infra``, signs as document e's clients do.)"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from api_shim.dialects.registry import PACKAGES

ROOT = Path(__file__).resolve().parents[2]


def imports(folder: str) -> Iterator[tuple[str, str]]:
    """(module, what it imports) of every module in a folder."""
    for file in sorted((ROOT / folder).rglob("*.py")):
        module = ".".join(file.relative_to(ROOT).with_suffix("").parts)
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.module:
                yield module, node.module
            elif isinstance(node, ast.Import):
                yield from ((module, name.name) for name in node.names)


def package_of(module: str) -> str | None:
    """The dialect that a module belongs to."""
    return next((each for each in PACKAGES if f"{module}.".startswith(f"{each}.")), None)


@pytest.mark.parametrize("floor", ["api_shim", "pipeline", "workers"])
def test_no_module_imports_a_dialect_but_its_own(floor: str) -> None:
    foreign = [
        (module, imported) for module, imported in imports(floor)
        if package_of(imported) not in (None, package_of(module))
    ]
    assert foreign == []
