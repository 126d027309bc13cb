"""What a deployment says about itself: every signal that an operator, a balancer or an alert
reads.

    signals = Signals(stack)
    signals.wait(readyz="no space left", doctor="no space left")

The seconds that each took are properties of the test in the report of ``pytest --junit-xml``.
``FACELINE_SIGNALS_WITHIN_S=10`` makes a signal that takes longer fail the test; without it, no
clock decides.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Sequence

import pytest
import requests

from tests.stack import Stack

ASK_EVERY_S = 0.2

TIMEOUT_S = 90.0  # on a machine that is busy with other work


class Signals:
    """The signals of a service whose shim listens at ``url``; ``metrics_ports`` are those of the
    processes whose metrics are read, ``settings`` those of the host on which `faceline doctor` is
    run, beside the service's own."""

    def __init__(
        self, stack: Stack, request: pytest.FixtureRequest, url: str | None = None,
        metrics_ports: Sequence[int] = (), **settings: object,
    ) -> None:
        self._stack = stack
        self._request = request
        self._url = url or stack.url
        self._metrics_ports = metrics_ports
        self._settings = settings
        self._readers: dict[str, Callable[[], str]] = {
            "readyz": lambda: self._get("/readyz"),
            "health": lambda: self._get("/health"),
            "logs": self.logs,
            "metrics": self.metrics,
            "doctor": self.doctor,
        }

    def wait(self, **expected: str) -> None:
        """Wait until each signal named says what its expression finds; the slowest reader, the
        doctor, is asked last."""
        began = time.monotonic()
        for name in self._readers:
            if name in expected:
                self._wait(name, expected[name], began)

    def _wait(self, name: str, expression: str, began: float) -> None:
        bound_s = float(os.environ.get("FACELINE_SIGNALS_WITHIN_S", "inf"))
        while True:
            asked = time.monotonic()
            told = self._readers[name]()
            if re.search(expression, told, re.IGNORECASE):
                break
            assert time.monotonic() - began < TIMEOUT_S, f"{name} never says {expression}: {told}"
            time.sleep(ASK_EVERY_S)
        # A reader of an operator's is begun when the operator asks.
        seconds = (asked if name == "doctor" else time.monotonic()) - began
        self._request.node.user_properties.append((f"{name}_s", round(seconds, 2)))
        assert seconds < bound_s, f"{name} took {seconds:.1f} s"

    def logs(self) -> str:
        files = sorted(self._stack.cluster.folder.glob("*.log"))
        return "\n".join(file.read_text(errors="replace") for file in files)

    def metrics(self) -> str:
        return "\n".join(
            self._read(f"http://127.0.0.1:{port}/metrics") for port in self._metrics_ports
        )

    def doctor(self) -> str:
        """What `faceline doctor` says; its exit code is in the last line."""
        environment = self._stack.cluster.environment(self._settings)
        done = subprocess.run(
            [sys.executable, "-m", "infra.cli", "doctor"], env={**os.environ, **environment},
            capture_output=True, text=True, check=False, timeout=TIMEOUT_S,
        )
        return f"{done.stdout}{done.stderr}\nexit {done.returncode}"

    def _get(self, path: str) -> str:
        return self._read(f"{self._url}{path}")

    @staticmethod
    def _read(url: str) -> str:
        """The status and the body of an answer."""
        try:
            response = requests.get(url, timeout=10)
        except requests.RequestException as error:
            return f"no answer: {error}"
        return f"{response.status_code} {response.text}"
