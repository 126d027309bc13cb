"""The samples of docs/api.md for document e run as printed."""

from __future__ import annotations

from pathlib import Path

from tests.acceptance.page_samples import environment_of, run_python, run_shell
from tests.stack import Stack


def environment(stack: Stack, photo: Path) -> dict[str, str]:
    return environment_of(
        stack, PHOTO=photo, FACE_APP_ID=stack.credentials.app_id,
        FACE_APP_SECRET=stack.credentials.app_secret,
    )


def test_the_python_sample(stack: Stack, photos: Path) -> None:
    photo = photos / "two_people.jpg"
    located, verified, length = run_python("APP_ID", environment(stack, photo), photo)
    assert "'face_num': 2" in located
    assert "'is_match': True" in verified
    assert length == "512"


def test_the_shell_sample(stack: Stack, photos: Path) -> None:
    photo = photos / "obama.jpg"  # another request than the one above
    (answer,) = run_shell("sha256sum", environment(stack, photo))
    assert answer["data"]["face_num"] == 1
