"""What the metrics say of a process itself, and of all processes that run."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from pipeline.deployment.processes import Role, RunningProcess
from pipeline.deployment.version import program_version
from pipeline.metrics.catalogue import (
    CLOCK_OFFSET,
    PACK_INFO,
    PACKS,
    PROCESS_INFO,
    PROCESSES,
    PROCESSES_IN_TROUBLE,
    STAGE_PROCESSES,
    STAGES,
)
from pipeline.metrics.instruments import GaugeReading, GaugeSource
from pipeline.sessions.base import SHOWN_DIGITS, PackInfo


def process_gauges(
    role: Role, stages: Iterable[str] = (), pack: PackInfo | None = None
) -> GaugeSource:
    """The role of a process, the stages that it serves, and its model pack."""
    readings = [PROCESS_INFO.reading(1, role, ",".join(stages), program_version())]
    if pack is not None:
        readings.append(PACK_INFO.reading(1, pack.name, pack.digest[:SHOWN_DIGITS]))
    return lambda: readings


def deployment_gauges(running: Sequence[RunningProcess]) -> Iterator[GaugeReading]:
    """The processes that run."""
    for role in Role:
        ours = [each for each in running if each.role is role]
        yield PROCESSES.reading(len(ours), role)
        yield PROCESSES_IN_TROUBLE.reading(sum(bool(each.trouble) for each in ours), role)
        yield CLOCK_OFFSET.reading(max((abs(each.clock_offset) for each in ours), default=0), role)
    for stage in STAGES:
        serving = [each for each in running if stage in each.stages and not each.trouble]
        yield STAGE_PROCESSES.reading(len(serving), stage)
    yield PACKS.reading(len({each.pack_digest for each in running} - {None}))
