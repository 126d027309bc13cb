"""Manifests checked by kubeconform against the schemas that ``make deployment-tools`` installs."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import yaml

from tests.programs import find_deployment_tool


def kubeconform(manifests: str, version: str, folder: Path) -> str:
    """What kubeconform finds wrong with manifests in Kubernetes ``version``; empty: nothing.
    ``folder`` is an empty one."""
    for definition in find_deployment_tool("crds").iterdir():
        _write_schemas(yaml.safe_load(definition.read_text()), folder)
    done = subprocess.run(
        [
            find_deployment_tool("kubeconform"), "-strict", "-output", "json",
            "-schema-location",
            f"{find_deployment_tool(f'v{version}')}/{{{{.ResourceKind}}}}{{{{.KindSuffix}}}}.json",
            "-schema-location",
            f"{folder}/{{{{.ResourceKind}}}}_{{{{.ResourceAPIVersion}}}}.json",
            "-",
        ],
        input=manifests, capture_output=True, text=True, check=False, timeout=120,
    )
    found = json.loads(done.stdout).get("resources", []) if done.stdout else []
    if done.returncode and not found:
        return done.stderr or f"kubeconform ended with {done.returncode}"
    return "\n".join(f"{each['kind']} {each['name']}: {each['msg']}" for each in found)


def _write_schemas(definition: dict[str, Any], folder: Path) -> None:
    """Write each version of a CustomResourceDefinition as a JSON schema."""
    for version in definition["spec"]["versions"]:
        schema = _closed(version["schema"]["openAPIV3Schema"])
        name = f"{definition['spec']['names']['singular']}_{version['name']}.json"
        (folder / name).write_text(json.dumps(schema))


def _closed(schema: Any) -> Any:
    """The schema with every object that lists its properties closed to others, as the API server
    treats them."""
    if isinstance(schema, list):
        return [_closed(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    closed = {name: _closed(each) for name, each in schema.items()}
    if isinstance(closed.get("properties"), dict) and "type" in closed:
        closed.setdefault("additionalProperties", False)
    return closed
