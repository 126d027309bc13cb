"""The package `faceline-client`: it stands alone, and its two clients are one."""

from __future__ import annotations

import ast
import inspect
import sys
from pathlib import Path

import faceline_client as sdk
import pytest
from faceline_client import async_client, client, operations
from faceline_client import errors as errors_module

ROOT = Path(__file__).resolve().parents[3]
SDK = ROOT / "infra" / "sdk" / "python"

# What the package and its examples may import beside the standard library.
NEEDS = {"faceline_client", "httpx"}
EXAMPLES_NEED = NEEDS | {"PIL"}


def imports_of(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {each.name.partition(".")[0] for each in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0
            found.add((node.module or "").partition(".")[0])
    return found - set(sys.stdlib_module_names)


@pytest.mark.parametrize(
    ("folder", "allowed"), [("faceline_client", NEEDS), ("examples", EXAMPLES_NEED)]
)
def test_it_imports_nothing_of_the_service(folder: str, allowed: set[str]) -> None:
    sources = sorted((SDK / folder).rglob("*.py"))

    assert sources
    assert {path.name: imports_of(path) - allowed for path in sources} == {
        path.name: set() for path in sources
    }


def described() -> set[str]:
    """The functions of ``operations``."""
    return {
        name for name, value in vars(operations).items()
        if inspect.isfunction(value) and value.__module__ == operations.__name__
        and not name.startswith("_")
    }


def public(kind: type) -> set[str]:
    return {name for name in vars(kind) if not name.startswith("_")}


def test_both_clients_have_a_method_for_every_operation() -> None:
    own = {
        "from_environment", "run", "submit", "job", "wait", "job_status", "watch_batch",
        "iter_faces", "iter_batch_items",
    }

    assert public(sdk.Client) == described() | own | {"close"}
    assert public(sdk.AsyncClient) == described() | own | {"aclose"}
    assert public(client.Job) == public(async_client.AsyncJob)


@pytest.mark.parametrize("name", sorted(described()))
def test_a_method_takes_and_says_what_its_operation_does(name: str) -> None:
    describe = getattr(operations, name)
    known = sdk.Client("http://face.example", sdk.Credentials(api_key="k"))
    with known:
        method = getattr(known, name)

    assert inspect.signature(method) == inspect.signature(describe)
    assert method.__doc__ == describe.__doc__
    assert method.__doc__
    assert "Operation[" in str(inspect.signature(describe).return_annotation)


def test_every_error_is_in_the_tree_that_is_drawn() -> None:
    drawn = (errors_module.__doc__ or "").split()
    kinds = {
        name for name, value in vars(errors_module).items()
        if inspect.isclass(value) and issubclass(value, sdk.FacelineError)
    }

    assert kinds - set(drawn) == set()
    assert kinds <= set(sdk.__all__)


def test_operations_are_values() -> None:
    operation = operations.list_faces(limit=3)

    assert operation.name == "list_faces"
    assert operation == operation.with_key(operation.key)
