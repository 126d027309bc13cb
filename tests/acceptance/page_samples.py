"""The samples of docs/api.md, run as printed."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from tests.conftest import missing
from tests.face2_client import Json
from tests.stack import Stack

PAGE = Path(__file__).resolve().parents[2] / "docs" / "api.md"


def sample(language: str, containing: str) -> str:
    blocks: list[str] = re.findall(rf"```{language}\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    return next(block for block in blocks if containing in block)


def environment_of(stack: Stack, **variables: object) -> dict[str, str]:
    """As the page says: FACE_URL, and the other variables that a sample reads."""
    return {
        **os.environ, "FACE_URL": stack.url, "no_proxy": "*",
        **{name: str(value) for name, value in variables.items()},
    }


def run_python(containing: str, environment: dict[str, str], *photos: Path) -> list[str]:
    """The lines that a sample prints."""
    command = [sys.executable, "-c", sample("python", containing), *map(str, photos)]
    return _printed(command, environment).splitlines()


def run_shell(containing: str, environment: dict[str, str]) -> list[Json]:
    """The JSON objects that a sample prints."""
    if shutil.which("curl") is None:
        missing("no curl")
    rest = _printed(["bash", "-euc", sample("sh", containing)], environment).strip()
    found = []
    while rest:
        answer, end = json.JSONDecoder().raw_decode(rest)
        found.append(answer)
        rest = rest[end:].lstrip()
    return found


def _printed(command: list[str], environment: dict[str, str]) -> str:
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return done.stdout
