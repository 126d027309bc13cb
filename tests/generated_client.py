"""A client that openapi-python-client writes from the service's own description.

    client = GeneratedClient(folder, stack.url, api_key)
    answer = client.call("enrolFace", {"image": ...})

A test names the operation and the fields; the types of requests and answers are the generated
ones.
"""

from __future__ import annotations

import importlib
import inspect
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from tests.programs import find_client_generator

GENERATE_S = 120.0
CALL_S = 60.0

# One package in one test process: a second one would get the first one's modules.
PACKAGE = "generated_faceline_client"

Media = Literal["json", "form", "multipart"]

# The argument of httpx in which the generated code puts a body of this kind.
_ARGUMENTS: dict[Media, str] = {"json": "json", "form": "data", "multipart": "files"}


@dataclass(frozen=True)
class Answer:
    """``content`` is the content of the client's typed answer."""

    status: int
    content: dict[str, Any]


class GeneratedClient:
    """Writes the package into ``folder`` and imports it."""

    def __init__(self, folder: Path, url: str, api_key: str) -> None:
        generate(f"{url}/openapi.json", folder)
        self._package = folder / PACKAGE
        sys.path.insert(0, str(folder))
        self._client = importlib.import_module(PACKAGE).AuthenticatedClient(
            base_url=url, token=api_key, prefix="", auth_header_name="X-API-Key", timeout=CALL_S
        )

    def close(self) -> None:
        self._client.get_httpx_client().close()

    def call(self, operation_id: str, fields: dict[str, Any], media: Media = "json") -> Answer:
        """One call whose body has these fields; a file's value is its bytes."""
        (file,) = self._package.glob(f"api/*/{_snake(operation_id)}.py")
        operation = importlib.import_module(f"{PACKAGE}.api.{file.parent.name}.{file.stem}")
        body = _body_type(operation, media).from_dict(fields)
        response = operation.sync_detailed(client=self._client, body=body)
        assert response.parsed is not None, (response.status_code, response.content)
        return Answer(int(response.status_code), response.parsed.to_dict())


def generate(document_url: str, folder: Path) -> None:
    """Raises ``AssertionError`` with the generator's message, also for a warning: it means
    that the client lacks an operation."""
    # Without hooks: the generator would run ruff over its output.
    (folder / "config.yml").write_text(f"package_name_override: {PACKAGE}\npost_hooks: []\n")
    made = subprocess.run(
        [find_client_generator(), "generate", "--url", document_url, "--meta", "none",
         "--config", "config.yml", "--output-path", PACKAGE, "--fail-on-warning"],
        cwd=folder, capture_output=True, text=True, timeout=GENERATE_S, check=False,
    )
    assert made.returncode == 0, made.stdout + made.stderr


def _body_type(operation: Any, media: Media) -> Any:
    """The type of the operation's body that is sent as ``media``."""
    source = inspect.getsource(operation._get_kwargs)
    branches = re.findall(r"isinstance\(body, (\w+)\):\s+_kwargs\[\"(\w+)\"\]", source)
    names = [name for name, argument in branches if argument == _ARGUMENTS[media]]
    # An operation with one kind of body has no branches.
    (name,) = names or re.findall(r"body: *(\w+)", source)
    return getattr(operation, name)


def _snake(name: str) -> str:
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()
