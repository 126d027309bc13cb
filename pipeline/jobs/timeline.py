"""What happened to a job between its stages: pauses, workers that were lost, what operators did.

``jobs.history`` has these events, ``jobs.trace`` the stages that were run; ``timeline`` has both in
order. An event says after how many stages it came, so that no clock decides.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from pipeline.jobs.model import Job, NewJob
from pipeline.types import JsonObject

# Events of a job that are kept: the last ones. Equal ones in a row are one.
MOST_EVENTS = 50


# By these two pauses in a row are one.
_ALIKE = ("event", "stage", "steps", "code")


class JobEvent(StrEnum):
    """An entry of a timeline. After all but ``STAGE``, ``ACCEPTED`` and ``CANCELLED`` the job
    waits."""

    STAGE = "stage"
    """A worker has run a stage."""
    ACCEPTED = "accepted"
    """An operator started the job."""
    PAUSED = "paused"
    """A worker gave it back because of an error that passes."""
    RETURNED = "returned"
    """A worker gave it back without having run it."""
    LOST = "lost"
    """Its worker died, or was silent until its lease ran out."""
    CANCELLED = "cancelled"
    RETRIED = "retried"


@dataclass(frozen=True, slots=True, kw_only=True)
class TimelineStep:
    """A stage that ``worker`` has run, or another event.

    Since the job was accepted ``start_ms`` ms had passed, of these ``waited_ms`` since the end of
    the step before; it took ``took_ms``: a pause or the loss of a worker until the job went on. A
    stage that ran ``together`` for so many jobs has this one's share. ``code`` is the error's that
    a pause is for, or that the job had ended with before it was retried; ``times`` how often it
    happened in a row; ``by`` the operator's name, empty: the client did it, or the service.
    """

    event: JobEvent
    stage: str
    worker: str = ""
    start_ms: float = 0.0
    waited_ms: float = 0.0
    took_ms: float = 0.0
    together: int = 1
    code: str = ""
    times: int = 1
    by: str = ""


def note(
    job: Job, event: JobEvent, at: float, *, charged: bool = False, **about: str
) -> list[JsonObject]:
    """The history of a job with one more event, ``at`` epoch seconds. ``charged``: the attempt
    counts. ``about`` are fields of ``TimelineStep``."""
    history = list(job.history or [])
    entry: dict[str, Any] = {"event": event.value, "stage": job.stage, "steps": len(job.trace)}
    entry |= {name: value for name, value in about.items() if value}
    if charged:
        entry["charged"] = True
    last = history[-1] if history else {}
    if event is JobEvent.PAUSED and all(last.get(name) == entry.get(name) for name in _ALIKE):
        history[-1] = {**last, **entry, "times": last.get("times", 1) + 1}
    else:
        history.append({**entry, "at": round(at, 3)})
    return history[-MOST_EVENTS:]


def started_by(new: NewJob, now: float) -> list[JsonObject] | None:
    """The history of a job as it is accepted."""
    if not new.by:
        return None
    return [{
        "event": JobEvent.ACCEPTED.value, "stage": new.stage, "steps": 0, "at": now, "by": new.by,
    }]


def unnoted_losses(job: Job) -> int:
    """How many workers a claimed job has lost of which its history knows nothing: their leases had
    run out, and another worker was faster than the reconciler."""
    charged = 0
    for each in job.history or ():
        charged = 0 if each["event"] == JobEvent.RETRIED else charged + each.get("charged", False)
    return max(job.attempts - 1 - charged, 0)


def timeline(job: Job, now: float) -> list[TimelineStep]:
    """What happened to a job, in order. ``now`` (epoch seconds) ends what goes on."""
    entries: list[JsonObject] = []
    history = list(job.history or ())
    for done, step in enumerate(job.trace):
        while history and history[0]["steps"] <= done:
            entries.append(history.pop(0))
        entries.append(step)
    entries += history
    steps: list[TimelineStep] = []
    ended_ms = 0.0
    for entry in entries:
        start_ms = max((entry["at"] - job.created_at) * 1000, 0.0)
        if steps and _waits(steps[-1]):
            steps[-1] = _until(steps[-1], start_ms)
            ended_ms = max(start_ms, ended_ms)
        steps.append(TimelineStep(
            event=JobEvent(entry.get("event", JobEvent.STAGE)), stage=entry["stage"],
            worker=entry.get("worker", ""), start_ms=round(start_ms, 1),
            waited_ms=round(max(start_ms - ended_ms, 0.0), 1), took_ms=entry.get("ms", 0.0),
            together=entry.get("together", 1), code=entry.get("code", ""),
            times=entry.get("times", 1), by=entry.get("by", ""),
        ))
        ended_ms = start_ms + steps[-1].took_ms
    if steps and _waits(steps[-1]):
        end = now if job.finished_at is None else job.finished_at
        steps[-1] = _until(steps[-1], (end - job.created_at) * 1000)
    return steps


def _waits(step: TimelineStep) -> bool:
    return step.event in (JobEvent.PAUSED, JobEvent.RETURNED, JobEvent.LOST)


def _until(step: TimelineStep, end_ms: float) -> TimelineStep:
    return replace(step, took_ms=round(max(end_ms - step.start_ms, 0.0), 1))
