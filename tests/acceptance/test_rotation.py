"""The master key and every kind of credential are rotated under load, and no request
with a live secret fails."""

from __future__ import annotations

import base64
import contextlib
import itertools
import json
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
import requests

from tests.dialect_callers import LETTERS, Caller
from tests.face2_client import Credentials, Face2Client
from tests.parallel import free_port
from tests.stack import Stack

CALLS = 5  # of each client between two steps, at least
PAUSE_S = 0.1  # six clients, so that the shims get fifty calls a second
STEP_S = 150.0

ACCEPTED = 202


@pytest.fixture
def loaded(tmp_path: Path, edge_models: Path) -> Iterator[tuple[Stack, list[str]]]:
    """A service of two shims whose applications are encrypted at rest, and their URLs.
    Accepted jobs stay queued."""
    with (
        Stack(tmp_path, edge_models, encrypt_at_rest=True) as stack,
        contextlib.ExitStack() as processes,
    ):
        stack.start_shim()
        port = free_port()
        processes.enter_context(stack.cluster.shim(port=port))
        urls = [stack.url, f"http://127.0.0.1:{port}"]
        until = time.monotonic() + STEP_S
        while True:
            with contextlib.suppress(requests.RequestException):
                requests.get(f"{urls[1]}/health", timeout=5)
                break
            assert time.monotonic() < until, stack.cluster.logs()
            time.sleep(0.05)
        yield stack, urls


class Load:
    """Clients of all documents that call both shims, with every live secret in turn."""

    def __init__(self, urls: list[str], picture: bytes, first: Credentials) -> None:
        self.live = [first]
        self.failures: list[str] = []
        self.calls: Counter[str] = Counter()
        self._urls = urls
        self._bytes = picture
        self._text = base64.b64encode(picture).decode()
        self._serial = itertools.count(1)
        self._stop = threading.Event()
        names = [*LETTERS, "SM2"]
        self._threads = [threading.Thread(target=self._run, args=(name,)) for name in names]

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def go_on(self) -> None:
        """Wait until each client has made some more calls."""
        before, until = Counter(self.calls), time.monotonic() + STEP_S
        while any(self.calls[name] < before[name] + CALLS for name in [*LETTERS, "SM2"]):
            assert time.monotonic() < until, (before, self.calls, self.failures[:3])
            time.sleep(0.02)

    def _run(self, name: str) -> None:
        for number in itertools.count():
            if self._stop.is_set():
                return
            live = self.live
            credentials = live[number % len(live)]
            answer = self._call(name, self._urls[number // 2 % 2], credentials)
            if answer is None or answer.status_code != ACCEPTED:
                text = "no answer" if answer is None else answer.text[:200]
                self.failures.append(f"{name} {number}: {text}")
            self.calls[name] += 1
            time.sleep(PAUSE_S)

    def _call(self, name: str, url: str, credentials: Credentials) -> requests.Response | None:
        with contextlib.suppress(requests.RequestException):
            if name in ("e", "SM2"):
                # No two alike: the same signature would be a replay.
                data = {"image": self._text, "max_face_num": next(self._serial)}
                kind = "SM2" if name == "SM2" else "SHA256"
                client = Face2Client(url, credentials)
                return client.call("locate", data, sign_type=kind, Prefer="respond-async")
            return Caller(name, url, credentials).job(self._bytes)
        return None


def test_no_request_with_a_live_secret_fails(loaded: tuple[Stack, list[str]]) -> None:
    stack, urls = loaded
    picture = small_picture()
    created = json.loads(stack.cluster.command("apps", "create", "load", "--sm2", "--json"))
    old = credentials_of(stack, created)
    with Load(urls, picture, old) as load:
        load.go_on()
        stack.cluster.command("secrets", "rotate")
        load.go_on()
        issued = stack.cluster.command("apps", "rotate", "load", "--sm2", "--keep", "1", "--json")
        new = credentials_of(stack, json.loads(issued))
        load.live = [old, new]
        load.go_on()
        stack.cluster.command("secrets", "rotate")
        load.go_on()
        load.live = [new]
        load.go_on()
        stack.cluster.command("apps", "rotate", "load", "--finish")
        stack.cluster.command("secrets", "retire")
        load.go_on()
    assert load.failures == []
    assert (new.app_id, new.apid, new.api_id) == (old.app_id, old.apid, old.api_id)

    for letter in LETTERS:
        assert Caller(letter, urls[0], old).job(picture).status_code != ACCEPTED, letter
    status = json.loads(stack.cluster.command("secrets", "status", "--json"))
    (current,) = status["keys"]
    assert {key for counts in status["secrets"].values() for key in counts} == {current}
    assert status["encrypted"]["load"] == "on"


def small_picture() -> bytes:
    """No worker decodes it: only its sender matters."""
    encoded, picture = cv2.imencode(".jpg", np.full((300, 300, 3), 128, np.uint8))
    assert encoded
    return picture.tobytes()


def credentials_of(stack: Stack, issued: dict[str, str]) -> Credentials:
    return Credentials(
        tenant_id=stack.tenants.by_name("load").id,
        app_id=issued["app_id"],
        app_secret=issued["app_secret"],
        sm2_private_key=issued["sm2_private_key"],
        api_key=issued["api_key"],
        apid=int(issued["apid"]),
        kvalue=issued["kvalue"],
        api_id=issued["api_id"],
        api_secret=issued["api_secret"],
    )
