"""The command itself: its version, completion in shells, and an OpenCV that cannot be loaded."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

from infra.cli.main import COMMANDS
from tests.unit.infra.conftest import Faceline


def complete(shell: str, *words: str) -> str:
    """What the shell is offered for the last word."""
    environment = {
        **os.environ, "_FACELINE_COMPLETE": f"complete_{shell}",
        "COMP_WORDS": " ".join(("faceline", *words)), "COMP_CWORD": str(len(words)),
        "_TYPER_COMPLETE_ARGS": " ".join(("faceline", *words)),
        "_TYPER_COMPLETE_FISH_ACTION": "get-args",
    }
    ended = subprocess.run(
        [Path(sys.executable).parent / "faceline"], env=environment, capture_output=True, text=True,
        check=False,
    )
    assert "Traceback" not in ended.stderr
    return ended.stdout


@pytest.mark.parametrize("arguments", [("--version",), ("--version", "doctor")])
def test_the_version(faceline: Faceline, arguments: tuple[str, ...]) -> None:
    outcome = faceline(*arguments)
    assert outcome.code == 0
    assert outcome.out == f"faceline {version('faceline')}\n"
    assert faceline("version").out == f"{version('faceline')}\n"


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_shells_complete_commands_and_options(shell: str) -> None:
    offered = complete(shell, "jo")
    assert "jobs" in offered
    assert "doctor" not in offered
    assert "retry" in complete(shell, "jobs", "r")
    assert "--json" in complete(shell, "doctor", "--j")


def test_every_command_is_offered() -> None:
    assert set(COMMANDS) <= set(complete("bash", "").split())


def test_an_opencv_that_cannot_be_loaded_is_one_sentence(tmp_path: Path) -> None:
    """As the desktop build is on a server without a desktop's libraries."""
    (tmp_path / "cv2").mkdir()
    (tmp_path / "cv2" / "__init__.py").write_text(
        "raise ImportError('libGL.so.1: cannot open shared object file')"
    )
    ended = subprocess.run(
        [sys.executable, "-m", "infra.cli", "doctor"], capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
    )
    assert ended.returncode == 2
    assert ended.stderr.startswith("faceline: OpenCV cannot be loaded; run `pip uninstall")
    assert "libGL.so.1" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_another_import_that_fails_is_no_fault_of_opencv(
    faceline: Faceline, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(COMMANDS, "doctor", ("no_such_module", "doctor"))
    with pytest.raises(ImportError):
        faceline("doctor")
