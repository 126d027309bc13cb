"""Every process is restarted in turn under load, behind nginx as it is without any settings: no
call fails."""

from __future__ import annotations

import base64
import itertools
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import pytest
import requests

from pipeline.deployment.heartbeat_file import read_heartbeat
from pipeline.errors import ConfigurationError
from pipeline.types import JsonObject
from tests.cluster import Process
from tests.databases import LAST_DATABASE
from tests.dialect_callers import Caller
from tests.face2_client import CALL_S, Face2Client, data_of
from tests.nginx_server import BalancingNginx
from tests.parallel import free_port
from tests.stack import Stack
from tests.waiting import eventually

pytestmark = pytest.mark.heavy

# Calls a second, and one in how many looks for a face in the gallery.
RATE = 20
SEARCH_EVERY = 20


@dataclass
class Load:
    """Calls at a steady rate, whether or not the earlier ones have been answered."""

    url: str
    stack: Stack
    pictures: list[str]
    face: bytes
    answers: Counter[str] = field(default_factory=Counter)

    @contextmanager
    def running(self) -> Iterator[None]:
        stop = threading.Event()
        with ThreadPoolExecutor(400, "calls") as pool:
            clock = threading.Thread(target=self._start_calls, args=(pool, stop))
            clock.start()
            try:
                yield
            finally:
                stop.set()
                clock.join()

    def _start_calls(self, pool: ThreadPoolExecutor, stop: threading.Event) -> None:
        began = time.monotonic()
        for number in itertools.count():
            if stop.wait(max(began + number / RATE - time.monotonic(), 0)):
                return
            pool.submit(self._call, number)

    def _call(self, number: int) -> None:
        try:
            answer = self._search() if number % SEARCH_EVERY == 0 else self._locate(number)
            # 202: its job goes on, and the client polls it.
            good = answer.status_code == 202 or (
                answer.status_code == 200 and self._is_done(answer.json())
            )
            self.answers["good" if good else f"{answer.status_code} {answer.text[:200]}"] += 1
        except requests.RequestException as error:
            self.answers[repr(error)[:200]] += 1

    @staticmethod
    def _is_done(envelope: JsonObject) -> bool:
        return envelope.get("code") == 0 or envelope.get("status") == "OK"

    def _locate(self, number: int) -> requests.Response:
        picture = self.pictures[number % len(self.pictures)]
        client = Face2Client(self.url, self.stack.credentials)
        return client.call("locate", data_of("locate", picture))

    def _search(self) -> requests.Response:
        return requests.post(
            f"{self.url}/v1/searchface", timeout=CALL_S,
            headers={"X-API-Key": self.stack.credentials.api_key},
            data={"img": base64.b64encode(self.face).decode()},
        )


@LAST_DATABASE
def test_no_call_fails(
    tmp_path: Path, edge_models: Path, new_database: dict[str, object],
    tiny_pictures: list[bytes], test_data: Path,
) -> None:
    face = next((test_data / "photos" / "Gerhard_Schroeder").iterdir()).read_bytes()
    ports = [free_port(), free_port()]
    urls = [f"http://127.0.0.1:{port}" for port in ports]
    with (
        Stack(tmp_path, edge_models, drain_s=10.0, stop_s=30.0, **new_database) as stack,
        ExitStack() as running,
    ):
        cluster = stack.cluster
        starts: dict[str, Callable[[], Process]] = {
            "upkeep": partial(cluster.upkeep, heartbeat_file=str(tmp_path / "upkeep")),
            "index": partial(cluster.index, heartbeat_file=str(tmp_path / "index")),
            **{
                name: partial(cluster.worker, concurrency=1, heartbeat_file=str(tmp_path / name))
                for name in ("worker-1", "worker-2")
            },
            **{
                url: partial(cluster.shim, port=port)
                for url, port in zip(urls, ports, strict=True)
            },
        }
        processes = {name: running.enter_context(start()) for name, start in starts.items()}
        for name in starts:
            wait_until_ready(name, tmp_path)
        enrolled = Caller("d", urls[0], stack.credentials).job(face, Prefer="wait=90")
        assert enrolled.json()["status"] == "OK", enrolled.text

        # After the shims: it takes one that it finds away for dead for ten seconds.
        nginx = running.enter_context(BalancingNginx(*urls))
        load = Load(nginx.url, stack, [base64_text(each) for each in tiny_pictures], face)
        with load.running():
            for name, start in starts.items():
                assert processes[name].stop() in (0, -15)
                processes[name] = running.enter_context(start())
                wait_until_ready(name, tmp_path)
        total = load.answers.total()
        assert load.answers == {"good": total}, f"{nginx.log}\n{cluster.logs()}"
        assert total > RATE * 10


def base64_text(picture: bytes) -> str:
    return base64.b64encode(picture).decode()


def wait_until_ready(name: str, folder: Path) -> None:
    def is_ready() -> bool:
        if name.startswith("http"):
            try:
                return requests.get(f"{name}/readyz", timeout=CALL_S).status_code == 200
            except requests.ConnectionError:
                return False
        try:
            beat = read_heartbeat(str(folder / name))
        except ConfigurationError:
            return False
        return not beat.fault(name.partition("-")[0], ready=True)

    eventually(is_ready, f"{name} is ready")
