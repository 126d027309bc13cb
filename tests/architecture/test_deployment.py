"""Compose, image and make name only commands and settings that exist."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import typer.main
import yaml

from infra.cli.main import app
from pipeline.config.described import variable
from pipeline.config.settings import Settings
from pipeline.operations import FUSED_STAGES, Stage
from tests.programs import find_deployment_tool

ROOT = Path(__file__).resolve().parents[2]
COMPOSE = ROOT / "infra" / "compose" / "compose.yaml"
EXAMPLE = ROOT / "infra" / "compose" / "example.env"
DOCKERFILE = ROOT / "infra" / "docker" / "Dockerfile"

# Programs of others, and what prepares one of them.
SERVERS = {"redis", "postgres", "s3", "proxy"}
OTHERS = SERVERS | {"bucket"}

# `${NAME}`, `${NAME:-default}`, `${NAME:?why}`
REFERENCE_WITH_DEFAULT = re.compile(r"\$\{([A-Z0-9_]+)(?::-([^}]*)|:\?[^}]*)\}")
REFERENCE = re.compile(r"\$\{([A-Z0-9_]+)(:-|:\?)?")


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
    assert set(services) == OTHERS | set(Stage) | {
        "init", "shim", "worker", "upkeep", "webhooks"
    }


def test_compose_starts_fused_workers_unless_asked(services: dict[str, Any]) -> None:
    alone = {name for name in services if "profiles" not in services[name]}
    assert alone == SERVERS - {"proxy"} | {
        "bucket", "init", "shim", "worker", "bulk", "index", "upkeep"
    }
    assert services["worker"]["command"] == ["worker"]
    for stage in FUSED_STAGES:
        assert services[stage]["profiles"] == ["stages"]


def test_compose_runs_commands_that_exist(services: dict[str, Any]) -> None:
    for name in set(services) - OTHERS:
        words = services[name]["command"]
        options = options_of(words)
        assert {word for word in words if word.startswith("--")} <= options, name
        if (check := services[name].get("healthcheck")) is not None:
            _, program, *words = check["test"]
            assert program == "faceline"
            assert {word for word in words if word.startswith("--")} <= options_of(words), name


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
    explained = set(re.findall(r"^([A-Z0-9_]+)=", EXAMPLE.read_text(), re.MULTILINE))
    required = {
        name for name, kind in REFERENCE.findall(COMPOSE.read_text()) if kind != ":-"
    }

    assert required <= explained


def test_no_secret_has_a_value_in_the_example() -> None:
    lines = re.findall(r"^([A-Z0-9_]+)=(.*)$", EXAMPLE.read_text(), re.MULTILINE)
    secrets = {name: value for name, value in lines
               if name.endswith(("PASSWORD", "KEY")) and not name.endswith("ACCESS_KEY")}

    assert len(secrets) == 7
    assert not any(secrets.values())


def test_every_container_is_confined_and_bounded(services: dict[str, Any]) -> None:
    for name, service in services.items():
        assert service["read_only"], name
        assert service["cap_drop"] == ["ALL"], name
        assert "cap_add" not in service, name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert service["mem_limit"], name
        assert service["pids_limit"], name
        assert service["ulimits"] == {"core": 0}, name
        assert set(service["logging"]["options"]) == {"max-size", "max-file"}, name


def test_every_lasting_service_says_how_it_is(services: dict[str, Any]) -> None:
    assert all("healthcheck" in services[name] for name in set(services) - {"init", "bucket"})


def test_only_the_proxy_listens_to_the_world(services: dict[str, Any]) -> None:
    ports = {name: service["ports"] for name, service in services.items() if "ports" in service}
    assert set(ports) == {"shim", "proxy"}
    assert all(port.startswith("127.0.0.1:") for port in ports["shim"])


def test_only_two_processes_reach_strangers(services: dict[str, Any]) -> None:
    networks = yaml.safe_load(COMPOSE.read_text())["networks"]
    assert networks["inside"]["internal"] is True
    outward = {name for name in services if "outside" in services[name]["networks"]}
    assert outward == {"fetch", "webhooks"}
    inward = {name for name in services if set(services[name]["networks"]) == {"inside"}}
    assert set(services) - inward == {"fetch", "webhooks", "shim", "proxy"}


def test_the_sender_of_webhooks_has_the_database_alone(services: dict[str, Any]) -> None:
    secrets = {"BROKER", "MEDIA", "REDIS"}
    assert not [
        name for name in services["webhooks"]["environment"]
        if secrets & set(name.split("_"))
    ]
    assert services["webhooks"]["volumes"] == []


def test_the_worker_that_fetches_has_no_master_key(services: dict[str, Any]) -> None:
    keys = {name: value for name, value in services["fetch"]["environment"].items()
            if "MASTER" in name}
    # The key's own variable stays out; the operator may give one for encrypted applications.
    assert keys == {"FACELINE_MASTER_KEY": "${FACELINE_FETCH_MASTER_KEY:-}"}
    assert services["fetch"]["volumes"] == []
    for name in ("shim", "worker", "index", "upkeep"):
        assert "FACELINE_MASTER_KEY:?" in services[name]["environment"]["FACELINE_MASTER_KEY"]


def test_the_service_is_no_administrator(services: dict[str, Any]) -> None:
    for name in set(services) - OTHERS:
        text = str(services[name]["environment"])
        assert "//faceline:${FACELINE_DATABASE_PASSWORD" in text, name
        assert "POSTGRES_PASSWORD" not in text, name
        assert "S3_ADMIN" not in text, name


def test_images_of_others_name_a_version() -> None:
    images = re.findall(r"^ +image: (?:&\S+ )?(\S+)$", COMPOSE.read_text(), re.MULTILINE)
    images += re.findall(r"^FROM (\S+)", DOCKERFILE.read_text(), re.MULTILINE)
    images = [each for each in images if not each.startswith(("faceline:", "*"))]
    assert len(images) == 6
    for image in images:
        assert re.search(r":[A-Za-z.-]*\d+\.?[\d.-]+", image), image
        assert "latest" not in image


def test_the_loader_of_docker_compose_takes_the_file(tmp_path: Path) -> None:
    lines = re.findall(r"^([A-Z0-9_]+)=(.*)$", EXAMPLE.read_text(), re.MULTILINE)
    settings = {name: value or "x" for name, value in lines}
    text = REFERENCE_WITH_DEFAULT.sub(
        lambda found: settings.get(found[1], found[2]), COMPOSE.read_text()
    )
    filled = tmp_path / "compose.yaml"
    filled.write_text(text)
    done = subprocess.run(
        [find_deployment_tool("compose-config"), "-format", "json", filled], cwd=tmp_path,
        env={"PATH": os.defpath}, capture_output=True, text=True, check=False, timeout=60,
    )
    assert done.returncode == 0, done.stderr
    project = json.loads(done.stdout)
    assert set(project["services"]) == set(yaml.safe_load(text)["services"])
    assert "$" not in done.stdout


def test_prometheus_is_told_every_service(services: dict[str, Any]) -> None:
    scrape = yaml.safe_load((ROOT / "infra" / "prometheus" / "prometheus.yml").read_text())
    named = {
        name for config in scrape["scrape_configs"]
        for found in config.get("dns_sd_configs", []) for name in found["names"]
    }
    assert named == set(services) - OTHERS - {"init"}


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
            named = [word for word in words if re.fullmatch("[a-z]+(?:-[a-z]+)*", word)]
            options = options_of(named)
            asked = {word for word in words if word.startswith("--")}
            assert asked <= options | {"--help"}, f"{page.name}: faceline {found}"
