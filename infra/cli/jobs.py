"""``faceline jobs``: lists, shows and retries jobs."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any

import typer

from infra.cli.arguments import RECENT, Json, Limit, local_operator, only_match
from infra.cli.console import local_time, out, print_json, print_notice, print_table
from infra.cli.database import Stores
from pipeline.database.clock import database_time
from pipeline.errors import JobNotFound
from pipeline.jobs.model import Job, JobState
from pipeline.jobs.store import JobStore
from pipeline.jobs.timeline import JobEvent, TimelineStep
from pipeline.jobs.timeline import timeline as job_timeline

app = typer.Typer(help="Jobs: list, show, retry.", no_args_is_help=True)

JobId = Annotated[str, typer.Argument(help="The job's id, or its beginning.")]

BAR_WIDTH = 40  # characters of a timeline


@app.command("list")
def list_jobs(
    state: Annotated[JobState | None, typer.Option(help="Only jobs in this state.")] = None,
    application: Annotated[
        str | None, typer.Option("--app", help="Only jobs of this application.")
    ] = None,
    oldest: Annotated[
        bool,
        typer.Option(
            "--oldest", help="The first accepted jobs instead: of those that have not ended, or in "
            "the given state.",
        ),
    ] = False,
    limit: Limit = 20,
    json: Json = False,
) -> None:
    """List the newest jobs, newest first."""
    stores = Stores()
    store = JobStore(stores.engine)
    tenant_id = None if application is None else stores.tenants.by_name(application).id
    read = store.read.oldest if oldest else store.read.recent
    found = read(state=state, tenant_id=tenant_id, limit=limit)
    if json:
        print_json([job_json(job) for job in found])
        return
    names = {tenant.id: tenant.name for tenant in stores.tenants.all()}
    now = database_time(stores.engine)
    last = "age" if oldest else "took"
    print_table(
        ("job", "app", "operation", "state", "stage", "tries", "accepted", last),
        (
            (
                job.id, names.get(job.tenant_id, "?"), job.operation, _state(job), job.stage,
                job.attempts, local_time(job.created_at),
                f"{max(now - job.created_at, 0):.0f} s" if oldest else _took(job),
            )
            for job in found
        ),
    )
    counts = ", ".join(f"{count} {name}" for name, count in sorted(store.read.counts().items()))
    print_notice(f"Total: {counts or 'none'}.")


@app.command()
def show(
    job_id: JobId,
    json: Json = False,
    result: Annotated[
        bool, typer.Option("--result", help="With --json: the result, embeddings included.")
    ] = False,
) -> None:
    """Show one job with a timeline of its stages."""
    stores = Stores()
    store = JobStore(stores.engine, keys=stores.keys)
    job = find_job(store, job_id)
    if json:
        print_json(job_json(job, result=result))
        return
    print_table(
        ("field", "value"),
        (
            ("job", job.id),
            ("operation", f"{job.operation} (dialect {job.dialect})"),
            ("state", _state(job)),
            ("stage", job.stage),
            ("request id", job.request_id),
            ("accepted", local_time(job.created_at)),
            ("ended", local_time(job.finished_at)),
            ("tries", f"{job.attempts}, messages: {job.messages}"),
            ("worker", job.worker),
            ("error", (job.error or {}).get("message")),
        ),
    )
    out.print()
    for line in timeline(job, store.now()):
        out.print(line, markup=False, highlight=False)


@app.command()
def retry(job_id: JobId) -> None:
    """Queue a failed or cancelled job again, from its first stage."""
    # Importing the plans takes half a second, which only this command needs.
    from pipeline.operations import PLANS

    store = JobStore(Stores().engine)
    job = find_job(store, job_id)
    first = PLANS[job.operation].first_stage(job.params)
    again = store.retry(job.id, first, local_operator())
    print_notice(f"Job {again.id} is queued; the reconciler sends it within seconds.")


def find_job(store: JobStore, beginning: str) -> Job:
    """The job with this id, or the only recent job whose id starts with it. Raises
    ``JobNotFound``."""
    exact = store.read.find(beginning)
    return exact or only_match(beginning, store.read.recent(limit=RECENT), "job", JobNotFound)


def job_json(job: Job, *, result: bool = False) -> dict[str, Any]:
    """A job as JSON. The result, which may be biometric, is left out by default."""
    values = asdict(job)
    if not result:
        del values["result"]
    return values


def timeline(job: Job, now: float) -> list[str]:
    """One line per stage and event: its start after the job was accepted, its duration, a bar on a
    common scale, and the worker."""
    steps = job_timeline(job, now)
    whole = max((step.start_ms + step.took_ms for step in steps), default=0.0) or 1.0
    lines = [
        f"{step.stage if step.event is JobEvent.STAGE else step.event:<9} {step.start_ms:8.1f} ms  "
        f"+{step.took_ms:8.1f} ms  |{_bar(step.start_ms / whole, step.took_ms / whole)}|  "
        f"{_about(step)}"
        for step in steps
    ]
    return lines or ["No stage has run yet."]


def _about(step: TimelineStep) -> str:
    """Where a step was, by whom, why, and how often."""
    told = (step.worker, step.by, step.code, f"{step.times} times" if step.times > 1 else "")
    return "  ".join(filter(None, told))


def _bar(start: float, length: float) -> str:
    first = min(max(round(start * BAR_WIDTH), 0), BAR_WIDTH - 1)
    cells = min(max(round(length * BAR_WIDTH), 1), BAR_WIDTH - first)
    return (" " * first + "#" * cells).ljust(BAR_WIDTH)


def _state(job: Job) -> str:
    return f"{job.state}: {job.error_code}" if job.error_code else str(job.state)


def _took(job: Job) -> str:
    ended = job.finished_at
    return "" if ended is None else f"{(ended - job.created_at) * 1000:.0f} ms"
