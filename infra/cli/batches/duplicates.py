"""Prints the findings of a batch's search for duplicate people."""

from __future__ import annotations

from rich.text import Text
from sqlalchemy import Engine

from infra.cli.console import out, print_notice, print_table, shortened
from pipeline.batches.duplicate_candidates import MAX_FACES_PER_NAME
from pipeline.batches.duplicate_search import (
    MAX_LISTED,
    FindingKind,
    SearchProgress,
    search_of,
)
from pipeline.batches.findings import Finding, FoundFace, list_findings
from pipeline.batches.model import Batch
from pipeline.identifiers import escape_controls

WIDE = 120  # columns of a terminal; below, findings are printed as lines

LABELS = {
    FindingKind.SAME_PICTURE: "same picture",
    FindingKind.TWO_NAMES: "two names",
    FindingKind.UNNAMED: "no name",
    FindingKind.TWO_PEOPLE: "several people",
    FindingKind.ODD_FACE: "odd face",
}
"""In a table; docs/bulk.md explains them."""


def show_findings(engine: Engine, batch: Batch, limit: int) -> None:
    """Print at most ``limit`` findings, and how they were found."""
    search = search_of(batch)
    if search is None:
        return
    if search.state != "done":
        print_notice(_unfinished_text(search))
        return
    found = list_findings(engine, batch.id, limit=limit)
    if found and out.width < WIDE:
        out.print()
        for each in found:
            out.print(Text(_finding_text(each)))
    elif found:
        out.print()
        print_table(
            ("found", "who", "where", "and", "where", "alike", "times"),
            (_row(each) for each in found),
        )
    print_notice(_summary_text(search, len(found), batch))


def _finding_text(found: Finding) -> str:
    """A finding as a line, for narrow terminals."""
    kind, who, where, again, at, alike, times = map(str, _row(found))
    both = f"{who or 'nobody'} ({where})" + (f" and {again or 'nobody'} ({at})" if at else "")
    more = [f"alike {alike}"] * bool(alike) + [f"{times} times"] * bool(times)
    return escape_controls(", ".join([f"{kind}: {both}", *more]))


def _row(found: Finding) -> tuple[object, ...]:
    other = found.again or found.other
    alike = "" if found.cosine is None else f"{found.cosine:.2f}"
    return (
        LABELS[found.kind], shortened(found.face.name), _location(found.face),
        "" if other is None else shortened(other.name),
        "" if other is None else _location(other), alike,
        found.count if found.count > 1 else "",
    )


def _location(face: FoundFace) -> str:
    return shortened(face.source_name or f"image {face.image_id}")


def _unfinished_text(search: SearchProgress) -> str:
    if search.state == "searching":
        return f"The search for people under two names is at {search.through:.0%}."
    return f"The search for people under two names failed: {search.reason}."


def _summary_text(search: SearchProgress, listed: int, batch: Batch) -> str:
    if search.reason == "uncalibrated":
        return (
            "The search for people under two names was skipped: the pack has no calibration "
            "table; `faceline calibrate` makes one."
        )
    total = sum(search.listed.values())
    against = f" and {search.rest} others" if search.rest else ""
    searched = f"{search.faces} faces were compared with each other{against}"
    if search.cut_names:
        searched += (
            f" ({search.cut_names} names have {MAX_FACES_PER_NAME} faces or more, and only so "
            "many of each were looked at)"
        )
    if not total and not search.refused:
        return f"{searched}: nobody has two names."
    more = "" if listed >= total else (
        f"; `faceline batches show {batch.id[:8]} --json` lists more"
    )
    if max(search.listed.values(), default=0) >= MAX_LISTED:
        more += f"; at most {MAX_LISTED} of a kind are listed"
    noun = "finding" if total == 1 else "findings"
    done = f"{search.refused} items were rejected" if search.refused else "Nothing was changed"
    expected = f"{search.false_findings:.1g}" if search.false_findings >= 0.05 else "none"
    return (
        f"{searched}: {total} {noun}, of which {expected} is expected by chance{more}. "
        f"{done}; please review them."
    )
