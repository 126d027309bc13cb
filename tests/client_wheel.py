"""The wheel of `faceline-client`, built and installed with its examples' needs into an environment
that is empty otherwise."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.programs import missing

SDK = Path(__file__).resolve().parents[1] / "infra" / "sdk" / "python"

# Seconds for a program on a busy machine.
PROGRAM_S = 600.0


class InstalledClient:
    """Built and installed below ``folder``. ``examples`` is a copy of theirs, beside no package."""

    def __init__(self, folder: Path) -> None:
        sources, self.home = folder / "sources", folder / "empty"
        self.examples = folder / "examples"
        # setuptools writes beside the sources.
        shutil.copytree(SDK, sources, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
        shutil.copytree(sources / "examples", self.examples)
        pip: list[str | Path] = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
        printed([*pip, "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", folder, sources])
        (self.wheel,) = folder.glob("faceline_client-*.whl")
        printed([sys.executable, "-m", "venv", "--without-pip", self.home])
        self._python = self.home / "bin" / "python"
        installed = subprocess.run(
            [*pip, "--python", self._python, "install", "-q", f"{self.wheel}[examples]"],
            capture_output=True, text=True, timeout=PROGRAM_S, check=False,
        )
        if installed.returncode != 0:
            missing(f"no package index gives httpx and pillow: {installed.stderr[-300:]}")

    def run(self, *arguments: str | Path, env: dict[str, str]) -> str:
        """What the environment's Python prints, with nothing else on its path."""
        return printed([self._python, "-I", *arguments], env=env, cwd=self.home)


def printed(command: Sequence[str | Path], **options: Any) -> str:
    """What a command prints, which succeeds."""
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=PROGRAM_S, check=False, **options
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return str(done.stdout)
