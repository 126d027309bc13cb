"""Pictures that the tests of several documents send, as Base64."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.sessions.base import Pack
from tests.benchmarks.face_like import Photos, embed_aligned
from tests.face2_client import Json, base64_of, data_of
from tests.parallel import once_per_run


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
