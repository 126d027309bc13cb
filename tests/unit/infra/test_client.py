"""The command's own caller: its credentials, its curl line, its errors."""

from __future__ import annotations

import base64
import subprocess
from pathlib import Path

import pytest

from api_shim.dialects.e.dialect import Face2
from infra.local.client import base64_file
from infra.local.credentials import load_credentials, save_credentials
from pipeline.accounts.credential_set import Credentials
from pipeline.errors import ConfigurationError
from tests.unit.infra.conftest import Faceline

CREDENTIALS = Credentials("APP", "SECRET", "KEY")


def test_credentials_are_kept_for_their_owner_only(tmp_path: Path) -> None:
    path = tmp_path / "kept.json"

    save_credentials(path, CREDENTIALS)

    assert load_credentials(path) == CREDENTIALS
    assert path.stat().st_mode & 0o777 == 0o600
    assert "SECRET" not in repr(CREDENTIALS)


def test_a_file_of_something_else_is_named(tmp_path: Path) -> None:
    (tmp_path / "kept.json").write_text("[1]")

    with pytest.raises(ConfigurationError, match=r"kept\.json holds no credentials"):
        load_credentials(tmp_path / "kept.json")


def test_a_photo_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="No such file"):
        base64_file(tmp_path / "nothing.jpg")


def test_the_curl_line_is_one_shell_line_for_any_file_name(tmp_path: Path) -> None:
    photo = tmp_path / "it's a \"photo\" $HOME.jpg"
    photo.write_bytes(b"\xff\xd8 photo")
    line = Face2.curl_line("http://127.0.0.1:1", CREDENTIALS, str(photo))
    assert "\n" not in line
    to_send = line[: line.rindex("| curl")]

    sent = subprocess.run(["sh", "-c", to_send], capture_output=True, check=True).stdout

    assert base64.b64encode(photo.read_bytes()) in sent


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("locate", "a.jpg", "--app-id", "x", "--app-secret", "y"), "no stack runs on"),
        (("verify", "a.jpg", "--url", "http://127.0.0.1:1", "--app-id", "x"), "given together"),
        (("locate", "a.jpg", "--url", "http://127.0.0.1:1"), "no credentials"),
        (
            ("verify", "a.jpg", "--url", "http://127.0.0.1:1", "--app-id", "x",
             "--app-secret", "y"),
            "verify takes 2 photos",
        ),
    ],
)
def test_what_a_call_lacks_is_said(
    faceline: Faceline, arguments: tuple[str, ...], words: str
) -> None:
    outcome = faceline("call", *arguments)

    assert outcome.code == 2
    assert words in outcome.err


def test_a_service_that_is_away_is_said_to_be_away(faceline: Faceline, tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"x")

    outcome = faceline(
        "call", "locate", str(tmp_path / "a.jpg"), "--url", "http://127.0.0.1:1",
        "--app-id", "x", "--app-secret", "y",
    )

    assert outcome.code == 1
    assert "http://127.0.0.1:1 does not answer" in outcome.err
