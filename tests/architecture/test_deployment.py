"""Compose, image and make name only commands and settings that exist."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import typer.main
import yaml

from infra.cli.main import app
from infra.cli.settings import variable
from pipeline.config.settings import Settings
from pipeline.operations import Stage

ROOT = Path(__file__).resolve().parents[2]
COMPOSE = ROOT / "infra" / "compose" / "compose.yaml"
EXAMPLE = ROOT / "infra" / "compose" / "example.env"
DOCKERFILE = ROOT / "infra" / "docker" / "Dockerfile"

OTHERS = {"redis", "postgres", "minio"}

# `${NAME}`, `${NAME:-default}`, `${NAME:?why}`
REFERENCE = re.compile(r"\$\{([A-Z_]+)(:-|:\?)?")


@pytest.fixture(scope="module")
def services() -> dict[str, Any]:
    """The services of the compose file, by name."""
    found: dict[str, Any] = yaml.safe_load(COMPOSE.read_text())["services"]
    return found


def options_of(words: list[str]) -> set[str]:
    """The options of the command that ``words`` begin with; fails when there is none."""
    command: Any = typer.main.get_command(app)
    for word in words:
        if not hasattr(command, "commands"):
            break
        command = command.get_command(None, word)
        assert command is not None, f"`faceline {' '.join(words)}` is no command"
    return {name for parameter in command.params for name in parameter.opts}


def test_compose_starts_everything_that_a_fleet_has(services: dict[str, Any]) -> None:
    assert set(services) == OTHERS | set(Stage) | {"init", "shim", "reconciler", "webhooks"}


def test_compose_runs_commands_that_exist(services: dict[str, Any]) -> None:
    for name in set(services) - OTHERS:
        words = services[name]["command"]
        options = options_of(words)
        assert {word for word in words if word.startswith("--")} <= options, name


def test_compose_names_services_and_volumes_that_exist(services: dict[str, Any]) -> None:
    kept = yaml.safe_load(COMPOSE.read_text())["volumes"]
    for service in services.values():
        assert set(service.get("depends_on", {})) <= set(services)
        named = {str(volume).split(":")[0] for volume in service.get("volumes", [])}
        assert {name for name in named if name.isalpha()} <= set(kept)


def test_each_stage_has_a_worker_service(services: dict[str, Any]) -> None:
    for stage in Stage:
        assert services[stage]["command"] == ["worker", "--stages", stage]


def test_compose_and_image_set_settings_that_exist(services: dict[str, Any]) -> None:
    known = {variable(name) for name in Settings.model_fields}
    used = set(re.findall(r"^\s+(FACELINE_\w+)=", DOCKERFILE.read_text(), re.MULTILINE))
    for name in set(services) - OTHERS:
        used |= set(services[name]["environment"])

    assert {name for name in used if name.startswith("FACELINE_")} <= known


def test_what_compose_asks_for_stands_in_the_example(services: dict[str, Any]) -> None:
    explained = set(re.findall(r"^([A-Z_]+)=", EXAMPLE.read_text(), re.MULTILINE))
    required = {
        name for name, kind in REFERENCE.findall(COMPOSE.read_text()) if kind != ":-"
    }

    assert required <= explained


def test_no_secret_has_a_value_in_the_example() -> None:
    secrets = re.findall(r"^[A-Z_]*(?:PASSWORD|KEY)=(.*)$", EXAMPLE.read_text(), re.MULTILINE)

    assert secrets == [""] * 4


def test_every_process_is_confined(services: dict[str, Any]) -> None:
    for name in set(services) - OTHERS:
        assert services[name]["read_only"], name
        assert services[name]["cap_drop"] == ["ALL"], name


def test_other_servers_say_when_they_are_ready(services: dict[str, Any]) -> None:
    assert all("healthcheck" in services[name] for name in OTHERS | {"shim"})


def test_redis_refuses_instead_of_forgetting(services: dict[str, Any]) -> None:
    command = services["redis"]["command"]

    assert "--maxmemory-policy noeviction" in command
    assert "--appendonly yes" in command


def test_readme_and_make_name_commands_that_exist() -> None:
    pages = [ROOT / "Makefile", *ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")]
    for page in pages:
        text = re.sub(r"```.*?```", lambda block: block[0].replace("`", "\n"), page.read_text(),
                      flags=re.DOTALL)
        for found in re.findall(r"(?:^|`|/)faceline ((?:--data-dir \S+ )?[a-z][^`\n#|]*)", text):
            words = found.split()
            if words[:1] == ["--data-dir"]:
                words = words[2:]
            options = options_of([word for word in words if re.fullmatch("[a-z]+", word)] or [""])
            asked = {word for word in words if word.startswith("--")}
            assert asked <= options | {"--help"}, f"{page.name}: faceline {found}"
