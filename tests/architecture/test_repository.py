"""The repository's rules: layers, module docstrings, file names, no weights, no machine's
paths."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

from infra.cli.settings import settings_page

ROOT = Path(__file__).resolve().parents[2]
FLOORS = ("infra", "api_shim", "workers", "pipeline")

WEIGHTS_AND_PICTURES = re.compile(
    r"\.(onnx|dat|pt|pth|bin|tflite|npz|npy|jpe?g|png|bmp|gif|tiff?|webp|mp4|avi|webm|mov)$",
    re.IGNORECASE,
)

# Homes of machines and of package mirrors: this repository runs anywhere.
MACHINE = re.compile(
    r"(?<![\w.$~}-])/(?:work|root|farm|home|Users)/[a-z]"
    r"|pypi\.org/simple|files\.pythonhosted|--(?:extra-)?index-url|--trusted-host",
)


def tracked() -> list[Path]:
    """Every file of the repository, as git knows it."""
    if shutil.which("git") is None:
        pytest.skip("there is no git here to say which files belong to the project")
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, capture_output=True, check=False,
    )
    if listed.returncode != 0:
        pytest.skip("this is no git checkout, so that nothing says which files belong to it")
    names = listed.stdout.decode().split("\0")
    return [ROOT / name for name in names if name and (ROOT / name).is_file()]


def sources() -> list[Path]:
    return [path for path in tracked() if path.suffix == ".py"]


def test_imports_run_downward() -> None:
    command = Path(sys.executable).with_name("lint-imports")

    checked = subprocess.run(
        [command, "--no-cache"], cwd=ROOT, capture_output=True, text=True, check=False
    )

    assert checked.returncode == 0, checked.stdout


def test_every_file_stands_on_a_floor() -> None:
    outside = [
        path.relative_to(ROOT)
        for path in sources()
        if path.relative_to(ROOT).parts[0] not in (*FLOORS, "tests")
    ]

    assert outside == []


def test_every_module_says_what_it_is() -> None:
    silent = [
        str(path.relative_to(ROOT))
        for path in sources()
        if path.relative_to(ROOT).parts[0] in FLOORS
        and ast.get_docstring(ast.parse(path.read_text())) is None
    ]

    assert silent == []


def test_no_file_is_a_drawer() -> None:
    drawers = [
        str(path.relative_to(ROOT))
        for path in sources()
        if path.stem in {"utils", "util", "helpers", "helper", "common", "misc"}
    ]

    assert drawers == []


def test_no_weights_and_no_pictures_are_kept() -> None:
    found = [path for path in tracked() if WEIGHTS_AND_PICTURES.search(path.name)]
    drawn = [path for path in found if path.parent == ROOT / "docs" / "console"]
    assert set(found) == set(drawn)
    assert sum(path.stat().st_size for path in drawn) < 600_000  # pages, and faces of nobody


def test_nothing_names_a_machine_or_a_package_mirror() -> None:
    found = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()[:80]}"
        for path in tracked()
        if path != Path(__file__)
        for number, line in enumerate(text_of(path).splitlines(), 1)
        if MACHINE.search(line)
    ]

    assert found == []


def text_of(path: Path) -> str:
    try:
        return path.read_text()
    except UnicodeDecodeError:
        return ""


def test_the_page_of_settings_is_current() -> None:
    page = (ROOT / "docs" / "settings.md").read_text()

    assert page == settings_page(), "run `make settings`"


def test_one_opencv_is_installed() -> None:
    installed = {
        str(found.metadata["Name"]).lower()
        for found in metadata.distributions()
        if str(found.metadata["Name"]).lower().startswith("opencv")
    }

    assert installed == {"opencv-python-headless"}


def test_every_package_of_the_lock_is_installed_as_locked() -> None:
    locked = re.findall(
        r"^([a-z0-9][a-z0-9._-]*)==(\S+)",
        (ROOT / "infra/locks/runtime.txt").read_text(),
        re.MULTILINE,
    )
    versions: dict[str, set[str]] = {}
    for name, version in locked:
        versions.setdefault(name, set()).add(version)

    wrong = {
        name: (installed, allowed)
        for name, allowed in versions.items()
        if (installed := installed_version(name)) is not None and installed not in allowed
    }

    assert wrong == {}


def installed_version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def test_unit_tests_know_no_server() -> None:
    knowing = [
        str(path.relative_to(ROOT))
        for path in sources()
        if path.is_relative_to(ROOT / "tests" / "unit")
        and re.search(
            r"^from tests\.(servers|cluster|stack|bulk_harness|local_service) ", path.read_text(),
            re.MULTILINE,
        )
    ]

    assert knowing == []


def test_tests_start_processes_in_one_way() -> None:
    elsewhere = [
        str(path.relative_to(ROOT))
        for path in sources()
        if path.is_relative_to(ROOT / "tests") and path != ROOT / "tests" / "processes.py"
        and any(
            isinstance(node, ast.Call) and ast.unparse(node.func) in ("subprocess.Popen", "Popen")
            for node in ast.walk(ast.parse(path.read_text()))
        )
    ]

    assert elsewhere == [], "use tests.processes.start: it dies with the run"
