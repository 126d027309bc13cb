"""Errors of the liveness verdicts by kinds of attacks, and by people.

    python -m tests.benchmarks.living_errors --each 40 --cache DIR

APCER and BPCER as in ISO/IEC 30107-3: the share of attacks of one kind that are taken for live, and
of live clips that are not. Genuine are a window around each plain blink and each opening of the
mouth, and whole clips. The observations of each clip are made once and kept in the folder
``--cache``; with them, a run takes about a minute. ``--people`` restricts to clips that show these
people, ``--verbose`` lists every wrong clip. A second run with another ``--seed`` makes other
attacks.
"""

from __future__ import annotations

import argparse
import hashlib
import tempfile
import zlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import cv2

from pipeline.errors import FaceError
from pipeline.living.decision import DecisionPolicy
from pipeline.living.motion_signature import MotionSignature
from pipeline.living.tracking import FrameObservation, LivenessModels
from pipeline.living.verdict import LivenessAction
from pipeline.sessions.base import Pack
from tests.conftest import load_edge, models_directory
from tests.living_clips import judge_of
from tests.presentations.observations import ObservationCache
from tests.presentations.people import Material
from tests.presentations.recipes import BLINK, KINDS, Recipe, recipe
from tests.presentations.studio import WINDOW_S, Genuine, Studio, genuine_clips
from tests.shares import interval

SHARED = Path(__file__).resolve().parents[3] / "shared"

GENUINE = "genuine"


@dataclass(frozen=True, slots=True)
class Presentation:
    """A clip for the table: an attack or a genuine clip."""

    made: Recipe | Genuine

    @property
    def name(self) -> str:
        """Its identity: all that was drawn for it."""
        if isinstance(self.made, Recipe):
            drawn = zlib.crc32(repr(self.made).encode())
            return f"{self.made.name} seed {self.made.seed} {drawn:08x}"
        return f"{self.made.clip.name} {self.made.first}-{self.made.last}"

    @property
    def live(self) -> bool:
        return isinstance(self.made, Genuine)

    @property
    def kind(self) -> str:
        if isinstance(self.made, Recipe):
            return self.made.kind
        action = "blink" if self.made.action == BLINK else "mouth"
        return f"{action}, whole clips" if self.made.whole else f"{action}, 2.5 s around each"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What was decided on a presentation: ``real``, and the reasons or the error's code.
    ``copy``: taken for a copy of a used clip, where a reversed clip's original was used, or all
    windows of a genuine clip's file that do not overlap with it."""

    presentation: Presentation
    real: bool
    reasons: tuple[str, ...]
    copy: bool = False

    @property
    def wrong(self) -> bool:
        return self.real != self.presentation.live

    @property
    def wrong_with_used(self) -> bool:
        """Wrong where the clips that ``copy`` speaks of were used."""
        return (self.real and not self.copy) != self.presentation.live


def presentations(
    material: Material, each: int, kinds: Sequence[str] = (), people: Sequence[str] = (),
    seed: int = 7,
) -> Iterator[Presentation]:
    """Genuine clips, then ``each`` attacks of every kind in turn, or of those named; of
    everybody, or only those that show one of ``people``."""
    wanted: list[Recipe | Genuine] = []
    if not kinds or GENUINE in kinds:
        wanted += genuine_clips(material)
    attacks = [kind for kind in KINDS if not kinds or kind in kinds]
    wanted += [recipe(kind, number, material, seed) for number in range(each) for kind in attacks]
    return (Presentation(one) for one in wanted if not people or one.people[0] in people)


class Bench:
    """The models and the cache of one process."""

    def __init__(self, material: Material, folder: Path) -> None:
        self.material = material
        manifest = (models_directory() / "edge" / "MANIFEST.json").read_bytes()
        self.cache = ObservationCache(folder, hashlib.sha256(manifest).hexdigest())

    @lru_cache(maxsize=1)  # noqa: B019  # one bench in a process
    def pack(self) -> Pack:
        cv2.setNumThreads(1)
        return load_edge()

    @lru_cache(maxsize=1)  # noqa: B019
    def models(self) -> LivenessModels:
        return LivenessModels.from_pack(self.pack())

    @lru_cache(maxsize=1)  # noqa: B019
    def studio(self) -> Studio:
        return Studio.with_pack(self.material, self.pack())

    def data(self, one: Presentation) -> bytes:
        """The file of a presentation."""
        return self.cache.clip(one.name, self._maker(one))

    def observations(self, one: Presentation) -> list[FrameObservation]:
        return self.cache.observations(one.name, self._maker(one), self.models)

    @lru_cache(maxsize=64)  # noqa: B019
    def signature(self, one: Presentation) -> MotionSignature:
        """The motion of a presentation, by which a used clip is known."""
        return MotionSignature.from_observations(self.observations(one))

    def copied(self, one: Presentation) -> bool:
        """Whether a presentation is taken for a copy of one of the clips that were used."""
        used = [Presentation(clip) for clip in _used_with(one.made, self.material)]
        return any(self.signature(one).matches(self.signature(clip)) for clip in used)

    def _maker(self, one: Presentation) -> Callable[[], bytes]:
        made = one.made
        if isinstance(made, Genuine):
            return made.data
        return lambda: self.studio().attack(made)


