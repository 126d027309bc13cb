"""The attacks, and which clips are made of each."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from pipeline.types import Picture
from tests.clips import encoded
from tests.outside_attacks import composites, portraits, prints
from tests.outside_attacks.camera import hand_path, sensed, shaken
from tests.outside_attacks.material import (
    BLINKS,
    OPENINGS,
    PORTRAITS,
    WITH_GLASSES,
    Action,
    Event,
    Material,
    person_of,
)
from tests.outside_attacks.scene import Scene

PER_ACTION = 10
SEED = 20261130


@dataclass(frozen=True, slots=True)
class Attack:
    """``own``: it uses footage of the victim; otherwise a portrait of the victim and footage of
    another person. ``open_lips``: for the mouth it needs a portrait with open lips.
    ``glasses``: portraits with glasses serve too. ``shake``: a hand's motion that the attack does
    not make itself, 1 is usual."""

    make: Callable[[Scene], Iterator[Picture]]
    own: bool = False
    open_lips: bool = False
    glasses: bool = False
    shake: float = 0.0

    @property
    def name(self) -> str:
        return self.make.__name__

    @property
    def source(self) -> str:
        """The literature, from the attack's docstring."""
        return " ".join((self.make.__doc__ or "").split("\n\n")[-1].split())


ATTACKS = (
    Attack(prints.cut_out_print, glasses=True),
    Attack(prints.flexed_print, open_lips=True, glasses=True),
    Attack(prints.screen_replay, own=True),
    Attack(portraits.driven_portrait, shake=0.6),
    Attack(portraits.ratio_portrait),
    Attack(portraits.virtual_head),
    Attack(composites.face_swap),
    Attack(composites.region_replay, own=True),
    Attack(composites.feature_morph, own=True),
    Attack(composites.spliced_footage, own=True),
)


@dataclass(frozen=True, slots=True)
class PlannedClip:
    """One clip of an attack: the portrait's name (empty with footage of the victim) and the
    event."""

    attack: Attack
    number: int
    portrait: str
    event: Event

    @property
    def action(self) -> Action:
        return self.event.action

    @property
    def person(self) -> str:
        return person_of(self.portrait) if self.portrait else self.event.person

    @property
    def name(self) -> str:
        return f"{self.attack.name}-{self.action}-{self.number:02d}"


def planned(attack: Attack, count: int = PER_ACTION) -> list[PlannedClip]:
    """``count`` clips for each action. Portraits meet other events in every attack."""
    clips = []
    shift = ATTACKS.index(attack)
    for half, events in enumerate((BLINKS, OPENINGS)):
        # Half-open eyes drive nobody's lids.
        fit = [event for event in events if attack.own or event.person != "p09"]
        for number in range(count):
            event = fit[(number + 3 * shift) % len(fit)]
            portrait = "" if attack.own else _portrait(attack, 2 * number + half + shift, event)
            if attack.open_lips and event.action == "mouth":
                portrait = ""
            clips.append(PlannedClip(attack, number, portrait, event))
    return clips


def _portrait(attack: Attack, number: int, event: Event) -> str:
    """A portrait of somebody else."""
    known = (*WITH_GLASSES, *PORTRAITS) if attack.glasses else PORTRAITS
    names = [name for name in known if person_of(name) != event.person]
    return names[number % len(names)]


def rendered(clip: PlannedClip, material: Material) -> tuple[list[Picture], float]:
    """The frames of a clip, before its encoder, and their rate."""
    shot = material.shot(clip.event)
    rng = np.random.default_rng(
        [SEED, ATTACKS.index(clip.attack), clip.number, clip.action == "mouth"]
    )
    victim = material.portrait(clip.portrait) if clip.portrait else shot.portrait
    if clip.attack.open_lips and not clip.portrait:
        victim = shot.at(shot.peak)
    frames = clip.attack.make(Scene(victim, shot, rng))
    if clip.attack.shake:
        path = clip.attack.shake * hand_path(rng, len(shot.frames), shot.fps, victim.face.width)
        frames = shaken(frames, path)
    noise, soft = rng.uniform(1.2, 2.4), rng.uniform(0.35, 0.6)
    return list(sensed(frames, rng, shot.fps, noise=noise, soft=soft)), shot.fps


def film(clip: PlannedClip, material: Material) -> bytes:
    """The clip as a file."""
    frames, fps = rendered(clip, material)
    return encoded(frames, fps=fps)
