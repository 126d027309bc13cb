"""Fixtures for tests of every package: pictures and model packs.

A test that needs something the machine lacks is skipped with a plain reason. Under ``CI=true``
it fails instead, because a green run in CI must leave nothing out.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import NoReturn

import cv2
import numpy as np
import pytest

from pipeline.config.settings import Settings
from pipeline.errors import PackMissing
from pipeline.sessions import registry
from pipeline.sessions.base import Pack
from tests.processes import guard

pytest_plugins = [
    "tests.secret_watch", "tests.parallel", "tests.servers", "tests.databases", "tests.job_factory",
    "tests.gallery_factory", "tests.batch_harness", "tests.stack", "tests.picture_server",
    "tests.webhook_receiver", "tests.trace_receiver", "tests.vector_engines",
]

_ROOT = Path(__file__).resolve().parents[1]
_SHARED = _ROOT.parent / "shared"


def pytest_configure() -> None:
    """Makes every process of this run die with it. Runs before xdist starts its workers."""
    guard()


def missing(what: str) -> NoReturn:
    """Skip the test for want of ``what``; fail it in CI."""
    if os.environ.get("CI") == "true":
        pytest.fail(what, pytrace=False)
    pytest.skip(what)


def models_directory() -> Path:
    """The directory that is searched for the `edge` pack."""
    return Path(os.environ.get("FACELINE_MODELS") or _SHARED / "models")


def settings_of_edge() -> Settings:
    """Settings that choose the `edge` pack; other settings are the defaults."""
    return Settings(models=str(models_directory()), pack="edge")


def load_edge() -> Pack:
    """The `edge` pack. Raises ``PackMissing``."""
    settings = settings_of_edge()
    return registry.load(registry.choose(settings), settings)


@pytest.fixture(scope="session")
def test_data() -> Path:
    """The folder of test pictures."""
    folder = Path(os.environ.get("FACELINE_TEST_DATA") or _SHARED / "faces")
    if not folder.is_dir():
        missing(f"no test pictures in {folder}; FACELINE_TEST_DATA names their folder")
    return folder


@pytest.fixture(scope="session")
def edge_settings() -> Settings:
    return settings_of_edge()


@pytest.fixture(scope="session")
def edge_pack() -> Pack:
    """The `edge` pack, loaded once for all tests."""
    try:
        return load_edge()
    except PackMissing as error:
        missing(f"no `edge` pack: {error}")


@pytest.fixture(scope="session")
def dlib_pack(tmp_path_factory: pytest.TempPathFactory) -> Pack:
    """The `dlib` pack, loaded once for all tests."""
    settings = Settings(models=str(tmp_path_factory.mktemp("no-models")), pack="dlib")
    try:
        return registry.load(registry.choose(settings), settings)
    except PackMissing as error:
        missing(f"no `dlib` pack: {error}")


@pytest.fixture(scope="session")
def tiny_pictures() -> list[bytes]:
    """PNG files of 32x32 pixels without a face, all different."""
    rng = np.random.default_rng(7)
    return [
        cv2.imencode(".png", rng.integers(0, 255, (32, 32, 3), dtype=np.uint8))[1].tobytes()
        for _ in range(8)
    ]
