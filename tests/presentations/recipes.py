"""What an attack is made of, drawn before anything is made.

Every value of an axis comes up equally often: numbers 0, 1, 2 ... of a kind run through seeded
permutations of the axis, one after the other.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import TypeVar

import numpy as np

from tests.presentations.cameras import (
    CONTAINERS,
    LIGHTS,
    NOISES,
    QUALITIES,
    RATES,
    SIZES,
    Camera,
)
from tests.presentations.media import LIVE, PRESS, PRINT, SCREEN
from tests.presentations.motions import MOTIONS, OF_A_HEAD, UNMOVED
from tests.presentations.people import (
    ALONE,
    MOVING,
    STEADY,
    TURNING,
    LiveClip,
    Material,
    Moment,
)

BLINK, MOUTH = 1, 2

Value = TypeVar("Value")

MOVED = tuple(name for name in MOTIONS if name != UNMOVED)
CAMERA_MOVED = tuple(name for name in MOVED if name not in OF_A_HEAD)


@dataclass(frozen=True, slots=True)
class Manipulation:
    """What may be drawn for a manipulation: the ``actions`` that it is shown for, its
    ``variants``, the ``sources`` it is made of, the ``motions`` it is moved by (none: it is only
    shown unmoved), and its ``cast``: which pictures and clips it needs."""

    actions: tuple[int, ...]
    cast: str
    variants: tuple[str, ...] = ("",)
    sources: tuple[str, ...] = (LIVE, PRESS, PRINT, SCREEN)
    motions: tuple[str, ...] = MOVED


# Casts: one picture; that and another with the action; a live clip without the action, with it, or
# with it and a stranger's photograph; a clip with the other action; a turning head; a replay.
ONE, TWO, STEADY_CLIP, ACTING_CLIP, TWO_PEOPLE, OTHER_CLIP, TURNING_CLIP, REPLAY = (
    "one", "two", "steady", "acting", "two people", "other", "turning", "replay",
)

_SHOWN = (LIVE, SCREEN)  # where a clip comes from

MANIPULATIONS: dict[str, Manipulation] = {
    "still": Manipulation((BLINK, MOUTH), ONE),
    "pictures in turn": Manipulation((BLINK, MOUTH), TWO, ("aligned", "faded", "as they are")),
    "lids blended": Manipulation((BLINK,), TWO, ("faded", "wiped")),
    "lids warped": Manipulation((BLINK,), ONE, ("pulled", "pressed")),
    "lids painted": Manipulation((BLINK,), ONE, ("filled", "copied")),
    "mouth blended": Manipulation((MOUTH,), TWO),
    "mouth warped": Manipulation((MOUTH,), ONE),
    "mouth painted": Manipulation((MOUTH,), ONE),
    "frame held": Manipulation(
        (BLINK, MOUTH), STEADY_CLIP, sources=_SHOWN, motions=CAMERA_MOVED
    ),
    "looped": Manipulation(
        (BLINK, MOUTH), ACTING_CLIP, ("forward", "to and fro"), _SHOWN, CAMERA_MOVED
    ),
    "reversed": Manipulation((BLINK, MOUTH), ACTING_CLIP, sources=_SHOWN, motions=()),
    "cut to a photo": Manipulation(
        (BLINK, MOUTH), TWO_PEOPLE, ("before", "after", "both"), (LIVE,), ()
    ),
    "another action": Manipulation((BLINK, MOUTH), OTHER_CLIP, sources=(LIVE,), motions=()),
    "head turned": Manipulation((MOUTH,), TURNING_CLIP, sources=(LIVE,), motions=()),
    "replayed": Manipulation((BLINK, MOUTH), REPLAY, sources=(SCREEN,), motions=()),
}

KINDS: dict[str, tuple[str, bool]] = {
    (f"{name}, moved" if moved else name): (name, moved)
    for name, manipulation in MANIPULATIONS.items()
    for moved in ((False, True) if manipulation.motions else (False,))
}
"""Manipulation, and whether it is moved, by the kind's name."""


@dataclass(frozen=True, slots=True)
class Subject:
    """Whose face an attack shows: a photograph, or a moment or a window of a live clip."""

    person: str
    photo: Path | None = None
    clip: str | None = None
    moment: Moment | None = None
    frame: int = 0


@dataclass(frozen=True, slots=True)
class Recipe:
    """One attack. ``donor`` gives the action where the subject has none, ``mover`` the motion of a
    head; ``camera`` films it. ``seed`` makes every other choice."""

    kind: str
    number: int
    manipulation: str
    variant: str
    action: int
    source: str
    motion: str
    subject: Subject
    donor: Subject | None
    mover: Subject | None
    camera: Camera
    seed: int

    @property
    def name(self) -> str:
        return f"{self.kind} {self.number}"

    @property
    def people(self) -> tuple[str, ...]:
        """Everybody of whom the attack has something, the one it shows first."""
        found = (self.subject, self.donor, self.mover)
        return tuple(dict.fromkeys(one.person for one in found if one is not None))

    def chance(self) -> np.random.Generator:
        """The chance of all that is not drawn yet."""
        return np.random.default_rng((self.seed, _number_of(self.kind), self.number, 99))


