"""Manifests checked by kubeconform against the schemas that ``make deployment-tools`` installs."""

from __future__ import annotations

import functools
import json
import re
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import yaml

from tests.programs import find_deployment_tool

# Kinds of Kubernetes itself that the chart may have, and the files of their schemas.
KINDS = {
    "Deployment": "deployment-apps-v1", "Job": "job-batch-v1", "Pod": "pod-v1",
    "ConfigMap": "configmap-v1", "Service": "service-v1",
    "Ingress": "ingress-networking-v1",
    "NetworkPolicy": "networkpolicy-networking-v1",
    "PodDisruptionBudget": "poddisruptionbudget-policy-v1",
}


def kubeconform(manifests: str, version: str) -> str:
    """What kubeconform finds wrong with manifests in Kubernetes ``version``; empty: nothing. A kind
    without a schema is wrong, too."""
    done = subprocess.run(
        [
            find_deployment_tool("kubeconform"), "-strict", "-output", "json", "-schema-location",
            f"{_schemas(version)}/{{{{.ResourceKind}}}}{{{{.KindSuffix}}}}.json", "-",
        ],
        input=manifests, capture_output=True, text=True, check=False, timeout=120,
    )
    found = json.loads(done.stdout).get("resources", []) if done.stdout else []
    if done.returncode and not found:
        return done.stderr or f"kubeconform ended with {done.returncode}"
    return "\n".join(f"{each['kind']} {each['name']}: {each['msg']}" for each in found)


@functools.cache
def _schemas(version: str) -> str:
    """A folder with the schemas of all kinds, each whole in its file."""
    folder = tempfile.TemporaryDirectory(prefix="faceline-schemas-")
    _folders.append(folder)
    source = find_deployment_tool(f"v{version}")
    definitions = json.loads(_local((source / "_definitions.json").read_text()))["$defs"]
    for name in KINDS.values():
        schema = json.loads(_local((source / f"{name}.json").read_text()))
        whole = {**schema, "definitions": _needed(schema, definitions)}
        Path(folder.name, f"{name}.json").write_text(json.dumps(whole))
    for definition in find_deployment_tool("crds").iterdir():
        _write_schemas(yaml.safe_load(definition.read_text()), Path(folder.name))
    return folder.name


_folders: list[tempfile.TemporaryDirectory[str]] = []


def _needed(schema: Any, definitions: dict[str, Any]) -> dict[str, Any]:
    """The definitions that a schema refers to, and those that they refer to."""
    found: dict[str, Any] = {}
    waiting = [schema]
    while waiting:
        for name in re.findall(r'"#/definitions/([^"]+)"', json.dumps(waiting.pop())):
            if name not in found:
                found[name] = definitions[name]
                waiting.append(definitions[name])
    return found


def _local(text: str) -> str:
    """The text of a schema whose references stay within it."""
    return text.replace('"/api/_definitions.json#/$defs/', '"#/definitions/').replace(
        '"#/$defs/', '"#/definitions/'
    )


def _write_schemas(definition: dict[str, Any], folder: Path) -> None:
    """Write each version of a CustomResourceDefinition as a JSON schema."""
    group = str(definition["spec"]["group"]).partition(".")[0]
    for version in definition["spec"]["versions"]:
        schema = _closed(version["schema"]["openAPIV3Schema"])
        name = f"{definition['spec']['names']['singular']}-{group}-{version['name']}.json"
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
