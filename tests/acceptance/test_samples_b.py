"""The samples of docs/api.md for document b run as printed."""

from __future__ import annotations

import os
from pathlib import Path

from tests.acceptance.page_samples import environment_of, run_python, run_shell
from tests.stack import Stack


def environment(stack: Stack, photo: Path) -> dict[str, str]:
    """The environment of the samples, with an application of their own."""
    tenant = stack.add_tenant(f"sample {os.urandom(4).hex()}")
    return environment_of(stack, PHOTO=photo, FACE_API_KEY=tenant.api_key)


def test_every_operation_once(stack: Stack, photos: Path) -> None:
    photo = photos / "obama.jpg"
    printed = run_python("facesLib", environment(stack, photo), photo)
    total, rectangle, same, report, bound, listed, alike, found = printed
    assert (total, same, bound, listed, alike) == ("1", "True", "1", "1", "True")
    assert "'left'" in rectangle
    assert "'successCnt': 1" in report
    assert found == "True {}"


def test_the_shell_sample(stack: Stack, photos: Path) -> None:
    (answer,) = run_shell("$FACE_URL/api/faces", environment(stack, photos / "biden.jpg"))
    assert answer["code"] == 0
    assert len(answer["data"]["faceToken"]) == 24