def recipe(kind: str, number: int, material: Material, seed: int = 7) -> Recipe:
    """The ``number``-th attack of a kind."""
    name, moved = KINDS[kind]
    manipulation = MANIPULATIONS[name]
    draw = _Draw(kind, number, seed)
    motions = manipulation.motions if moved else (UNMOVED,)
    motion, source = draw("motion and source", tuple(product(motions, manipulation.sources)))
    action = draw("action", manipulation.actions)
    subject, donor = _cast(manipulation.cast, source, action, material, draw)
    mover = None
    if motion in OF_A_HEAD:
        clips = material.clips()
        others = sorted(one for one in MOVING if clips[one].person != subject.person)
        clip = clips[draw("mover", others)]
        begin = int(draw.chance("moved from").choice(MOVING[clip.name]))
        mover = Subject(clip.person, clip=clip.name, frame=begin)
    camera = Camera(
        rate=draw("rate", RATES), size=draw("size", SIZES), light=draw("light", tuple(LIGHTS)),
        noise=draw("noise", NOISES), container=draw("container", CONTAINERS),
        quality=draw("quality", QUALITIES),
    )
    return Recipe(
        kind, number, name, draw("variant", manipulation.variants), action, source, motion,
        subject, donor, mover, camera, seed,
    )


@dataclass(frozen=True, slots=True)
class _Draw:
    """Draws the values of one attack's axes."""

    kind: str
    number: int
    seed: int

    def __call__(self, axis: str, values: Sequence[Value]) -> Value:
        turn, place = divmod(self.number, len(values))
        chance = np.random.default_rng((self.seed, _number_of(self.kind), _number_of(axis), turn))
        return values[int(chance.permutation(len(values))[place])]

    def chance(self, axis: str) -> np.random.Generator:
        return np.random.default_rng(
            (self.seed, _number_of(self.kind), _number_of(axis), self.number, 1)
        )


def _number_of(name: str) -> int:
    return zlib.crc32(name.encode())


def _moments(clip: LiveClip, action: int) -> tuple[Moment, ...]:
    return clip.blinks if action == BLINK else clip.openings


def _cast(
    cast: str, source: str, action: int, material: Material, draw: _Draw
) -> tuple[Subject, Subject | None]:
    clips = material.clips()
    acting = {
        name: clip for name, clip in clips.items() if not clip.replay and _moments(clip, action)
    }
    if cast == TURNING_CLIP:
        return _window(clips[draw("subject", TURNING)], draw), None
    if cast == REPLAY:
        replays = [name for name, clip in clips.items() if clip.replay]
        return _window(clips[draw("subject", replays)], draw), None
    if cast == STEADY_CLIP:
        steady = [one for one in STEADY if one[0] == action]
        _, name, first, last = draw("subject", steady)
        moments = _moments(clips[name], action)
        moment = moments[int(draw.chance("moment").integers(len(moments)))]
        window = Moment(first, moment.peak, last)
        return Subject(clips[name].person, clip=name, moment=window), None
    if cast == OTHER_CLIP:
        alone = [one for one in ALONE if one[0] == action]
        _, name, peak = draw(f"subject {action}", alone)
        return Subject(clips[name].person, clip=name, frame=peak), None
    if cast in (ACTING_CLIP, TWO_PEOPLE):
        stranger = _photo(material, draw) if cast == TWO_PEOPLE else None
        return _acting(_by_person(acting, draw, f"subject {action}"), action, draw), stranger
    return _pictured(cast, source, action, material, acting, draw)


def _pictured(
    cast: str, source: str, action: int, material: Material, acting: dict[str, LiveClip],
    draw: _Draw,
) -> tuple[Subject, Subject | None]:
    """The subject, and for ``TWO`` the donor, of an attack that is made from single pictures."""
    clips = material.clips()
    filmed = source == LIVE
    if source in (PRINT, SCREEN):
        of = draw(f"{source} of", ("a frame", "a photo", "a frame", "a photo", "itself"))
        if of == "itself" and cast == ONE:
            name = "image_F1" if source == PRINT else "image_F2"
            return Subject(name, photo=material.faces / "spoof" / f"{name}.jpg"), None
        filmed = of == "a frame"
    if filmed and cast == ONE:
        clip = _by_person({one: clips[one] for one in clips if clips[one].rests}, draw, "subject")
        frame = int(draw.chance("rest").choice(clip.rests))
        return Subject(clip.person, clip=clip.name, frame=frame), None
    donor = _acting(_by_person(acting, draw, f"donor {action}"), action, draw)
    if filmed:
        return donor, None
    return _photo(material, draw), donor if cast == TWO else None


def _photo(material: Material, draw: _Draw) -> Subject:
    photos = material.photos()
    person = draw("photographed", tuple(photos))
    photo = photos[person][int(draw.chance("photo").integers(len(photos[person])))]
    return Subject(person, photo=photo)


def _acting(clip: LiveClip, action: int, draw: _Draw) -> Subject:
    moments = _moments(clip, action)
    moment = moments[int(draw.chance("moment").integers(len(moments)))]
    return Subject(clip.person, clip=clip.name, moment=moment, frame=moment.peak)


def _by_person(clips: dict[str, LiveClip], draw: _Draw, axis: str) -> LiveClip:
    """A clip of the person whose turn it is."""
    people = sorted({clip.person for clip in clips.values()})
    person = draw(axis, people)
    of_person = [clip for clip in clips.values() if clip.person == person]
    return of_person[int(draw.chance(axis).integers(len(of_person)))]


def _window(clip: LiveClip, draw: _Draw) -> Subject:
    first = int(draw.chance("window").integers(0, clip.frames - round(2.5 * clip.rate)))
    return Subject(clip.person, clip=clip.name, frame=first)
