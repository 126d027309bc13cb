"""One class name, one meaning: no class is defined in two modules of the service, nor of its
client."""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FLOORS = ("infra", "api_shim", "workers", "pipeline")

# Names that an interface demands in several modules, each with its reason.
DEMANDED: dict[str, str] = {}


# The client: a distribution of its own, in whose names users think.
SDK = ROOT / "infra" / "sdk"


def shared_names(paths: Iterable[Path]) -> dict[str, list[str]]:
    """Names of classes that several modules define, with the modules."""
    modules: dict[str, list[str]] = defaultdict(list)
    for path in sorted(paths):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ClassDef):
                modules[node.name].append(str(path.relative_to(ROOT)))
    return {name: found for name, found in modules.items() if len(found) > 1}


def test_no_class_name_means_two_things() -> None:
    paths = (path for floor in FLOORS for path in (ROOT / floor).rglob("*.py"))
    shared = shared_names(path for path in paths if not path.is_relative_to(SDK))

    assert {name: found for name, found in shared.items() if name not in DEMANDED} == {}
    assert DEMANDED.keys() <= shared.keys(), "a reason whose name is no longer shared"


def test_no_class_name_of_the_client_means_two_things() -> None:
    assert shared_names(SDK.rglob("*.py")) == {}
