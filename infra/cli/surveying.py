"""``faceline enroll --dry-run``: what a source would bring, read to its end."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from infra.cli.console import err, print_json, print_table, say
from infra.cli.progress import telling
from infra.cli.reports import report
from pipeline.config import Settings
from pipeline.media.header import PictureLimits
from pipeline.sources.base import Source
from pipeline.sources.survey import Finding, Tally, Verdict, survey

REFRESH_S = 0.1  # between two looks of the bar

LABELS = {
    Verdict.ENROL: "would be enrolled",
    Verdict.DUPLICATE: "duplicate (the same picture)",
    Verdict.REJECTED: "rejected",
}

COLUMNS = (
    "number", "source_name", "verdict", "reason", "detail", "original", "name", "collection",
    "external_id", "description", "sha256", "size", "width", "height",
)


def dry_run(
    source: Source, settings: Settings, *, collection: str, report_to: Path | None, json: bool
) -> None:
    """Read ``source`` whole and say what it would bring. Nothing is stored."""
    tally = _surveyed(source, settings, collection, report_to)
    if json:
        print_json(_summary(source, tally))
    else:
        _show(tally)


def values(finding: Finding) -> Mapping[str, object]:
    """A finding by the report's columns."""
    about = finding.about
    flat = {
        "name": about.name, "collection": about.collection,
        "external_id": about.external_id, "description": about.description,
    }
    return {
        column: flat[column] if column in flat else getattr(finding, column)
        for column in COLUMNS
    }


def _surveyed(source: Source, settings: Settings, collection: str, to: Path | None) -> Tally:
    tally = Tally()
    limits = PictureLimits.from_settings(settings)
    shown_at = 0.0
    with report(to, COLUMNS) as write, telling(err) as progress:
        for finding in survey(source, limits, collection):
            tally.add(finding)
            write(values(finding))
            if time.monotonic() > shown_at + REFRESH_S:
                shown_at = time.monotonic()
                progress(_counted(tally), *source.position())
    return tally


def _counted(tally: Tally) -> str:
    counts = tally.verdicts
    return (
        f"{tally.items} items: {counts[Verdict.ENROL]} to enrol, "
        f"{counts[Verdict.DUPLICATE]} duplicate, {counts[Verdict.REJECTED]} rejected"
    )


def _summary(source: Source, tally: Tally) -> dict[str, Any]:
    return {
        "source": source.location,
        "dry_run": True,
        "items": tally.items,
        **{str(verdict): tally.verdicts[verdict] for verdict in Verdict},
        "reasons": dict(tally.reasons.most_common()),
        "collections": dict(tally.collections.most_common()),
        "names": len(tally.people),
        "bytes": tally.bytes,
    }


def _show(tally: Tally) -> None:
    rows: list[tuple[object, object]] = [
        (LABELS[verdict], tally.verdicts[verdict]) for verdict in Verdict
    ]
    rows += [(f"  {reason}", count) for reason, count in tally.reasons.most_common()]
    print_table(("outcome", "items"), [*rows, ("all", tally.items)])
    collections = ", ".join(name or "none" for name, _ in tally.collections.most_common(10))
    say(
        f"{len(tally.people)} names, {tally.bytes / 1e6:.1f} MB; groups: {collections or 'none'}. "
        "Nothing was enrolled: this was a dry run, and no face was looked for."
    )
