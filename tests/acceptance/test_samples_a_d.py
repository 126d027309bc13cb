"""The samples of docs/api.md for documents a and d run as printed."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from tests.acceptance.page_samples import environment_of, run_python, run_shell
from tests.stack import Stack


@pytest.fixture
def environment(stack: Stack) -> dict[str, str]:
    """The environment of the samples, with an application of their own."""
    credentials = stack.add_tenant(f"sample {os.urandom(4).hex()}")
    return environment_of(
        stack, FACE_APID=credentials.apid, FACE_KVALUE=credentials.kvalue,
        FACE_API_KEY=credentials.api_key,
    )


def test_every_operation_of_a_once(environment: dict[str, str], photos: Path) -> None:
    printed = run_python("KVALUE", environment, photos / "obama.jpg")
    faces, renamed, shown, match, alike, location, deleted = printed
    assert "'Fname': 'A'" in faces
    assert (renamed, shown, match, deleted) == ("B", "B", "True", "True")
    assert 0.99 < json.loads(alike)[0] <= 1
    assert len(json.loads(location)) == 1


def test_the_shell_sample_of_a(environment: dict[str, str], photos: Path) -> None:
    photo = str(photos / "two_people.jpg")
    answer = run_shell("api/detection", {**environment, "PHOTO": photo})[0]
    assert answer["msg_code"] == 1
    assert len(answer["location"]) == 2


def test_the_shell_sample_of_d(environment: dict[str, str], photos: Path) -> None:
    photo = str(photos / "biden.jpg")
    added, found, gone = run_shell("v1/addface", {**environment, "PHOTO": photo})
    assert added["status"] == found["status"] == "OK"
    assert gone == {"status": "OK", "message": "successfully deleted face"}
