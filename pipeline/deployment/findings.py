"""What checks of a deployment find: a verdict, a sentence, and what to do.

These are the checks that a running process can make of the others. ``faceline doctor`` has more of
them, about the machine that it runs on.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

from sqlalchemy import Engine

from pipeline.config.settings import Settings
from pipeline.database.clock import NOTABLE_S
from pipeline.deployment.processes import ProcessTable, Role, RunningProcess
from pipeline.jobs.overview import JobOverview
from pipeline.jobs.upkeep import JobUpkeep
from pipeline.operations import FUSED_STAGES, Stage
from pipeline.webhooks.store import live_webhooks

# Free space on the data directory's disk that counts as low: the uploads of one busy client
# (10 per second, 50 kB, kept for two hours) take 3.6 GB.
LOW_DISK_BYTES = 4_000_000_000

# Seconds. A signed request may be 300 s off, an S3 store takes 15 minutes.
WRONG_S = 5.0


class Verdict(StrEnum):
    GOOD = "good"
    NOTE = "note"
    BAD = "bad"


@dataclass(frozen=True, slots=True)
class Check:
    """The result of one check; ``advice`` says what to do."""

    name: str
    verdict: Verdict
    found: str
    advice: str = ""


def judged(
    name: str, passed: bool, found: str, advice: str, failed: Verdict = Verdict.BAD
) -> Check:
    """A check with ``advice`` for the case that it has not ``passed``."""
    return Check(name, Verdict.GOOD, found) if passed else Check(name, failed, found, advice)


def clock_check(ahead_s: float, whose: str) -> Check:
    """Whether a clock that is ``ahead_s`` seconds ahead of the one that counts is right."""
    off = abs(ahead_s)
    said = f"the clock of {whose} agrees" if off < NOTABLE_S else (
        f"the clock of {whose} is {off:.0f} s {'ahead' if ahead_s > 0 else 'behind'}"
    )
    verdict = Verdict.GOOD if off < NOTABLE_S else Verdict.BAD if off >= WRONG_S else Verdict.NOTE
    advice = "" if verdict is Verdict.GOOD else "let every machine keep its clock by NTP"
    return Check("clock", verdict, said, advice)


def check_disk(settings: Settings) -> Iterator[Check]:
    """Free space for the data directory."""
    place = settings.data_dir.absolute()
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free
    yield judged(
        "disk", free >= LOW_DISK_BYTES, f"{free / 1e9:.1f} GB free at {place}",
        "free space, or point FACELINE_DATA_DIR at a larger disk", Verdict.NOTE,
    )


def check_processes(engine: Engine, settings: Settings) -> Iterator[Check]:
    """The running processes, and the jobs and webhooks that wait for one. Raises
    ``DatabaseUnavailable``."""
    known = ProcessTable(engine).all()
    alive = [each for each in known if each.alive]
    if not alive:
        yield _nothing_runs(known)
        return
    for code, count in JobOverview(engine).paused_for().items():
        yield Check(
            "jobs", Verdict.BAD, f"{count} wait after the error {code!r}",
            "`faceline jobs list` and the workers' logs say more; they are tried again",
        )
    waiting = set(JobUpkeep(engine).stages_with_waiting())
    yield from _missing(alive, waiting, settings)
    for each in alive:
        if each.trouble:
            yield Check("processes", Verdict.BAD, f"{_name(each)}: {each.trouble}")
        yield from _other_clock(each)
    yield from _differing(alive)
    yield from _webhooks(engine, alive)


def _nothing_runs(known: Sequence[RunningProcess]) -> Check:
    advice = (
        "start `faceline serve`, `faceline worker`, `faceline worker --stages index` and "
        "`faceline upkeep`, or `faceline up`"
    )
    if not known:
        return Check("processes", Verdict.NOTE, "none runs yet", advice)
    last = min(known, key=lambda each: each.silent_s)
    return Check(
        "processes", Verdict.BAD,
        f"none runs; the last one, {_name(last)}, was seen {last.silent_s:.0f} s ago", advice,
    )


def _missing(
    alive: Sequence[RunningProcess], waiting: set[str], settings: Settings
) -> Iterator[Check]:
    """What no running process does. Stages that need not be served count when jobs wait."""
    roles = {each.role for each in alive}
    served = {stage for each in alive for stage in each.stages if not each.trouble}
    needed: list[str] = [*FUSED_STAGES, Stage.INDEX]
    needed += [Stage.FETCH] if settings.fetch_urls else []
    needed += sorted(waiting - set(needed))
    lacking = [str(stage) for stage in needed if stage not in served]
    counted = ", ".join(
        f"{sum(each.role is role for each in alive)} {role}" for role in Role if role in roles
    )
    yield judged(
        "processes", not lacking, f"{counted} run" + (
            f"; none serves {', '.join(lacking)}" if lacking else ""
        ),
        f"start `faceline worker --stages {','.join(lacking)}`; jobs wait meanwhile",
    )
    if Role.UPKEEP not in roles:
        yield Check(
            "processes", Verdict.BAD, "no upkeep runs",
            "start `faceline upkeep`; lost jobs are not sent again, and nothing expires",
        )
    if Role.SHIM not in roles:
        yield Check("processes", Verdict.NOTE, "no shim runs", "start `faceline serve`")


def _other_clock(each: RunningProcess) -> Iterator[Check]:
    check = clock_check(each.clock_offset, _name(each))
    if check.verdict is not Verdict.GOOD:
        yield check


def _differing(alive: Sequence[RunningProcess]) -> Iterator[Check]:
    packs = {each.pack_digest: each for each in alive if each.pack_digest}
    if len(packs) > 1:
        told = ", ".join(f"{each.pack!r} on {each.host}" for each in packs.values())
        yield Check(
            "processes", Verdict.BAD, f"they use {len(packs)} packs: {told}",
            "set FACELINE_PACK to one pack, and install it on every host",
        )
    versions = {each.version: each for each in alive}
    if len(versions) > 1:
        told = ", ".join(f"{version} on {each.host}" for version, each in versions.items())
        yield Check(
            "processes", Verdict.NOTE, f"they are of {len(versions)} versions: {told}",
            "finish the upgrade",
        )


def _webhooks(engine: Engine, alive: Sequence[RunningProcess]) -> Iterator[Check]:
    """Whether webhooks are told, where there are any."""
    live = live_webhooks(engine)
    if not live:
        return
    failing = [each for each in live if each.failing_since is not None]
    if not any(each.role is Role.WEBHOOKS for each in alive):
        yield Check(
            "webhooks", Verdict.BAD, f"{len(live)} wait, and no process sends",
            "start `faceline webhooks send`; what has ended is told when it runs",
        )
    elif failing:
        yield Check(
            "webhooks", Verdict.NOTE, f"{len(failing)} of {len(live)} fail",
            "`faceline webhooks list` shows which, `faceline webhooks deliveries APP` why",
        )
    else:
        yield Check("webhooks", Verdict.GOOD, f"{len(live)} are told")


def _name(each: RunningProcess) -> str:
    return f"{each.role} {each.pid} on {each.host}"
