"""What an attack is given."""

from __future__ import annotations

from dataclasses import dataclass

from numpy.random import Generator

from tests.outside_attacks.material import Action, Portrait, Shot


@dataclass(frozen=True, slots=True, eq=False)
class Scene:
    """The portrait of the ``victim``, and footage in which somebody does what is asked: another
    person for attacks that animate a portrait, the victim for those that use a recording."""

    victim: Portrait
    act: Shot
    rng: Generator

    @property
    def action(self) -> Action:
        return self.act.event.action

    @property
    def count(self) -> int:
        return len(self.act.frames)

    @property
    def fps(self) -> float:
        return self.act.fps

    @property
    def start(self) -> float:
        """When the action starts, in seconds."""
        return self.act.start / self.fps
