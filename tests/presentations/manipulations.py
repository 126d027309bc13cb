"""Plays of the manipulations: frames at the camera's rate, not yet moved or filmed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from pipeline.sessions.contours import Aperture
from pipeline.types import Picture
from tests.clips import at_rate
from tests.presentations import courses, edits
from tests.presentations.courses import Course
from tests.presentations.people import LiveClip, Material
from tests.presentations.portraits import Faces, Portrait, affine_between, frames
from tests.presentations.recipes import BLINK, Recipe, Subject


@dataclass(frozen=True, slots=True, eq=False)
class Play:
    """Pictures of one size, and the face at the beginning."""

    pictures: Sequence[Picture]
    face: Portrait


@dataclass(frozen=True, slots=True, eq=False)
class Set:
    """What a manipulation works with: a recipe, material, and models."""

    recipe: Recipe
    material: Material
    faces: Faces
    chance: np.random.Generator

    def clip(self, subject: Subject) -> LiveClip:
        assert subject.clip is not None
        return self.material.clips()[subject.clip]

    def times(self) -> Course:
        """The times (s) of the frames of a clip of two seconds and a bit."""
        rate = self.recipe.camera.rate
        return np.asarray(np.arange(round(self.chance.uniform(1.9, 2.6) * rate)) / rate)

    def rest(self, subject: Subject) -> Portrait:
        """The subject at rest."""
        if subject.photo is not None:
            return self._photographed(subject.person, subject.photo)
        clip = self.clip(subject)
        if subject.moment is None:
            return self.faces.of_frame(clip, subject.frame)
        if self.recipe.action == BLINK:
            return self.faces.open_eyed_near(clip, subject.moment.peak)
        return self.faces.of_frame(clip, max(subject.moment.first - 3, 0))

    def _photographed(self, person: str, photo: Path) -> Portrait:
        """A photograph; for the mouth one of the half of a person's in which the lips are closest
        together."""
        photos = self.material.photos().get(person, [photo])
        if self.recipe.action == BLINK:
            return self.faces.of_photo(photo)
        by_lips = sorted(photos, key=lambda one: self.faces.of_photo(one).contours.mouth.ratio)
        return self.faces.of_photo(by_lips[photos.index(photo) // 2])

    def done(self) -> Portrait:
        """The picture that shows the action, of the donor or else of the subject."""
        subject = self.recipe.donor or self.recipe.subject
        assert subject.moment is not None
        return self.faces.of_frame(self.clip(subject), subject.moment.peak)

    def slits(self, portrait: Portrait) -> tuple[Aperture, ...]:
        """The apertures that the action is about."""
        contours = portrait.contours
        return contours.eyes if self.recipe.action == BLINK else (contours.mouth,)

    def shown(self, first: int, last: int) -> list[Picture]:
        """Frames of the subject's clip, at the camera's rate."""
        clip = self.clip(self.recipe.subject)
        part = frames(clip, max(first, 0), min(last, clip.frames))
        return at_rate(part, self.recipe.camera.rate, clip.rate)

    def natural(self, times: Course) -> Course:
        """The course of a natural action somewhere in the middle of the clip."""
        begin = float(self.chance.uniform(0.3, 0.55) * times[-1])
        make = courses.blink if self.recipe.action == BLINK else courses.opening
        return make(times, begin, self.chance)

    def switched(self, times: Course) -> Course:
        """To the other picture and back, within one to four thirtieths of a second each."""
        begin = float(self.chance.uniform(0.3, 0.55) * times[-1])
        short = self.recipe.action == BLINK
        held = self.chance.uniform(0.04, 0.2) if short else self.chance.uniform(0.25, 0.7)
        held = max(float(held), float(times[1] - times[0]))
        return courses.jumps(times, begin, held, int(self.chance.integers(1, 5)))


def edited(edit: edits.Edit, course: Course, base: Picture) -> Iterator[Picture]:
    """The pictures of a course; equal amounts give one picture."""
    known: dict[float, Picture] = {0.0: base}
    for value in course:
        amount = round(float(np.clip(value, 0, 1)), 3)
        if amount not in known:
            known[amount] = edit(amount)
        yield known[amount]


def _still(stage: Set) -> Play:
    rest = stage.rest(stage.recipe.subject)
    return Play([rest.picture] * len(stage.times()), rest)


def _in_turn(stage: Set) -> Play:
    """Two whole pictures in turn. A stranger's photograph gets a donor's eyes or mouth first and is
    then a second picture, taken from a little elsewhere."""
    rest, times = stage.rest(stage.recipe.subject), stage.times()
    slits, done = stage.slits(rest), stage.done()
    if stage.recipe.donor is not None:
        other = edits.blended(edits.fitted(done, rest, slits), rest, slits, 0.7)(1.0)
        matrix = cv2.getRotationMatrix2D(
            (float(rest.centre[0]), float(rest.centre[1])), float(stage.chance.uniform(-0.3, 0.3)),
            float(stage.chance.uniform(0.995, 1.005)),
        )
        matrix[:, 2] = matrix[:, 2] + stage.chance.uniform(-0.8, 0.8, 2)
        other = np.asarray(cv2.warpAffine(
            other, matrix, other.shape[1::-1], flags=cv2.INTER_CUBIC,
            borderMode=cv2.BORDER_REFLECT_101,
        ), np.uint8)
    elif stage.recipe.variant == "as they are":
        other = done.picture
    else:
        other = edits.fitted(done, rest, slits)
    course = stage.switched(times)
    if stage.recipe.variant != "faded":
        course = (course > 0.5).astype(np.float64)
    return Play(list(edited(edits.swapped(other, rest.picture), course, rest.picture)), rest)


def _blended(stage: Set) -> Play:
    rest, times = stage.rest(stage.recipe.subject), stage.times()
    slits = stage.slits(rest)
    other = edits.fitted(stage.done(), rest, slits)
    blink = stage.recipe.action == BLINK
    size = float(stage.chance.uniform(0.6, 0.9) if blink else stage.chance.uniform(0.8, 1.2))
    make = edits.wiped if stage.recipe.variant == "wiped" else edits.blended
    course = stage.natural(times) if stage.chance.random() < 0.5 else stage.switched(times)
    return Play(list(edited(make(other, rest, slits, size), course, rest.picture)), rest)


def _changed(make: Callable[[Set, Portrait], edits.Edit]) -> Callable[[Set], Play]:
    """A manipulation of one picture that takes a natural course."""

    def play(stage: Set) -> Play:
        rest, times = stage.rest(stage.recipe.subject), stage.times()
        edit = make(stage, rest)
        return Play(list(edited(edit, stage.natural(times), rest.picture)), rest)

    return play


def _warped_lids(stage: Set, rest: Portrait) -> edits.Edit:
    make = edits.lids_pulled if stage.recipe.variant == "pulled" else edits.lids_pressed
    return make(rest)


def _painted_lids(stage: Set, rest: Portrait) -> edits.Edit:
    return edits.lids_painted(rest, copied=stage.recipe.variant == "copied")


def _warped_mouth(stage: Set, rest: Portrait) -> edits.Edit:
    return edits.mouth_pulled(rest, float(stage.chance.uniform(0.3, 0.55)))


def _painted_mouth(stage: Set, rest: Portrait) -> edits.Edit:
    return edits.mouth_painted(rest, float(stage.chance.uniform(0.35, 0.6)))


# Clips -------------------------------------------------------------------------


def _from_clip(stage: Set, pictures: Sequence[Picture]) -> Play:
    return Play(pictures, stage.faces.first_portrait(pictures))


def _held(stage: Set) -> Play:
    """A frame with the action, fitted to a live clip without it and held there for a while."""
    window = stage.recipe.subject.moment
    assert window is not None
    pictures = stage.shown(window.first, window.last)
    rate = stage.recipe.camera.rate
    place = int(stage.chance.uniform(0.3, 0.7) * len(pictures))
    there = stage.faces.portrait(pictures[place])
    done = stage.done()
    matrix = affine_between(done.contours.rigid, there.contours.rigid)
    other = np.asarray(cv2.warpAffine(
        done.picture, matrix, there.picture.shape[1::-1], flags=cv2.INTER_CUBIC,
        borderMode=cv2.BORDER_REFLECT_101,
    ), np.uint8)
    held = max(round(stage.chance.uniform(0.1, 0.4) * rate), 1)
    return _from_clip(stage, [*pictures[:place], *[other] * held, *pictures[place:]])


def _looped(stage: Set) -> Play:
    """The action and a little around it, again and again for two to three and a half seconds."""
    clip, moment = stage.clip(stage.recipe.subject), stage.recipe.subject.moment
    assert moment is not None
    before, after = (round(stage.chance.uniform(0.15, 0.5) * clip.rate) for _ in "ab")
    last = min(moment.last, moment.peak + round(0.6 * clip.rate)) + after
    part = stage.shown(moment.first - before, last)
    if stage.recipe.variant == "to and fro":
        part = [*part, *part[::-1]]
    wanted = stage.chance.uniform(2.0, 3.5) * stage.recipe.camera.rate
    return _from_clip(stage, part * max(2, round(wanted / len(part))))


def _reversed(stage: Set) -> Play:
    return _from_clip(stage, _around_action(stage, 2.5)[::-1])


def _around_action(stage: Set, seconds: float) -> list[Picture]:
    subject = stage.recipe.subject
    return stage.shown(*stage.clip(subject).window(subject.frame, seconds))


def _cut(stage: Set) -> Play:
    """Live while the action lasts, someone else's photograph before or after, or both."""
    live, stranger = _around_action(stage, 1.4), stage.recipe.donor
    assert stranger is not None
    assert stranger.photo is not None
    photo = stage.faces.of_photo(stranger.photo).picture
    height, width = live[0].shape[:2]
    scale = max(height / photo.shape[0], width / photo.shape[1])
    left, top = ((scale * side - size) / 2 for side, size in zip(
        photo.shape[1::-1], (width, height), strict=True
    ))
    matrix = np.array([[scale, 0, -left], [0, scale, -top]])
    placed = np.asarray(cv2.warpAffine(
        photo, matrix, (width, height), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE
    ), np.uint8)
    still = [placed] * round(0.8 * stage.recipe.camera.rate)
    variant = stage.recipe.variant
    pictures = [
        *(still if variant in ("before", "both") else ()), *live,
        *(still if variant in ("after", "both") else ()),
    ]
    return _from_clip(stage, pictures)


def _another(stage: Set) -> Play:
    return _from_clip(stage, _around_action(stage, 2.2))


def _window(stage: Set) -> Play:
    first = stage.recipe.subject.frame
    clip = stage.clip(stage.recipe.subject)
    return _from_clip(stage, stage.shown(first, first + round(2.5 * clip.rate)))


PLAYS: dict[str, Callable[[Set], Play]] = {
    "still": _still,
    "pictures in turn": _in_turn,
    "lids blended": _blended,
    "lids warped": _changed(_warped_lids),
    "lids painted": _changed(_painted_lids),
    "mouth blended": _blended,
    "mouth warped": _changed(_warped_mouth),
    "mouth painted": _changed(_painted_mouth),
    "frame held": _held,
    "looped": _looped,
    "reversed": _reversed,
    "cut to a photo": _cut,
    "another action": _another,
    "head turned": _window,
    "replayed": _window,
}
