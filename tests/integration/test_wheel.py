"""The package brings what the console shows: pages, styles, translations, the documentation."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BROUGHT = ("api_shim", "docs", "infra", "pipeline", "workers", "pyproject.toml", "README.md",
           "LICENSE")
LEFT = shutil.ignore_patterns("__pycache__", "*.egg-info")


def test_the_wheel_has_the_files_of_the_console(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    for name in BROUGHT:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, source / name, symlinks=True, ignore=LEFT)
        else:
            shutil.copy(ROOT / name, source / name)
    build = "import sys; from setuptools.build_meta import build_wheel; build_wheel(sys.argv[1])"
    done = subprocess.run(
        [sys.executable, "-c", build, str(tmp_path)], cwd=source, capture_output=True, text=True,
        check=False, timeout=600,
    )
    assert done.returncode == 0, done.stderr
    (wheel,) = tmp_path.glob("*.whl")
    held = set(zipfile.ZipFile(wheel).namelist())
    pages = {
        f"api_shim/documentation/{path.relative_to(ROOT)}"
        for kind in ("md", "svg", "png") for path in (ROOT / "docs").rglob(f"*.{kind}")
    }
    console = {
        str(path.relative_to(ROOT))
        for folder in ("static", "templates", "locale")
        for path in (ROOT / "api_shim" / "console" / folder).rglob("*") if path.is_file()
    }
    assert len(pages) > 40
    assert pages | console <= held, sorted((pages | console) - held)


def test_the_image_is_given_what_the_wheel_needs() -> None:
    kept = set((ROOT / ".dockerignore").read_text().splitlines())
    folders = {f"!{name}" for name in BROUGHT}
    assert folders <= kept
