"""Benchmarks do not rot: each explains its options, and one runs whole in its smallest size."""

from __future__ import annotations

import importlib
import inspect
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

# Parts of benchmarks, which take no arguments.
PARTS = {"chart", "demo_picture", "face_like"}

NAMES = sorted(
    path.stem for path in (ROOT / "tests" / "benchmarks").glob("*.py") if path.stem != "__init__"
)


@pytest.mark.parametrize("name", NAMES)
def test_each_explains_its_options(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    module = importlib.import_module(f"tests.benchmarks.{name}")
    if name in PARTS:
        return
    monkeypatch.setattr(sys, "argv", [name, "--help"])
    with pytest.raises(SystemExit) as end:
        module.main(["--help"]) if inspect.signature(module.main).parameters else module.main()
    assert end.value.code == 0
    assert "usage:" in capsys.readouterr().out


def test_one_runs_in_its_smallest_size(test_data: Path, edge_models: Path, tmp_path: Path) -> None:
    """The cost of the queue, with eight jobs: models, workers, Redis and the baselines."""
    for name in ("obama.jpg", "biden.jpg"):
        shutil.copy(test_data / "photos" / name, tmp_path / name)
    done = subprocess.run(
        [sys.executable, "-m", "tests.benchmarks.queue_cost", "--photos", tmp_path,
         "--rounds", "1", "--jobs", "8"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )
    assert done.returncode == 0, done.stderr
    rows = [line for line in done.stdout.splitlines() if line.startswith("| (")]
    assert len(rows) == 4, done.stdout
