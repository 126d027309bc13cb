"""The ten attacks from the literature: each makes a clip of a face that seems to act."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from pipeline.sessions.base import Pack
from tests.benchmarks.living_outside import ClipRow, measured, write, written
from tests.clips import encoded, pictures_of
from tests.conftest import missing, settings_of_edge
from tests.outside_attacks.material import BLINKS, OPENINGS, Action, Material, person_of
from tests.outside_attacks.plan import ATTACKS, Attack, PlannedClip, planned, rendered
from tests.outside_attacks.tracking import FaceTracker
from tests.outside_attacks.warping import similarity, spline_map, warped
from tests.shares import interval

# Clear ones; each is read and tracked once.
PORTRAIT, BLINK, OPENING = "p01.mp4@200", BLINKS[3], OPENINGS[2]


@pytest.fixture(scope="module")
def tracker(edge_pack: Pack) -> FaceTracker:
    return FaceTracker(edge_pack, settings_of_edge())


@pytest.fixture(scope="module")
def material(test_data: Path, tracker: FaceTracker) -> Material:
    people = test_data.parent / "videos" / "people"
    if not people.is_dir():
        missing(f"no test videos in {people}, beside FACELINE_TEST_DATA")
    return Material(test_data, tracker, width=240, margin=0.4)


def clip_of(attack: Attack, action: Action) -> PlannedClip:
    event = BLINK if action == "blink" else OPENING
    portrait = "" if attack.own or (attack.open_lips and action == "mouth") else PORTRAIT
    return PlannedClip(attack, 0, portrait, event)


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.name)
def test_an_attack_shows_a_face_that_blinks(
    attack: Attack, material: Material, tracker: FaceTracker, edge_pack: Pack
) -> None:
    frames, fps = rendered(clip_of(attack, "blink"), material)
    seen = list(pictures_of(encoded(frames, fps=fps)))
    found = [edge_pack.detector().detect_largest(picture) is not None for picture in seen[::6]]
    opening = np.array([face.eye_opening for face in tracker.faces(seen)])

    assert len(seen) >= 20
    assert sum(found) >= len(found) - 1
    assert opening.min() < 0.7 * np.percentile(opening, 80)


@pytest.mark.parametrize("name", ["cut_out_print", "driven_portrait", "virtual_head"])
def test_an_attack_opens_the_mouth(name: str, material: Material, tracker: FaceTracker) -> None:
    attack = next(attack for attack in ATTACKS if attack.name == name)
    frames, _ = rendered(clip_of(attack, "mouth"), material)
    opening = np.array([face.mouth_opening for face in tracker.faces(frames[::2])])

    assert opening.max() > np.percentile(opening, 10) + 0.1


def test_an_attack_is_the_same_each_time(material: Material) -> None:
    clip = clip_of(ATTACKS[1], "blink")
    (first, _), (second, _) = rendered(clip, material), rendered(clip, material)

    assert len(first) == len(second)
    assert all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))


def test_every_attack_has_its_clips_and_its_source() -> None:
    for attack in ATTACKS:
        clips = planned(attack)
        assert [clip.action for clip in clips] == ["blink"] * 10 + ["mouth"] * 10
        assert all(clip.person != clip.event.person for clip in clips if clip.portrait)
        assert re.search(r"(19|20)\d\d", attack.source), attack.name
    assert len(ATTACKS) == 10
    assert len({clip.person for attack in ATTACKS for clip in planned(attack)}) >= 15


def test_a_portrait_is_named_for_its_person() -> None:
    assert person_of("photos/Ann_Lee/Ann_Lee_0001.jpg") == "Ann_Lee"
    assert person_of("p01.mp4@200") == "p01"


def test_a_spline_brings_points_to_their_places() -> None:
    picture = np.zeros((80, 120, 3), np.uint8)
    picture[38:43, 58:63] = 255
    seen = np.array([[0, 0], [119, 0], [0, 79], [119, 79], [60, 40]], np.float64)
    wanted = seen.copy()
    wanted[4] = [66, 34]
    moved = warped(picture, spline_map(seen, wanted, picture.shape))
    rows, columns = np.nonzero(moved[:, :, 0] > 127)

    assert (columns.mean(), rows.mean()) == pytest.approx((66, 34), abs=1)


def test_a_similarity_is_found_again() -> None:
    points = np.random.default_rng(3).uniform(0, 100, (9, 2))
    matrix = np.array([[0.9, -0.3, 4.0], [0.3, 0.9, -7.0]])

    assert similarity(points, points @ matrix[:, :2].T + matrix[:, 2]) == pytest.approx(matrix)


def test_the_table_counts_what_a_check_accepts(tmp_path: Path) -> None:
    actions: tuple[Action, ...] = ("blink", "mouth")
    rows = [ClipRow(f"{action}.mp4", "some_attack", action, action) for action in actions]
    write(((row, row.action.encode()) for row in rows), tmp_path)
    table = measured(written(tmp_path), lambda data, _: (data == b"blink", ["none"]))

    assert [(row["accepted"], row["clips"], row["people"]) for row in table] == [(1, 2, 2)]
    assert (table[0]["blink"], table[0]["mouth"]) == ([1, 1], [0, 1])
    assert table[0]["reasons"] == {"none": 1}
    assert interval(0, 20) == pytest.approx((0, 0.161), abs=0.001)
    assert interval(10, 20) == pytest.approx((0.299, 0.701), abs=0.001)
