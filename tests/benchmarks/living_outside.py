"""Errors of a liveness check on ten attacks from the public literature (tests/outside_attacks).

    python -m tests.benchmarks.living_outside [--check MODULE:FUNCTION]
    python -m tests.benchmarks.living_outside --write FOLDER     # keeps the clips, too
    python -m tests.benchmarks.living_outside --read FOLDER      # takes them from there

The attacks were written without a look at the check or at its other attacks. Each has twenty
clips, ten asked to blink and ten to open the mouth, with fixed seeds. ``FUNCTION`` takes the
bytes of a clip and the action (``blink`` or ``mouth``) and returns whether the clip is accepted,
and the reasons. Prints for each attack its APCER (ISO/IEC 30107-3: the share of attacks that
are accepted) with a 95 % interval (Wilson, 1927) and the commonest reason, then a JSON object.
``--write`` also writes ``clips.csv`` (file, attack, person, action).
"""

from __future__ import annotations

import argparse
import csv
import importlib
import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, cast, get_args

import workers.single_threaded_blas  # noqa: F401  # before numpy
from pipeline.errors import FaceError
from pipeline.living.decision import DecisionPolicy
from pipeline.living.tracking import FaceTracker as LivenessTracker
from pipeline.living.tracking import LivenessModels
from pipeline.living.verdict import LivenessAction
from pipeline.media.clips import ClipLimits
from pipeline.stages.clip import decode_frames
from tests.conftest import load_edge, settings_of_edge
from tests.living_clips import judge_of
from tests.outside_attacks.material import Action, Material
from tests.outside_attacks.plan import ATTACKS, PER_ACTION, film, planned
from tests.outside_attacks.tracking import FaceTracker
from tests.shares import interval

Check = Callable[[bytes, Action], tuple[bool, Sequence[str]]]

# The check that is measured when ``--check`` names none.
CHECK = "tests.benchmarks.living_outside:service_check"

LIST = "clips.csv"


@dataclass(frozen=True, slots=True)
class ClipRow:
    """A line of ``clips.csv``."""

    file: str
    attack: str
    person: str
    action: Action


def made(faces: Path, count: int, names: Sequence[str]) -> Iterator[tuple[ClipRow, bytes]]:
    """The clips of the attacks, ``count`` for each action: the first of each attack, then the
    second."""
    material = Material(faces, FaceTracker(load_edge(), settings_of_edge()))
    plans = [planned(attack, count) for attack in ATTACKS if attack.name in names]
    for clip in (clip for clips in zip(*plans, strict=True) for clip in clips):
        row = ClipRow(f"{clip.name}.mp4", clip.attack.name, clip.person, clip.action)
        yield row, film(clip, material)


def written(folder: Path) -> Iterator[tuple[ClipRow, bytes]]:
    """The clips that an earlier run wrote."""
    with (folder / LIST).open(newline="") as file:
        for fields in csv.DictReader(file):
            action = cast("Action", fields["action"])
            row = ClipRow(fields["file"], fields["attack"], fields["person"], action)
            yield row, (folder / row.file).read_bytes()


def write(clips: Iterator[tuple[ClipRow, bytes]], folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / LIST).open("w", newline="") as file:
        table = csv.DictWriter(file, ["file", "attack", "person", "action"])
        table.writeheader()
        for row, data in clips:
            (folder / row.file).write_bytes(data)
            table.writerow(asdict(row))
            file.flush()


def loaded(name: str) -> Check:
    """The function ``MODULE:FUNCTION``."""
    module, _, function = name.partition(":")
    return cast("Check", getattr(importlib.import_module(module), function))


def service_check(data: bytes, action: Action) -> tuple[bool, Sequence[str]]:
    """The service's verdict on a clip."""
    models, judge = _service()
    limits = ClipLimits(work_seconds=3600.0)
    asked = LivenessAction.BLINK if action == "blink" else LivenessAction.MOUTH
    try:
        seen = list(LivenessTracker(models).track(decode_frames(data, limits)))
        verdict = judge.decide(seen, asked)
    except FaceError as error:
        return False, [error.code]
    return verdict.real, [str(reason) for reason in verdict.reasons]


@lru_cache(maxsize=1)
def _service() -> tuple[LivenessModels, DecisionPolicy]:
    pack = load_edge()
    return LivenessModels.from_pack(pack), judge_of(pack)


def measured(clips: Iterator[tuple[ClipRow, bytes]], check: Check) -> list[dict[str, Any]]:
    """A row of the table for each attack."""
    outcomes: dict[str, list[tuple[ClipRow, bool, Sequence[str]]]] = {}
    for row, data in clips:
        accepted, reasons = check(data, row.action)
        outcomes.setdefault(row.attack, []).append((row, accepted, reasons))
    return [_summary(name, rows) for name, rows in outcomes.items()]


def _summary(name: str, rows: Sequence[tuple[ClipRow, bool, Sequence[str]]]) -> dict[str, Any]:
    accepted = sum(passed for _, passed, _ in rows)
    reasons = Counter(reason for _, passed, given in rows if not passed for reason in given)
    summary: dict[str, Any] = {
        "attack": name, "clips": len(rows), "accepted": accepted,
        "people": len({row.person for row, _, _ in rows}),
        "apcer": accepted / len(rows), "interval": interval(accepted, len(rows)),
        "reasons": dict(reasons.most_common()),
    }
    for action in get_args(Action):
        asked = [passed for row, passed, _ in rows if row.action == action]
        summary[action] = [sum(asked), len(asked)]
    return summary


def show(rows: Sequence[dict[str, Any]]) -> None:
    sources = {attack.name: attack.source for attack in ATTACKS}
    for row in rows:
        low, high = row["interval"]
        first = next(iter(row["reasons"].items()), ("", 0))
        print(
            f"{row['attack']:16} accepted {row['accepted']:2} of {row['clips']}"
            f" ({row['people']} people; blink {row['blink'][0]} of {row['blink'][1]},"
            f" mouth {row['mouth'][0]} of {row['mouth'][1]})"
            f"  APCER {100 * row['apcer']:5.1f} % ({100 * low:.1f} to {100 * high:.1f})"
            f"  {first[0]} {first[1] or ''}"
        )
        print(f"{'':16} {sources[row['attack']]}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--faces", type=Path, default=Path("../shared/faces"))
    parser.add_argument("--count", type=int, default=PER_ACTION, help="clips for each action")
    parser.add_argument("--attacks", default=",".join(attack.name for attack in ATTACKS))
    parser.add_argument("--write", type=Path, metavar="FOLDER", help="write the clips there")
    parser.add_argument("--read", type=Path, metavar="FOLDER", help="take the clips from there")
    parser.add_argument("--check", default=CHECK, metavar="MODULE:FUNCTION")
    options = parser.parse_args()
    clips = (
        written(options.read) if options.read
        else made(options.faces, options.count, options.attacks.split(","))
    )
    if options.write:
        write(clips, options.write)
        clips = written(options.write)
    rows = measured(clips, loaded(options.check))
    show(rows)
    print(json.dumps(rows))


if __name__ == "__main__":
    main()
