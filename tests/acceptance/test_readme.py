"""The clients in the README work with nothing but URL and credentials filled in."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from infra.local.demo import demo_photo
from tests.stack import Stack

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("page", ["README.md", "README.zh-CN.md"])
def test_the_client_of_the_readme(stack: Stack, page: str, tmp_path: Path) -> None:
    (sample,) = re.findall(r"```python\n(.*?)```", (ROOT / page).read_text("utf-8"), re.DOTALL)
    filled = re.sub(
        r'URL, APP_ID, APP_SECRET = .*',
        f"URL, APP_ID, APP_SECRET = {stack.url!r}, {stack.credentials.app_id!r}, "
        f"{stack.credentials.app_secret!r}",
        sample,
    )
    # A request of its own for each page: the same one would be refused within a second.
    filled = filled.replace('"max_face_num": 10', f'"max_face_num": {10 + len(page)}')

    done = subprocess.run(
        [sys.executable, "-c", filled, str(demo_photo())],
        env={**os.environ, "no_proxy": "*"}, capture_output=True, text=True, check=True,
    )

    assert "'face_num': 6" in done.stdout


@pytest.mark.parametrize("page", ["README.md", "README.zh-CN.md"])
def test_the_first_calls_of_the_readme(stack: Stack, page: str) -> None:
    (sample,) = re.findall(r"```sh\n(URL=.*?)```", (ROOT / page).read_text("utf-8"), re.DOTALL)
    key = stack.add_tenant(f"first calls {page}").api_key
    photo = demo_photo("Tom_Hanks_54745.png")
    _, _, calls = sample.partition("\n")
    variables = f"URL={stack.url} KEY={key} PHOTO={photo}\n"
    lines = 'curl() { command curl -s "$@"; echo; }\n'

    done = subprocess.run(
        ["bash", "-euc", variables + lines + calls],
        env={**os.environ, "no_proxy": "*"}, capture_output=True, text=True, check=True,
    )

    added, found, listed = map(json.loads, done.stdout.splitlines())
    assert (added["status"], added["message"][0]["name"]) == ("OK", "Me")
    assert found["message"] == [{**added["message"][0], "confidence": 100}]
    assert [face["name"] for face in listed["data"]["face"]] == ["Me"]