def _used_with(made: Recipe | Genuine, material: Material) -> list[Genuine]:
    """The used clips of ``Outcome.copy``."""
    if isinstance(made, Recipe):
        if made.manipulation != "reversed":
            return []
        clip = material.clips()[made.subject.clip or ""]
        return [Genuine(clip, made.action, *clip.window(made.subject.frame, WINDOW_S))]
    return [
        one for one in genuine_clips(material)
        if one.clip.name == made.clip.name and not one.whole and not made.whole
        and (one.last <= made.first or made.last <= one.first)
    ]


def policy() -> DecisionPolicy:
    """The policy with the calibrations of the `edge` pack."""
    return judge_of(load_edge())


def decided(judge: DecisionPolicy, bench: Bench, one: Presentation) -> Outcome:
    """The outcome of a presentation. A clip that cannot be judged is refused."""
    try:
        verdict = judge.decide(bench.observations(one), LivenessAction(one.made.action))
    except FaceError as error:
        return Outcome(one, False, (error.code,))
    reasons = tuple(str(reason) for reason in verdict.reasons)
    return Outcome(one, verdict.real, reasons, verdict.real and bench.copied(one))


# Several processes -------------------------------------------------------------


@lru_cache(maxsize=1)
def _worker(material: Material, folder: Path) -> tuple[Bench, DecisionPolicy]:
    return Bench(material, folder), policy()


def _decided_there(material: Material, folder: Path, one: Presentation) -> Outcome:
    bench, judge = _worker(material, folder)
    return decided(judge, bench, one)


def outcomes(
    material: Material, folder: Path, wanted: Iterable[Presentation], processes: int
) -> Iterator[Outcome]:
    """The outcomes, in order."""
    if processes == 1:
        yield from (_decided_there(material, folder, one) for one in wanted)
        return
    with ProcessPoolExecutor(processes) as pool:
        started = [pool.submit(_decided_there, material, folder, one) for one in wanted]
        yield from (one.result() for one in started)


# Tables ------------------------------------------------------------------------


def table(title: str, rows: Iterable[tuple[str, bool]]) -> list[str]:
    """The lines of a table: clips, wrong ones, and their share with its interval, by row."""
    counts: dict[str, list[bool]] = defaultdict(list)
    for name, wrong in rows:
        counts[name].append(wrong)
    lines = [f"| {title} | clips | wrong | rate | 95 % interval |", "|---|---|---|---|---|"]
    for name, found in counts.items():
        low, high = interval(sum(found), len(found))
        lines.append(
            f"| {name} | {len(found)} | {sum(found)} | {100 * sum(found) / len(found):.1f} % "
            f"| {100 * low:.1f} to {100 * high:.1f} % |"
        )
    return lines


def report(found: Sequence[Outcome]) -> list[str]:
    """All tables."""
    live = [one for one in found if one.presentation.live]
    windows = [one for one in live if "whole" not in one.presentation.kind]
    attacks = [
        (one.presentation.made, one) for one in found if isinstance(one.presentation.made, Recipe)
    ]
    cuts: dict[str, Callable[[Recipe], str]] = {
        "variant": lambda made: f"{made.manipulation}, {made.variant}" if made.variant else "",
        "motion": lambda made: made.motion,
        "source": lambda made: made.source,
        "person shown": lambda made: made.people[0],
    }
    tables = [
        table("BPCER", [
            *((one.presentation.kind, one.wrong) for one in live),
            *((f"{one.presentation.kind}, others used before", one.wrong_with_used)
              for one in windows),
        ]),
        table("BPCER by person and action", sorted(
            (f"{one.presentation.made.people[0]}, {one.presentation.kind}", one.wrong)
            for one in windows
        )),
        table("APCER", [
            *((made.kind, one.wrong) for made, one in attacks),
            *((f"{made.kind}, original used before", one.wrong_with_used)
              for made, one in attacks if made.manipulation == "reversed"),
        ]),
        *(
            table(f"APCER by {name}", sorted(
                (value(made), one.wrong) for made, one in attacks if value(made)
            ))
            for name, value in cuts.items()
        ),
    ]
    return [line for lines in tables if len(lines) > 2 for line in ("", *lines)]


def described(one: Outcome) -> str:
    """A wrong outcome in a line."""
    made = one.presentation.made
    parts = [one.presentation.kind if one.presentation.live else "", made.name]
    if isinstance(made, Recipe):
        camera = made.camera
        parts += [made.variant, made.motion, made.source, *made.people, f"{camera.rate}/s",
                  f"{camera.size} px", camera.light, f"noise {camera.noise:g}", camera.container,
                  camera.quality]
    else:
        parts += made.people
    return ", ".join(part for part in parts if part) + ": " + (" ".join(one.reasons) or "real")


def main() -> None:
    wanted = _arguments()
    material = Material.beside(SHARED / "faces")
    found = []
    chosen = list(presentations(
        material, wanted.each, wanted.kinds, wanted.people, wanted.seed
    ))
    for one in outcomes(material, wanted.cache, chosen, wanted.processes):
        found.append(one)
        if wanted.verbose and one.wrong:
            print(f"  wrong: {described(one)}", flush=True)
        if len(found) % 100 == 0:
            print(f"  {len(found)} of {len(chosen)}", flush=True)
    print("\n".join(report(found)))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--each", type=int, default=40, help="attacks of each kind")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--kinds", nargs="*", choices=[GENUINE, *KINDS], default=[])
    parser.add_argument("--people", nargs="*", default=[], help="of these people only")
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument(
        "--cache", type=Path, default=Path(tempfile.gettempdir()) / "living-observations"
    )
    parser.add_argument("-v", "--verbose", action="store_true", help="list every wrong clip")
    return parser.parse_args()


if __name__ == "__main__":
    main()
