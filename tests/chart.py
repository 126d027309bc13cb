"""The Helm chart of ``infra/k8s``, as Helm renders it."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tests.programs import find_deployment_tool

CHART = Path(__file__).resolve().parents[1] / "infra" / "k8s" / "faceline"

# Sets of values, each with all that its name says.
VALUES = {path.name.removesuffix("-values.yaml"): path for path in (CHART / "ci").glob("*.yaml")}

Manifest = dict[str, Any]


def helm(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """``helm ARGUMENTS``, without an environment of the user's."""
    return subprocess.run(
        [find_deployment_tool("helm"), *arguments], capture_output=True, text=True, check=False,
        timeout=120,
    )


def render(*values: Path, set_values: Sequence[str] = ()) -> str:
    """The chart's manifests as text. Raises ``ValueError`` with Helm's words."""
    options: list[str | Path] = []
    for path in values:
        options += ["--values", path]
    for pair in set_values:
        options += ["--set", pair]
    done = helm("template", "face", CHART, "--namespace", "faces", *options)
    if done.returncode:
        raise ValueError(done.stderr)
    return done.stdout


@dataclass(frozen=True, slots=True)
class PodTemplate:
    """The pods of one manifest."""

    component: str
    labels: dict[str, str]
    spec: dict[str, Any]
    lasting: bool

    @property
    def containers(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.spec["containers"]
        return found + list(self.spec.get("initContainers", []))

    def environment(self) -> dict[str, dict[str, Any]]:
        """The variables of all containers by name."""
        return {each["name"]: each for one in self.containers for each in one["env"]}


@dataclass(frozen=True, slots=True)
class Release:
    """The manifests of one set of values."""

    manifests: list[Manifest]

    @classmethod
    def of(cls, *values: Path, set_values: Sequence[str] = ()) -> Release:
        text = render(*values, set_values=set_values)
        return cls([found for found in yaml.safe_load_all(text) if found])

    def kind(self, kind: str) -> list[Manifest]:
        return [found for found in self.manifests if found["kind"] == kind]

    def pods(self) -> Iterator[PodTemplate]:
        for found in self.manifests:
            if found["kind"] in ("Deployment", "Job"):
                template = found["spec"]["template"]
                yield _pods(template, lasting=found["kind"] == "Deployment")
            elif found["kind"] == "Pod":
                yield _pods(found, lasting=False)

    def component(self, name: str) -> PodTemplate:
        (found,) = (pods for pods in self.pods() if pods.component == name)
        return found


def _pods(template: Manifest, *, lasting: bool) -> PodTemplate:
    labels = template["metadata"]["labels"]
    return PodTemplate(
        labels["app.kubernetes.io/component"], labels, template["spec"], lasting
    )
