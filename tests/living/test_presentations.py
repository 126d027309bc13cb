"""The generator of attacks makes what it says, the same each time; its tables count right."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise, product
from pathlib import Path

import numpy as np
import pytest

from pipeline.sessions.base import Pack
from pipeline.types import Picture
from tests.benchmarks.living_errors import (
    Bench,
    Outcome,
    Presentation,
    described,
    outcomes,
    presentations,
    report,
)
from tests.clips import pictures_of
from tests.presentations.motions import MOTIONS, UNMOVED
from tests.presentations.observations import packed, unpacked
from tests.presentations.people import Material
from tests.presentations.portraits import frames
from tests.presentations.recipes import BLINK, KINDS, MANIPULATIONS, MOVED, Recipe, recipe
from tests.presentations.studio import Genuine, Studio, genuine_clips
from tests.shares import interval

# Manipulations that change a part of one picture.
PARTS = (
    "lids blended", "lids warped", "lids painted", "mouth blended", "mouth warped",
    "mouth painted",
)


@pytest.fixture(scope="module")
def studio(material: Material, edge_pack: Pack) -> Studio:
    return Studio.with_pack(material, edge_pack)


def difference(one: Picture, other: Picture) -> np.ndarray:
    return np.asarray(np.abs(one.astype(np.float32) - other).mean(axis=2))


# Draws -------------------------------------------------------------------------


def test_every_crossing_comes_up(material: Material) -> None:
    for kind, (name, moved) in KINDS.items():
        wanted = MANIPULATIONS[name]
        drawn = [recipe(kind, number, material) for number in range(40)]
        crossed = {(one.motion, one.source) for one in drawn}
        motions = wanted.motions if moved else (UNMOVED,)
        assert crossed == set(product(motions, wanted.sources)), kind
        assert {one.action for one in drawn} == set(wanted.actions)
        assert {one.variant for one in drawn} == set(wanted.variants)
        containers = Counter(one.camera.container for one in drawn)
        assert set(containers.values()) == {8}, "five containers, equally often"


def test_a_recipe_names_everybody(material: Material) -> None:
    blended = [recipe("lids blended, moved", number, material) for number in range(40)]
    assert all(one.people[0] == one.subject.person for one in blended)
    assert all(one.mover.person in one.people for one in blended if one.mover is not None)
    strangers = [one for one in blended if one.source == "press photo"]
    assert strangers
    assert all(one.donor is not None and one.donor.person in one.people for one in strangers)


def test_another_seed_is_another_attack(material: Material) -> None:
    one, same, other = (recipe("still, moved", 3, material, seed) for seed in (7, 7, 8))
    assert one == same
    assert one != other


# Pixels ------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["lids painted, moved", "frame held", "pictures in turn, moved"])
def test_one_recipe_gives_one_clip(kind: str, material: Material, edge_pack: Pack) -> None:
    wanted = recipe(kind, 1, material)
    files = [Studio.with_pack(material, edge_pack).attack(wanted) for _ in range(2)]
    one, other = (list(pictures_of(data)) for data in files)
    assert len(one) == len(other) > 10
    assert all((mine == its).all() for mine, its in zip(one, other, strict=True))


@pytest.mark.parametrize("name", PARTS)
def test_a_part_of_the_picture_changes(name: str, studio: Studio, material: Material) -> None:
    pictures = studio.pictures(recipe(name, 2, material))
    changes = [difference(pictures[0], one) for one in pictures]
    fullest = max(changes, key=lambda change: float(change.mean()))

    assert not changes[-1].any(), "it ends as it began"
    assert fullest.max() > 20
    assert (fullest > 1).mean() < 0.35
    assert len({round(float(change.mean()), 4) for change in changes}) > 2, "not at one blow"


def test_a_still_is_still_until_it_is_moved(studio: Studio, material: Material) -> None:
    held = studio.pictures(recipe("still", 0, material))
    assert not any(difference(held[0], one).any() for one in held)
    motions = set()
    for number in range(40):
        wanted = recipe("still, moved", number, material)
        if wanted.motion not in motions:
            motions.add(wanted.motion)
            pictures = studio.pictures(wanted)
            steps = [difference(one, other).mean() for one, other in pairwise(pictures[:11])]
            assert min(steps) > 0, wanted.motion
            assert len(pictures) == len({one.tobytes() for one in pictures}), wanted.motion
    assert motions == set(MOVED) == set(MOTIONS) - {UNMOVED}


def test_clips_are_looped_reversed_and_interrupted(studio: Studio, material: Material) -> None:
    for number in range(40):
        back = recipe("reversed", number, material)
        clip = material.clips()[back.subject.clip or ""]
        if back.source == "live frame" and back.camera.rate == round(clip.rate):
            break
    else:
        raise AssertionError("one is at the rate of its clip")
    window = frames(clip, *clip.window(back.subject.frame, 2.5))
    expected = [back.camera.scaled(one) for one in window[::-1]]
    found = studio.pictures(back)
    assert all((one == other).all() for one, other in zip(found, expected, strict=True))

    looped = studio.pictures(recipe("looped", 1, material))
    assert len({one.tobytes() for one in looped}) <= len(looped) / 2
    held = studio.pictures(recipe("frame held", 0, material))
    most = Counter(one.tobytes() for one in held).most_common(1)[0][1]
    assert most >= 3


def test_a_head_may_be_turned_too_far_at_first(studio: Studio, material: Material) -> None:
    wanted = recipe("head turned", 29, material)
    pictures = studio.pictures(wanted)
    assert not studio.faces.detector.detect(pictures[0])
    assert abs(len(pictures) - 2.5 * wanted.camera.rate) < 2


# Genuine clips -----------------------------------------------------------------


def test_genuine_clips_hold_their_action_in_the_middle(material: Material) -> None:
    clips = material.clips()
    found = genuine_clips(material)
    windows = [one for one in found if not one.whole]
    assert len(windows) == sum(
        len(clip.blinks) + len(clip.plain_openings) for clip in clips.values() if not clip.replay
    )
    for one in windows:
        assert 0 <= one.first < one.last <= one.clip.frames
        assert one.last - one.first == min(round(2.5 * one.clip.rate), one.clip.frames)
        moments = one.clip.blinks if one.action == BLINK else one.clip.plain_openings
        assert any(one.first <= moment.peak < one.last for moment in moments)
    assert all((one.last - one.first) / one.clip.rate < 30 for one in found)
    assert {one.clip.person for one in found} <= {clip.person for clip in clips.values()}


# Observations and tables ----------------------------------------------------------


def test_observations_are_kept_as_they_are(
    material: Material, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = Bench(material, tmp_path)
    one = Presentation(recipe("still", 1, material))
    seen = bench.observations(one)
    monkeypatch.setattr(bench, "models", None)  # nothing is tracked again
    kept = bench.observations(one)

    assert len(kept) == len(seen) > 10
    assert packed(kept) == packed(seen) == packed(unpacked(packed(seen)))
    for old, new in zip(seen, kept, strict=True):
        assert old.face is not None
        assert new.face is not None
        assert (old.index, old.time, old.face.box) == (new.index, new.time, new.face.box)
        assert old.face.lid_ratios == new.face.lid_ratios
        assert old.face.stabilised.dtype == new.face.stabilised.dtype == np.uint8
        assert (old.face.stabilised == new.face.stabilised).all()
        assert (old.face.embedding == new.face.embedding).all()
    another = Presentation(recipe("still", 2, material))
    assert bench.cache.place(another.name) != bench.cache.place(one.name)
    assert not bench.cache.place(another.name).exists()


def test_the_benchmark_in_its_smallest_size(material: Material, tmp_path: Path) -> None:
    chosen = list(presentations(material, 1, ("genuine", "still"), ("p02", "George_W_Bush")))
    assert {one.live for one in chosen} == {True, False}
    found = list(outcomes(material, tmp_path, chosen, 1))
    assert [one.presentation for one in found] == chosen
    [still] = [one for one in found if not one.presentation.live]
    assert not still.real
    assert still.reasons
    lines = report(found)
    assert "| still | 1 | 0 | 0.0 % | 0.0 to 79.3 % |" in lines


def test_tables_count_wrong_ones(material: Material) -> None:
    attacks = [Presentation(recipe("still", number, material)) for number in range(8)]
    live = [Presentation(one) for one in genuine_clips(material)
            if one.action == BLINK and not one.whole][:4]
    found = [
        *(Outcome(one, number < 2, ("still",)) for number, one in enumerate(attacks)),
        *(Outcome(one, number > 0, ()) for number, one in enumerate(live)),
    ]
    lines = report(found)
    assert "| still | 8 | 2 | 25.0 % | 7.1 to 59.1 % |" in lines
    assert f"| {live[0].kind} | 4 | 1 | 25.0 % | 4.6 to 69.9 % |" in lines
    assert f"| {UNMOVED} | 8 | 2 | 25.0 % | 7.1 to 59.1 % |" in lines
    by_source: Counter[str] = Counter()
    for one in attacks:
        assert isinstance(one.made, Recipe)
        by_source[one.made.source] += 1
    for source, count in by_source.items():
        assert any(line.startswith(f"| {source} | {count} |") for line in lines)
    assert isinstance(live[0].made, Genuine)
    assert described(found[-4]).startswith(f"{live[0].kind}, {live[0].made.name}")


def test_wilsons_interval() -> None:
    assert interval(1, 60) == pytest.approx((0.00295, 0.08855), abs=1e-4)
    assert interval(24, 24) == pytest.approx((0.86202, 1.0), abs=1e-4)
    assert interval(0, 0) == (0.0, 1.0)
