"""A full disk and a wrong key: callers, load balancers and operators are told, nothing is lost, and
everything goes on when there is room."""

from __future__ import annotations

import base64
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import requests

from pipeline.encryption.keyring import KEY_BYTES, encode_key
from pipeline.types import JsonObject
from tests.cluster import READY_S
from tests.databases import LAST_DATABASE
from tests.dialect_callers import LETTERS, Caller
from tests.face2_client import CALL_S
from tests.small_disk import SmallDisk, small_disk
from tests.stack import Stack
from tests.waiting import eventually

# Seconds after which every signal must tell, on a busy machine too.
SOON_S = 30.0


@dataclass
class Full:
    """A service with one store on a small disk; ``part`` is its name in ``/readyz``."""

    part: str
    stack: Stack
    disk: SmallDisk

    def ask(self, path: str) -> tuple[int, JsonObject]:
        answer = requests.get(self.stack.url + path, timeout=CALL_S)
        return answer.status_code, answer.json()


@pytest.fixture(scope="module", params=["media", "database"])
def full(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, edge_models: Path
) -> Iterator[Full]:
    folder = tmp_path_factory.mktemp(request.param)
    with small_disk(folder / "disk") as disk:
        chosen: dict[str, object] = {"media_url": f"file://{disk.path}/media", "row_picture_kb": 0}
        if request.param == "database":
            chosen = {"database_url": f"sqlite:///{disk.path}/faceline.db"}
        with Stack(folder, edge_models, hold_s=0.1, b_tenant="stack", **chosen) as stack:
            yield Full(request.param, stack.start_shim(), disk)


def test_told_by_every_signal(full: Full, obama: str) -> None:
    picture = base64.b64decode(obama)
    callers = [
        Caller(letter, full.stack.url, full.stack.add_tenant(f"full-{full.part}-{letter}"))
        for letter in LETTERS
    ]
    assert full.ask("/readyz")[0] == 200
    full.disk.fill()
    # nobody has submitted anything yet
    eventually(lambda: full.ask("/readyz")[0] == 503, "/readyz fails", SOON_S)
    for path in ("/readyz", "/health"):
        status, told = full.ask(path)
        assert (status, told["status"], told[full.part]) == (503, "unavailable", "no space left")
    assert full.ask("/livez") == (200, {"status": "ok"})

    for caller in callers:
        answer = caller.job(picture)
        assert answer.status_code == 503, answer.text
        kind = "media store" if full.part == "media" else "database"
        assert f"The {kind} has no space left." in answer.text
        assert int(answer.headers["Retry-After"]) > 0
    assert "no space left" in full.stack.cluster.logs()

    full.disk.make_room()
    eventually(lambda: full.ask("/readyz")[0] == 200, "/readyz is good again", SOON_S)
    assert full.ask("/health")[0] == 200
    for caller in callers:
        assert caller.job(picture).status_code == 202


@LAST_DATABASE
def test_a_shim_with_another_master_key_does_not_start(
    tmp_path: Path, edge_models: Path, new_database: dict[str, object]
) -> None:
    keys = [encode_key(os.urandom(KEY_BYTES)) for _ in range(2)]
    with Stack(tmp_path, edge_models, master_key=keys[0], **new_database) as stack:
        with stack.cluster.shim(master_key=keys[1]) as shim:
            assert shim.wait(READY_S) == 2
            assert "another master key" in shim.log.read_text()
        stack.start_shim()
        assert requests.get(f"{stack.url}/readyz", timeout=CALL_S).status_code == 200
