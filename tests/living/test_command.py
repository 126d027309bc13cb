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
from tests.living_clips import Material


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
