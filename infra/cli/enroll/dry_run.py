"""``faceline enroll --dry-run``: shows what a source would bring."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from infra.cli.console import err, print_json, print_notice, print_table
from infra.cli.progress import text_bar
from infra.cli.reports import open_report
from pipeline.config.settings import Settings
from pipeline.media.pictures import PictureLimits
from pipeline.sources.base import PictureSource
from pipeline.sources.dry_run import DryRunItem, DryRunTotals, ExpectedOutcome, dry_run

REFRESH_S = 0.1  # between two updates of the progress bar

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
    """Read ``source`` to its end and show what it would bring. Nothing is stored."""
    totals = _run(source, settings, collection, report_to)
    if json:
        print_json(_summary(source, totals))
    else:
        _show(totals)


def row_values(item: DryRunItem) -> Mapping[str, object]:
    """An item's values by the columns of the report."""
    about = item.about
    flat = {
        "name": about.name, "collection": about.collection,
        "external_id": about.external_id, "description": about.description,
    }
    return {
        column: flat[column] if column in flat else getattr(item, column)
        for column in COLUMNS
    }


def _run(
    source: PictureSource, settings: Settings, collection: str, to: Path | None
) -> DryRunTotals:
    totals = DryRunTotals()
    limits = PictureLimits.from_settings(settings)
    shown_at = 0.0
    with open_report(to, COLUMNS) as write, text_bar(err) as progress:
        for item in dry_run(source, limits, collection):
            totals.add(item)
            write(row_values(item))
            if time.monotonic() > shown_at + REFRESH_S:
                shown_at = time.monotonic()
                progress(_counts_text(totals), *source.position())
    return totals


def _counts_text(totals: DryRunTotals) -> str:
    counts = totals.outcomes
    return (
        f"{totals.items} items: {counts[ExpectedOutcome.ENROL]} to enrol, "
        f"{counts[ExpectedOutcome.DUPLICATE]} duplicate, "
        f"{counts[ExpectedOutcome.REJECTED]} rejected"
    )


def _summary(source: PictureSource, totals: DryRunTotals) -> dict[str, Any]:
    return {
        "source": source.location,
        "dry_run": True,
        "items": totals.items,
        **{str(outcome): totals.outcomes[outcome] for outcome in ExpectedOutcome},
        "reasons": dict(totals.reasons.most_common()),
        "collections": dict(totals.collections.most_common()),
        "names": len(totals.names),
        "bytes": totals.bytes,
    }


def _show(totals: DryRunTotals) -> None:
    rows: list[tuple[object, object]] = [
        (LABELS[outcome], totals.outcomes[outcome]) for outcome in ExpectedOutcome
    ]
    rows += [(f"  {reason}", count) for reason, count in totals.reasons.most_common()]
    print_table(("outcome", "items"), [*rows, ("all", totals.items)])
    collections = ", ".join(name or "none" for name, _ in totals.collections.most_common(10))
    print_notice(
        f"{len(totals.names)} names, {totals.bytes / 1e6:.1f} MB; collections: "
        f"{collections or 'none'}. Nothing was enrolled: this was a dry run, without face "
        "detection."
    )
