"""``faceline enroll --dry-run``: what a source would bring, read to its end."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from infra.cli.console import err, print_json, print_notice, print_table
from infra.cli.progress import telling
from infra.cli.reports import open_report
from pipeline.config.settings import Settings
from pipeline.media.pictures import PictureLimits
from pipeline.sources.base import PictureSource
from pipeline.sources.dry_run import DryRunItem, DryRunTotals, ExpectedOutcome, dry_run

REFRESH_S = 0.1  # between two looks of the bar

LABELS = {
    ExpectedOutcome.ENROL: "would be enrolled",
    ExpectedOutcome.DUPLICATE: "duplicate (the same picture)",
    ExpectedOutcome.REJECTED: "rejected",
}

COLUMNS = (
    "number", "source_name", "outcome", "reason", "detail", "original", "name", "collection",
    "external_id", "description", "sha256", "size", "width", "height",
)


def show_dry_run(
    source: PictureSource,
    settings: Settings,
    *,
    collection: str,
    report_to: Path | None,
    json: bool,
) -> None:
    """Read ``source`` whole and say what it would bring. Nothing is stored."""
    tally = _run(source, settings, collection, report_to)
    if json:
        print_json(_summary(source, tally))
    else:
        _show(tally)


def row_values(finding: DryRunItem) -> Mapping[str, object]:
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


def _run(
    source: PictureSource, settings: Settings, collection: str, to: Path | None
) -> DryRunTotals:
    tally = DryRunTotals()
    limits = PictureLimits.from_settings(settings)
    shown_at = 0.0
    with open_report(to, COLUMNS) as write, telling(err) as progress:
        for finding in dry_run(source, limits, collection):
            tally.add(finding)
            write(row_values(finding))
            if time.monotonic() > shown_at + REFRESH_S:
                shown_at = time.monotonic()
                progress(_counts_text(tally), *source.position())
    return tally


def _counts_text(tally: DryRunTotals) -> str:
    counts = tally.outcomes
    return (
        f"{tally.items} items: {counts[ExpectedOutcome.ENROL]} to enrol, "
        f"{counts[ExpectedOutcome.DUPLICATE]} duplicate, "
        f"{counts[ExpectedOutcome.REJECTED]} rejected"
    )


def _summary(source: PictureSource, tally: DryRunTotals) -> dict[str, Any]:
    return {
        "source": source.location,
        "dry_run": True,
        "items": tally.items,
        **{str(verdict): tally.outcomes[verdict] for verdict in ExpectedOutcome},
        "reasons": dict(tally.reasons.most_common()),
        "collections": dict(tally.collections.most_common()),
        "names": len(tally.names),
        "bytes": tally.bytes,
    }


def _show(tally: DryRunTotals) -> None:
    rows: list[tuple[object, object]] = [
        (LABELS[verdict], tally.outcomes[verdict]) for verdict in ExpectedOutcome
    ]
    rows += [(f"  {reason}", count) for reason, count in tally.reasons.most_common()]
    print_table(("outcome", "items"), [*rows, ("all", tally.items)])
    collections = ", ".join(name or "none" for name, _ in tally.collections.most_common(10))
    print_notice(
        f"{len(tally.names)} names, {tally.bytes / 1e6:.1f} MB; groups: {collections or 'none'}. "
        "Nothing was enrolled: this was a dry run, and no face was looked for."
    )
