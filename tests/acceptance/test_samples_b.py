"""The samples of docs/api.md for document b run as they stand there."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

from tests.acceptance.test_samples import sample
from tests.conftest import missing
from tests.stack import Stack


def environment(stack: Stack, photo: Path) -> dict[str, str]:
    """As the page says, for an application of its own."""
    return {
        **os.environ, "FACE_URL": stack.url, "PHOTO": str(photo), "no_proxy": "*",
        "FACE_API_KEY": stack.add_tenant(f"sample {os.urandom(4).hex()}").api_key,
    }


def test_every_operation_once(stack: Stack, photos: Path) -> None:
    photo = photos / "obama.jpg"
    done = subprocess.run(
        [sys.executable, "-c", sample("python", "facesLib"), str(photo)],
        env=environment(stack, photo), capture_output=True, text=True, check=True,
    )
    total, rectangle, same, report, bound, listed, alike, found = done.stdout.splitlines()
    assert (total, same, bound, listed, alike) == ("1", "True", "1", "1", "True")
    assert "'left'" in rectangle
    assert "'successCnt': 1" in report
    assert found == "True {}"


def test_the_shell_sample(stack: Stack, photos: Path) -> None:
    if shutil.which("curl") is None:
        missing("no curl")
    done = subprocess.run(
        ["bash", "-euc", sample("sh", "$FACE_URL/api/faces")],
        env=environment(stack, photos / "biden.jpg"), capture_output=True, text=True, check=True,
    )
    answer = json.loads(done.stdout)
    assert answer["code"] == 0
    assert len(answer["data"]["faceToken"]) == 24
