"""``faceline living``: a verdict on a file, told, as JSON, and drawn."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import pytest
from typer.testing import CliRunner

from infra.cli.main import app
from tests.clips import encoded
from tests.conftest import models_directory
from tests.presentations.people import Material


def test_a_clip_on_the_command_line(
    material: Material, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FACELINE_MODELS", str(models_directory()))
    monkeypatch.setenv("FACELINE_PACK", "edge")
    clip, face, plot = (tmp_path / name for name in ("clip.mp4", "face.png", "plot.png"))
    clip.write_bytes(encoded(material.live(28, 62)))
    cv2.imwrite(str(face), material.live(90, 91)[0])

    told = CliRunner().invoke(app, ["living", str(clip), "--face", str(face), "--json",
                                    "--plot", str(plot)])

    assert told.exit_code == 0, told.output
    verdict = json.loads(told.stdout)
    assert (verdict["real"], verdict["match"], verdict["reasons"]) == (True, True, [])
    drawn = cv2.imread(str(plot))
    assert drawn is not None
    assert drawn.std() > 10


@pytest.mark.parametrize(
    ("options", "why"),
    [
        (["--action", "jump"], "blink, mouth"),
        (["--plot", "nowhere/plot.png"], "cannot be written"),
        (["--plot", "."], "cannot be written"),
    ],
)
def test_what_cannot_be_done_is_said_before_the_clip_is_read(
    options: list[str], why: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("clip.mp4").write_bytes(b"")

    told = CliRunner().invoke(app, ["living", "clip.mp4", *options])

    assert told.exit_code != 0
    assert why in told.output + str(told.exception)


def test_actions_have_names_and_numbers(
    material: Material, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FACELINE_MODELS", str(models_directory()))
    monkeypatch.setenv("FACELINE_PACK", "edge")
    clip = tmp_path / "clip.mp4"
    clip.write_bytes(encoded(material.live(28, 62)))

    told = [CliRunner().invoke(app, ["living", str(clip), "--action", name]).stdout
            for name in ("mouth", "Mouth", "2")]

    assert len(set(told)) == 1
    assert told[0].startswith("real: no: wrong_action"), told[0]
