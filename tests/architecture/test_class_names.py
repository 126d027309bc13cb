"""One class name, one meaning: no class is defined in two modules of the service."""

from __future__ import annotations

import ast
from collections import defaultdict
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FLOORS = ("infra", "api_shim", "workers", "pipeline")

# Names that an interface demands in several modules, each with its reason.
DEMANDED: dict[str, str] = {}


def test_no_class_name_means_two_things() -> None:
    modules: dict[str, list[str]] = defaultdict(list)
    for path in sorted(path for floor in FLOORS for path in (ROOT / floor).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ClassDef):
                modules[node.name].append(str(path.relative_to(ROOT)))
    shared = {name: found for name, found in modules.items() if len(found) > 1}

    assert {name: found for name, found in shared.items() if name not in DEMANDED} == {}
    assert DEMANDED.keys() <= shared.keys(), "a reason whose name is no longer shared"
