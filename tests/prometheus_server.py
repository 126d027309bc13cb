"""A real Prometheus with the files of ``infra/prometheus`` over processes of this machine.

Time runs faster in it: it scrapes twice a second. Of the times for which a cause must last each
minute is a second, of the ranges that are looked at ten: a cause that takes its time on a busy
machine is still seen as a whole.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import requests
import yaml

from tests.programs import find_prometheus
from tests.servers import Server

FILES = Path(__file__).resolve().parents[1] / "infra" / "prometheus"

SCRAPE_S = 0.5

_MINUTES = {"s": 1 / 60, "m": 1.0, "h": 60.0, "d": 1440.0}


def hastened(text: str) -> str:
    """Rules with shorter times."""

    def shorter(found: re.Match[str]) -> str:
        seconds = int(found[2]) * _MINUTES[found[3]] * (10 if found[1] == "[" else 1)
        return f"{found[1]}{round(1000 * seconds)}ms"

    return re.sub(r"(\[|for: )(\d+)([smhd])\b", shorter, text)


class PrometheusServer(Server):
    """Scrapes ``targets``: the ports of processes, by their names in the label ``instance``."""

    name = "prometheus"

    def __init__(self, targets: Mapping[str, int]) -> None:
        self._program, _ = find_prometheus()
        super().__init__()
        settings = yaml.safe_load((FILES / "prometheus.yml").read_text())
        settings["global"] = dict.fromkeys(settings["global"], f"{1000 * SCRAPE_S:.0f}ms")
        (job,) = settings["scrape_configs"]
        # All that an operator would change elsewhere: how the targets are found.
        del job["dns_sd_configs"]
        job["static_configs"] = [
            {"targets": [f"127.0.0.1:{port}"], "labels": {"instance": name}}
            for name, port in targets.items()
        ]
        job["scrape_timeout"] = f"{1000 * SCRAPE_S:.0f}ms"
        (self.directory / "prometheus.yml").write_text(yaml.safe_dump(settings))
        (self.directory / "rules").mkdir()
        rules = hastened((FILES / "rules" / "faceline.yml").read_text())
        (self.directory / "rules" / "faceline.yml").write_text(rules)

    def command(self) -> Sequence[str | Path]:
        return [
            self._program, f"--config.file={self.directory}/prometheus.yml",
            f"--storage.tsdb.path={self.directory}/data", "--log.level=warn",
            f"--web.listen-address=127.0.0.1:{self.port}",
        ]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def ready(self) -> bool:
        try:
            return requests.get(f"{self.url}/-/ready", timeout=5).status_code == 200
        except requests.ConnectionError:
            return False

    def query(self, expression: str) -> list[Any]:
        """The series of an instant query."""
        answer = requests.get(
            f"{self.url}/api/v1/query", params={"query": expression}, timeout=10
        ).json()
        assert answer["status"] == "success", answer
        found = answer["data"]["result"]
        return found if answer["data"]["resultType"] == "vector" else [found]

    def healthy(self) -> set[str]:
        """The targets that answer, by ``instance``."""
        answer = requests.get(f"{self.url}/api/v1/targets", timeout=10).json()
        return {
            target["labels"]["instance"] for target in answer["data"]["activeTargets"]
            if target["health"] == "up"
        }

    def firing(self) -> set[str]:
        """The names of the alerts that fire."""
        answer = requests.get(f"{self.url}/api/v1/alerts", timeout=10).json()
        return {
            alert["labels"]["alertname"] for alert in answer["data"]["alerts"]
            if alert["state"] == "firing"
        }
