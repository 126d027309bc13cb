"""The samples of docs/api.md run as they stand there."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from tests.conftest import missing
from tests.stack import Stack

PAGE = Path(__file__).resolve().parents[2] / "docs" / "api.md"


def sample(language: str, containing: str) -> str:
    blocks: list[str] = re.findall(rf"```{language}\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    return next(block for block in blocks if containing in block)


def environment(stack: Stack, photo: Path) -> dict[str, str]:
    return {
        **os.environ, "FACE_URL": stack.url, "FACE_APP_ID": stack.credentials.app_id,
        "FACE_APP_SECRET": stack.credentials.app_secret, "PHOTO": str(photo), "no_proxy": "*",
    }


def test_the_python_sample(stack: Stack, test_data: Path) -> None:
    photo = test_data / "photos" / "two_people.jpg"
    done = subprocess.run(
        [sys.executable, "-c", sample("python", "APP_ID"), str(photo)],
        env=environment(stack, photo), capture_output=True, text=True, check=True,
    )
    located, verified, length = done.stdout.splitlines()
    assert "'face_num': 2" in located
    assert "'is_match': True" in verified
    assert length == "512"


def test_the_shell_sample(stack: Stack, test_data: Path) -> None:
    if shutil.which("curl") is None:
        missing("no curl")
    photo = test_data / "photos" / "obama.jpg"  # another request than the one above
    done = subprocess.run(
        ["bash", "-euc", sample("sh", "sha256sum")],
        env=environment(stack, photo), capture_output=True, text=True, check=True,
    )
    assert json.loads(done.stdout)["data"]["face_num"] == 1
