"""Real clients in several languages, all five documents each (docs/clients.md)."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.databases import ONE_DATABASE
from tests.face2_client import CALL_S, Credentials, Json
from tests.programs import missing
from tests.stack import Stack

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "clients.md"
FOLDER = ROOT / "tests" / "clients"


@dataclass(frozen=True)
class Program:
    """How a client is built and run: ``{source}`` and ``{built}`` are its files. ``needs`` are
    programs, or headers of C."""

    needs: tuple[str, ...]
    run: tuple[str, ...]
    build: tuple[str, ...] = ()


PROGRAMS = {
    "curl.sh": Program(("curl", "bash"), ("bash", "{source}")),
    "client.php": Program(("php",), ("php", "{source}")),
    "client.rb": Program(("ruby",), ("ruby", "{source}")),
    "client.java": Program(("javac",), ("java", "-XX:TieredStopAtLevel=1", "{source}")),
    "client.mjs": Program(("node",), ("node", "{source}")),
    "client.go": Program(("go",), ("{built}",), ("go", "build", "-o", "{built}", "{source}")),
    "client_urllib.py": Program((), (sys.executable, "{source}")),
    "client.cpp": Program(
        ("c++",), ("{built}",),
        ("c++", "-std=c++17", "-o", "{built}", "{source}", "-lcurl", "-lcrypto"),
    ),
    "client.pl": Program(("perl",), ("perl", "{source}")),
}


def run(command: Sequence[str], environment: dict[str, str]) -> str:
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=CALL_S, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def environment_of(stack: Stack, known: Credentials) -> dict[str, str]:
    return {
        **os.environ, "FACE_URL": stack.url, "no_proxy": "*",
        "FACE_APP_ID": known.app_id, "FACE_APP_SECRET": known.app_secret,
        "FACE_API_KEY": known.api_key, "FACE_APID": str(known.apid), "FACE_KVALUE": known.kvalue,
        "FACE_API_ID": known.api_id, "FACE_API_SECRET": known.api_secret,
    }


def answers_of(output: str) -> dict[str, Json]:
    """The bodies by the names of the calls; each has the status 200."""
    found = {}
    for line in output.splitlines():
        name, status, body = line.split(" ", 2)
        assert status == "200", line[:300]
        found[name] = json.loads(body)
    return found


@ONE_DATABASE
@pytest.mark.parametrize("name", PROGRAMS)
def test_a_real_client(stack: Stack, photos: Path, tmp_path: Path, name: str) -> None:
    program = PROGRAMS[name]
    for needed in program.needs:
        if shutil.which(needed) is None:
            missing(f"{needed} is not on PATH")
    words = {"source": str(FOLDER / name), "built": str(tmp_path / "client")}
    environment = environment_of(stack, stack.add_tenant(name))
    if program.build:
        run([word.format(**words) for word in program.build], environment)
    # A picture whose Base64 has both letters that URLs do not carry.
    picture = min((photos / "George_W_Bush").iterdir())
    output = run([word.format(**words) for word in program.run] + [str(picture)], environment)

    found = answers_of(output)
    assert set(found) == {"a", "a-get", "b", "c", "d", "e"}
    assert (found["a"]["msg_code"], len(found["a"]["location"])) == (1, 1)
    assert (found["a-get"]["msg_code"], found["a-get"]["faces"]) == (1, [])
    assert (found["b"]["code"], found["b"]["msg"]) == (0, "SUCCESS")
    assert found["c"]["status"] == "OK"
    assert (found["d"]["status"], found["d"]["message"][0]["confidence"]) == ("OK", 100)
    assert (found["e"]["code"], found["e"]["data"]["face_num"]) == (0, 1)


def test_every_program_has_its_row() -> None:
    rows = re.findall(r"^\| .* \| `tests/clients/([\w.]+)` \|$", PAGE.read_text(), re.MULTILINE)
    assert sorted(rows) == sorted(PROGRAMS)
    assert sorted(rows) == sorted(path.name for path in FOLDER.iterdir() if path.is_file())
