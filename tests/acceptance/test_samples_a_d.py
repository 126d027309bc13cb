"""The samples of docs/api.md for documents a and d run as they stand there."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.acceptance.test_samples import sample
from tests.conftest import missing
from tests.stack import Stack


@pytest.fixture
def environment(stack: Stack) -> dict[str, str]:
    """As the page says, for an application of its own."""
    credentials = stack.add_tenant(f"sample {os.urandom(4).hex()}")
    return {
        **os.environ, "FACE_URL": stack.url, "no_proxy": "*",
        "FACE_APID": str(credentials.apid), "FACE_KVALUE": credentials.kvalue,
        "FACE_API_KEY": credentials.api_key,
    }


def shell(script: str, environment: dict[str, str], photo: Path) -> list[dict[str, object]]:
    """The JSON objects that a shell sample prints."""
    if shutil.which("curl") is None:
        missing("no curl")
    done = subprocess.run(
        ["bash", "-euc", script], env={**environment, "PHOTO": str(photo)},
        capture_output=True, text=True, check=True,
    )
    texts = done.stdout.replace("}{", "}\n{").splitlines()
    return [json.loads(text) for text in texts]


def test_every_operation_of_a_once(environment: dict[str, str], photos: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", sample("python", "KVALUE"), str(photos / "obama.jpg")],
        env=environment, capture_output=True, text=True, check=True,
    )
    faces, renamed, shown, match, alike, location, deleted = done.stdout.splitlines()
    assert "'Fname': 'A'" in faces
    assert (renamed, shown, match, deleted) == ("B", "B", "True", "True")
    assert 0.99 < json.loads(alike)[0] <= 1
    assert len(json.loads(location)) == 1


def test_the_shell_sample_of_a(environment: dict[str, str], photos: Path) -> None:
    answer = shell(sample("sh", "api/detection"), environment, photos / "two_people.jpg")[0]
    assert answer["msg_code"] == 1
    location = answer["location"]
    assert isinstance(location, list)
    assert len(location) == 2


def test_the_shell_sample_of_d(environment: dict[str, str], photos: Path) -> None:
    added, found, gone = shell(sample("sh", "v1/addface"), environment, photos / "biden.jpg")
    assert added["status"] == found["status"] == "OK"
    assert gone == {"status": "OK", "message": "successfully deleted face"}
