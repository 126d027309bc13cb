"""Pictures that the tests of several documents send, as Base64, and a service with two shims."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from pipeline.sessions.base import Pack
from tests.benchmarks.face_like import Photos, embed_aligned
from tests.face2_client import Json, base64_of, data_of
from tests.parallel import free_port, once_per_run
from tests.stack import Stack
from tests.waiting import TIMEOUT_S


@pytest.fixture(scope="session")
def photos(test_data: Path) -> Path:
    return test_data / "photos"


@pytest.fixture(scope="session")
def obama(photos: Path) -> str:
    return base64_of(photos / "obama.jpg")


@pytest.fixture(scope="session")
def biden(photos: Path) -> str:
    return base64_of(photos / "biden.jpg")


@pytest.fixture(scope="session")
def nobody(test_data: Path) -> str:
    return base64_of(test_data / "bad" / "no_face.png")


@pytest.fixture(scope="session")
def two_people(photos: Path) -> str:
    return base64_of(photos / "two_people.jpg")


@pytest.fixture
def picture(photos: Path) -> Json:
    """The data of a call of ``/face2/locate`` that no other makes in the same second."""
    return data_of("locate", base64_of(min((photos / "Colin_Powell").iterdir())))


@pytest.fixture(scope="session")
def lfw(test_data: Path, edge_pack: Pack, tmp_path_factory: pytest.TempPathFactory) -> Photos:
    """Every aligned photo, embedded (some 10 s)."""
    folder = test_data / "lfw_aligned"
    kept = once_per_run(
        tmp_path_factory, "lfw.npz", lambda path: embed_aligned(folder, edge_pack, path)
    )
    return embed_aligned(folder, edge_pack, kept)


@pytest.fixture
def shims(
    tmp_path: Path, edge_models: Path, new_database: dict[str, object]
) -> Iterator[tuple[Stack, list[str]]]:
    """A service of its own, and the URLs of its two web processes."""
    port = free_port()
    with Stack(tmp_path, edge_models, hold_s=0.0, **new_database) as stack:
        stack.start_shim()
        url = f"http://127.0.0.1:{port}"
        with stack.cluster.shim(port=port):
            until = time.monotonic() + TIMEOUT_S
            while not answers(url):
                assert time.monotonic() < until, stack.cluster.logs()
                time.sleep(0.05)
            yield stack, [stack.url, url]


def answers(url: str) -> bool:
    try:
        return requests.get(f"{url}/health", timeout=10).ok
    except requests.RequestException:
        return False
