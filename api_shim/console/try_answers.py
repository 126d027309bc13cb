"""The jobs of a try as rows: how long each stage took, and what each document answers."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

from api_shim.admin.try_it import DocumentAnswer, Tried, TriedJob, TryKind
from api_shim.console.texts import Texts
from pipeline.jobs.timeline import JobEvent, TimelineStep

SHOWN_CHARS = 96
"""Characters of a longer text, such as a picture in Base64, that an answer shows."""

_FLAT = re.compile(r"\[[^][{}]+\]")


@dataclass(frozen=True, slots=True)
class Bar:
    """A stage on a line of 100 units; ``index`` chooses its colour."""

    index: int
    x: float
    width: float
    title: str


@dataclass(frozen=True, slots=True)
class TimeRow:
    """The milliseconds of a job, by its stages; as they are written."""

    title: str
    operation: str
    waited: str
    ms: dict[str, str]
    whole: str
    bars: list[Bar]


@dataclass(frozen=True, slots=True)
class DocumentRow:
    """A document's answer as it is shown; ``missing`` says why there is none."""

    document: str
    title: str
    operation: str
    about: str
    line: str
    text: str
    verdict: str
    tone: str
    missing: str


def stages_of(tried: Tried) -> list[str]:
    """The stages that any job passed, in their order."""
    return list(dict.fromkeys(step.stage for job in tried.jobs for step in _stages(job)))


def _stages(job: TriedJob) -> list[TimelineStep]:
    return [step for step in job.timeline if step.event is JobEvent.STAGE]


def time_rows(texts: Texts, tried: Tried) -> list[TimeRow]:
    """A row for each job."""
    names = stages_of(tried)
    longest = max((job.whole_ms or 0.0 for job in tried.jobs), default=0.0)
    return [_time_row(texts, job, names, max(longest, 1e-3)) for job in tried.jobs]


def _time_row(texts: Texts, job: TriedJob, names: list[str], longest: float) -> TimeRow:
    ms: dict[str, float] = {}
    steps = _stages(job)
    for step in steps:
        ms[step.stage] = ms.get(step.stage, 0.0) + step.took_ms
    bars = [
        Bar(
            names.index(step.stage), round(100 * step.start_ms / longest, 2),
            round(max(100 * step.took_ms / longest, 0.4), 2),
            f"{step.stage}: {_ms(texts, step.took_ms)} ms ({step.worker})",
        )
        for step in steps
    ]
    title = texts.gettext("Document %(letter)s") % {"letter": job.document}
    return TimeRow(
        title if job.document else texts.gettext("The look itself"), job.operation,
        _ms(texts, steps[0].start_ms) if steps else "",
        {name: _ms(texts, value) for name, value in ms.items()},
        "" if job.whole_ms is None else _ms(texts, job.whole_ms), bars,
    )


def _ms(texts: Texts, value: float) -> str:
    return texts.number(round(value, 1 if value < 100 else None))


def document_rows(texts: Texts, tried: Tried) -> list[DocumentRow]:
    """A row for each document."""
    return [_document_row(texts, tried.kind, answer) for answer in tried.documents]


def _document_row(texts: Texts, kind: TryKind, answer: DocumentAnswer) -> DocumentRow:
    verdict, tone, missing = texts.gettext("no such operation"), "", ""
    if not answer.operation:
        missing = texts.gettext(
            "Only document a watches clips, and for an enrolled face: give its number above."
            if kind is TryKind.CLIP else
            "This document has no operation that takes this and changes nothing."
        )
    elif answer.status is None:
        verdict = texts.gettext("no answer")
    else:
        verdict, tone = f"HTTP {answer.status}", "good" if answer.status < 400 else "bad"
    return DocumentRow(
        answer.document, answer.title, answer.operation, answer.about, answer.line,
        "" if answer.status is None else pretty(texts, answer.envelope), verdict, tone, missing,
    )


def pretty(texts: Texts, envelope: Any) -> str:
    """Indented JSON with flat lists on one line and long texts shortened."""
    text = json.dumps(_shortened(texts, envelope), ensure_ascii=False, indent=2)
    return _FLAT.sub(lambda found: " ".join(found[0].split()), text)


def _shortened(texts: Texts, value: Any) -> Any:
    match value:
        case str() if len(value) > SHOWN_CHARS:
            more = texts.gettext("%(count)s characters in all")
            return f"{value[:SHOWN_CHARS // 2]}… ({more % {'count': texts.number(len(value))}})"
        case dict():
            return {name: _shortened(texts, each) for name, each in value.items()}
        case list():
            return [_shortened(texts, each) for each in value]
        case _:
            return value
