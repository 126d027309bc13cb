"""Jobs as pages: the list, one job, its buttons."""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime
from functools import partial

import msgspec

from api_shim.admin.jobs import (
    CANCEL_JOB,
    LIST_JOBS,
    RETRY_JOB,
    SHOW_JOB,
    SHOW_PICTURE,
    JobName,
    JobPage,
    JobQuery,
    ShownJob,
)
from api_shim.console.failures import message_text, why_text
from api_shim.console.page import Page, View
from api_shim.console.rendering import render
from api_shim.console.texts import Texts
from api_shim.requests import Reply
from pipeline.errors import InvalidParameter, JobNotFound, NotFound
from pipeline.jobs.model import JobState
from pipeline.jobs.reader import JOB_ID
from pipeline.jobs.timeline import JobEvent, TimelineStep
from pipeline.operations import PLANS
from pipeline.operators.model import OperatorRole

LIST = "/console/jobs"

FILTERS = ("state", "operation", "application", "error_code", "since", "until")


def show_list(view: View) -> Reply:
    """The list. A job's id in the search field leads to the job; a request's id or the name of an
    application filters."""
    query = view.query
    searched = query.get("q", "").strip()
    if JOB_ID.fullmatch(searched):
        with suppress(JobNotFound):
            view.perform(SHOW_JOB, JobName(searched))
            return view.redirect(f"{LIST}/{searched}")
    given = {name: query.get(name, "").strip() for name in FILTERS}
    problem, page = "", JobPage([], None)
    try:
        page = _find(view, given, searched)
    except (InvalidParameter, NotFound) as error:
        problem = error.message
    filters = {name: value for name, value in {"q": searched, **given}.items() if value}
    return render(
        view, "jobs/list.html", page=page, given=given, searched=searched, problem=problem,
        older=view.link(LIST, **filters, before=page.next), filtered=bool(filters),
        states=[each.value for each in JobState], operations=list(PLANS),
        first=not query.get("before"),
    )


def _find(view: View, given: dict[str, str], searched: str) -> JobPage:
    """Raises ``InvalidParameter``, ``NotFound``."""
    before = view.query.get("before", "")
    state = given["state"]
    if state and state not in set(JobState):
        raise InvalidParameter("there is no such state")
    if before and not (before.isascii() and before.isdecimal() and len(before) < 16):
        raise InvalidParameter("before must be a number")
    wanted = JobQuery(
        state=JobState(state) if state else None, operation=given["operation"] or None,
        application=given["application"] or None, error_code=given["error_code"] or None,
        since=_moment(given["since"]), until=_moment(given["until"]),
        before=int(before) if before else None,
    )
    if not searched:
        return view.perform(LIST_JOBS, wanted)
    found = view.perform(LIST_JOBS, _with(wanted, request_id=searched))
    if found.jobs or wanted.application:
        return found
    with suppress(NotFound):
        return view.perform(LIST_JOBS, _with(wanted, application=searched))
    return found


def _with(wanted: JobQuery, **values: str) -> JobQuery:
    return msgspec.structs.replace(wanted, **values)


def _moment(text: str) -> float | None:
    """The epoch seconds of what a field for times gives, in UTC. Raises ``InvalidParameter``."""
    if not text:
        return None
    try:
        return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()
    except (ValueError, OverflowError) as error:
        raise InvalidParameter("a time must be like 2026-11-30T18:00") from error


def show_job(view: View) -> Reply:
    found = view.perform(SHOW_JOB, view.read(SHOW_JOB))
    error = found.error
    return render(
        view, "jobs/job.html", found=found, job=found.job, bars=timeline_bars(found),
        event_of=partial(event_text, view.texts),
        message=message_text(view.texts, error.code, error.message) if error else "",
        sees_pictures=view.permits(SHOW_PICTURE), may_cancel=view.permits(CANCEL_JOB),
        may_retry=view.permits(RETRY_JOB), ended=found.job.finished_at is not None,
    )


EVENTS: dict[JobEvent, str] = {
    JobEvent.ACCEPTED: "started by %(by)s",
    JobEvent.PAUSED: "paused: %(why)s",
    JobEvent.RETURNED: "given back unrun by its worker",
    JobEvent.LOST: "its worker died or was silent for too long",
    JobEvent.CANCELLED: "cancelled by %(by)s",
    JobEvent.RETRIED: "retried by %(by)s, after: %(why)s",
}
"""The events of a timeline that are no stages, in words."""

NOBODY: dict[JobEvent, str] = {
    JobEvent.CANCELLED: "cancelled by the client or with its batch",
    JobEvent.RETRIED: "retried, after: %(why)s",
}
"""The same, where no operator did it."""


def event_text(texts: Texts, step: TimelineStep) -> str:
    """What happened, in words; a stage by its name."""
    if step.event is JobEvent.STAGE:
        return step.stage
    english = EVENTS[step.event] if step.by else NOBODY.get(step.event, EVENTS[step.event])
    why = why_text(texts, step.code) if step.code else ""
    return texts.gettext(english) % {"by": step.by, "why": why}


def timeline_bars(found: ShownJob) -> list[tuple[float, float]]:
    """The start and the length of each stage's bar, as shares of the whole in percent."""
    whole = max((step.start_ms + step.took_ms for step in found.timeline), default=0.0) or 1.0
    return [
        (round(100 * step.start_ms / whole, 2), max(round(100 * step.took_ms / whole, 2), 0.5))
        for step in found.timeline
    ]


def cancel(view: View) -> Reply:
    job = view.perform(CANCEL_JOB, JobName(view.call.path_values["job_id"]))
    return view.redirect(f"{LIST}/{job.id}", view.texts.gettext("The job is cancelled."))


def retry(view: View) -> Reply:
    job = view.perform(RETRY_JOB, JobName(view.call.path_values["job_id"]))
    return view.redirect(f"{LIST}/{job.id}", view.texts.gettext("The job is queued again."))


PAGES = (
    Page(LIST, get=show_list),
    Page(f"{LIST}/{{job_id}}", get=show_job),
    Page(f"{LIST}/{{job_id}}/cancel", post=cancel, role=OperatorRole.OPERATOR),
    Page(f"{LIST}/{{job_id}}/retry", post=retry, role=OperatorRole.OPERATOR),
)
