"""Benchmarks do not rot: each explains its options, and some run whole in their smallest size."""

from __future__ import annotations

import importlib
import inspect
import json
import shutil
import subprocess
import sys
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pipeline.living.nonrigid import NonrigidMotion
from tests.benchmarks.accuracy_by_size import Impostors, Seen
from tests.benchmarks.living_errors import Presentation
from tests.benchmarks.living_limits import SHUT, ClipMotions, fitted, folds
from tests.benchmarks.loop_service import DIMENSION, Faces
from tests.presentations.people import Material
from tests.presentations.recipes import BLINK, recipe
from tests.presentations.studio import genuine_clips

ROOT = Path(__file__).resolve().parents[2]

# Parts of benchmarks, which take no arguments.
PARTS = {
    "chart", "demo_picture", "face_like", "load_client", "name_groups", "step_probes", "stores",
}

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


def test_the_loop_keeps_every_face_that_threads_add_while_its_matrix_grows() -> None:
    """A row that nobody has written may hold an infinity, which JSON cannot say."""
    faces, vector = Faces(20_000), np.ones(DIMENSION, np.float32)
    with ThreadPoolExecutor(8) as threads:
        numbers = list(threads.map(lambda _: faces.add(vector), range(8)))
    assert sorted(numbers) == list(range(20_000, 20_008))
    assert [cosine for _, cosine in faces.nearest(vector)] == [DIMENSION] * 5


def clips_with_motion(
    test_data: Path, attacks: Iterable[float], live: float
) -> list[ClipMotions]:
    """Attacks on a blink with so much motion of the whole face each, and live blinks."""
    def moving(one: Presentation, motion: float) -> ClipMotions:
        whole = NonrigidMotion(motion, motion, motion, motion, motion, head=1.0, coupled=0.0)
        return ClipMotions(one, (whole,), otherwise_real=True)

    material = Material.beside(test_data)
    return [
        *(moving(Presentation(recipe("lids painted", number, material, 1)), motion)
          for number, motion in enumerate(attacks)),
        *(moving(Presentation(one), live) for one in genuine_clips(material)
          if one.action == BLINK and not one.whole),
    ]


def test_limits_are_chosen_for_one_attack_of_a_hundred(test_data: Path) -> None:
    clips = clips_with_motion(test_data, (number / 200 for number in range(200)), live=0.99)
    limits = fitted(clips)
    passed = [clip.live for clip in clips if clip.real(replace(SHUT, lively=limits.lively))]
    assert passed.count(False) == 2
    assert passed.count(True) == sum(clip.live for clip in clips)


def test_limits_are_chosen_without_the_person_they_judge(test_data: Path) -> None:
    clips = clips_with_motion(test_data, (0.1,) * 40, live=0.9)
    judged = []
    for others, own in folds(clips):
        people = {clip.presentation.made.people[0] for clip in own}
        assert not any(people & set(clip.presentation.made.people) for clip in others)
        judged += own
    assert sorted(map(id, judged)) == sorted(map(id, clips))


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


def test_two_services_are_compared_in_the_smallest_size(
    test_data: Path, edge_models: Path
) -> None:
    """The loop and `faceline up`, each under load."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.benchmarks.side_by_side", "--photos", test_data / "photos",
         "--rounds", "1", "--seconds", "1", "--small", "16", "--faces", "500",
         "--only", "detect,embed,enrol,search", "--sizes", "250"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )
    assert done.returncode == 0, done.stderr
    for case in ("detect, 250", "embed, 250", "enrol, 250", "search, among 500"):
        assert done.stdout.count(f"| {case} |") == 2, done.stdout


def test_the_steps_of_a_held_call_are_counted(
    test_data: Path, edge_models: Path, tmp_path: Path
) -> None:
    """`faceline up` with probes in its processes, and the plot of two labels."""
    bars, plot = tmp_path / "bars.json", tmp_path / "plot.svg"
    bars.write_text('{"earlier": {"detect": 20.0}}')
    done = subprocess.run(
        [sys.executable, "-m", "tests.benchmarks.held_call_cost", "--photos",
         test_data / "photos", "--calls", "6", "--label", "here", "--keep", bars, "--plot", plot],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )
    assert done.returncode == 0, done.stderr
    for step in ("record the job", "claim", "end the job", "detect"):
        assert f"| | {step} |" in done.stdout
    spent = json.loads(bars.read_text())
    assert list(spent) == ["earlier", "here"]
    assert spent["here"]["job rows"] > 0
    assert "earlier" in plot.read_text()


def test_accuracy_is_compared_in_the_smallest_size(test_data: Path, edge_models: Path) -> None:
    """The engine and `FaceAnalysis` on the same pictures of three people; no face is lost."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.benchmarks.accuracy_by_size", "--faces", test_data,
         "--sizes", "250,640", "--people", "3,2", "--photos", "2"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("32 impostor pairs, "), done.stdout
    for row in ("| 250 | 3, 6, 3 |", "| 640 | 2, 4, 2 |"):
        assert row in done.stdout, done.stdout
    lost = [
        line.split("|")[-2].split(",")[1].strip()
        for line in done.stdout.splitlines() if line.startswith(("| 250, ", "| 640, "))
    ]
    assert lost == ["0"] * 4, done.stdout


def test_the_threshold_accepts_its_share_of_impostors() -> None:
    """Also when people count several times or not at all; faceless photos match nothing."""
    chance = np.random.default_rng(1)
    vectors = chance.standard_normal((60, 4)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    seen = [Seen(None if n % 20 == 0 else row, found=True) for n, row in enumerate(vectors)]
    people = np.repeat(np.arange(20), 3)
    impostors = Impostors(seen, people, 0.01)
    assert impostors.pairs == 60 * 57 / 2
    for weights in (np.ones(20, np.int64), chance.integers(0, 3, 20)):
        threshold = impostors.threshold(weights)
        scores = [
            -1.0 if n % 20 == 0 or m % 20 == 0 else float(vectors[n] @ vectors[m])
            for n in range(60) for m in range(n)
            if people[n] != people[m] for _ in range(weights[people[n]] * weights[people[m]])
        ]
        assert np.mean(np.array(scores) > threshold + 1e-6) <= 0.01
        assert np.mean(np.array(scores) >= threshold - 1e-6) > 0.01
