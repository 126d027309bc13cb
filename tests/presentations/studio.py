"""Makes presentations: attacks from their recipes, and genuine clips."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pipeline.sessions.base import Pack
from pipeline.types import Picture
from tests.clips import encoded
from tests.presentations.manipulations import PLAYS, Play, Set
from tests.presentations.media import MEDIA, plain
from tests.presentations.motions import MOTIONS, Stage
from tests.presentations.people import LiveClip, Material
from tests.presentations.portraits import Faces, frames
from tests.presentations.recipes import BLINK, MOUTH, Recipe


@dataclass(frozen=True, slots=True)
class Studio:
    """The material, and the models that find faces in it."""

    material: Material
    faces: Faces

    @classmethod
    def with_pack(cls, material: Material, pack: Pack) -> Studio:
        return cls(material, Faces.of(pack))

    def attack(self, recipe: Recipe) -> bytes:
        """The file of an attack. One recipe gives one file."""
        return recipe.camera.film(*self._presented(recipe))

    def pictures(self, recipe: Recipe) -> list[Picture]:
        """The frames of an attack before they are filmed."""
        return self._presented(recipe)[0]

    def _presented(self, recipe: Recipe) -> tuple[list[Picture], np.random.Generator]:
        chance = recipe.chance()
        made = PLAYS[recipe.manipulation](Set(recipe, self.material, self.faces, chance))
        play = _shown(made, recipe, chance)
        return self._moved(play, made, recipe, chance), chance

    def _moved(
        self, play: list[Picture], made: Play, recipe: Recipe, chance: np.random.Generator
    ) -> list[Picture]:
        rate, count = recipe.camera.rate, len(play)
        path = []
        if recipe.mover is not None:
            assert recipe.mover.clip is not None
            clip = self.material.clips()[recipe.mover.clip]
            first = recipe.mover.frame
            last = min(first + round(count * clip.rate / rate) + 2, clip.frames)
            found = self.faces.path(clip, first, last)
            steps = np.minimum(np.arange(count) * clip.rate / rate, len(found) - 1.001)
            whole, part = steps.astype(int), (steps % 1)[:, None, None]
            both = np.array(found)
            path = list(both[whole] * (1 - part) + both[whole + 1] * part)
        scale = play[0].shape[0] / made.face.picture.shape[0]
        x, y = made.face.centre * scale
        stage = Stage(
            np.arange(count) / rate, (float(x), float(y)), made.face.eyes_apart * scale, chance,
            path,
        )
        return MOTIONS[recipe.motion](play, stage)


def _shown(made: Play, recipe: Recipe, chance: np.random.Generator) -> list[Picture]:
    """The play in the camera's size and on its medium; equal pictures are made once."""
    medium, known, shown = None, dict[int, Picture](), []
    spoof = recipe.subject.person.startswith("image_")
    for picture in made.pictures:
        if id(picture) not in known:
            small = recipe.camera.scaled(picture)
            if medium is None:
                look = plain if spoof or recipe.manipulation == "replayed" else MEDIA[recipe.source]
                medium = look(small.shape[:2], chance)
            known[id(picture)] = medium(small)
        shown.append(known[id(picture)])
    return shown


# Genuine clips -----------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Genuine:
    """A clip of a live person who does ``action``: frames ``first`` to ``last`` (not included) of a
    file, or all of it (``whole``)."""

    clip: LiveClip
    action: int
    first: int
    last: int
    whole: bool = False

    @property
    def name(self) -> str:
        action = "blink" if self.action == BLINK else "mouth"
        return f"{self.clip.name} {action} {self.first}-{self.last}"

    @property
    def people(self) -> tuple[str, ...]:
        return (self.clip.person,)

    def data(self) -> bytes:
        """The file: the original where all of it is shown, else its frames encoded finely."""
        if (self.first, self.last) == (0, self.clip.frames):
            return self.clip.path.read_bytes()
        part = frames(self.clip, self.first, self.last)
        height, width = (side - side % 2 for side in part[0].shape[:2])
        return encoded(
            (picture[:height, :width] for picture in part), fps=self.clip.rate,
            options={"crf": "14"},
        )


# Seconds around an action, and of the longest clip.
WINDOW_S, LONGEST_S = 2.5, 29.5


def genuine_clips(material: Material) -> list[Genuine]:
    """A window around every plain blink and every plain opening of the mouth, and the whole clips
    that hold one."""
    found = []
    for clip in material.clips().values():
        if clip.replay:
            continue
        for action, moments in ((BLINK, clip.blinks), (MOUTH, clip.plain_openings)):
            for moment in moments:
                found.append(Genuine(clip, action, *clip.window(moment.peak, WINDOW_S)))
            if moments:
                last = min(clip.frames, int(LONGEST_S * clip.rate))
                found.append(Genuine(clip, action, 0, last, whole=True))
    return found
