"""``faceline enroll --dry-run``: shows the items of a source. Nothing is stored or
decoded."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

from infra.cli.console import err, print_json, print_notice, print_table
from infra.cli.enroll.oddities import Oddities
from infra.cli.progress import text_bar
from infra.cli.reports import open_report
from pipeline.config.settings import Settings
from pipeline.media.pictures import PictureLimits
from pipeline.sources.base import PictureSource, RefusalReason, RefusedItem
from pipeline.sources.inspect_item import inspect_item
from pipeline.sources.names import NameSet

REFRESH_S = 0.1  # between two updates of the progress bar

COLUMNS = (
    "number", "source_name", "outcome", "reason", "detail", "original", "name", "collection",
    "external_id", "description", "sha256", "size", "width", "height",
)
"""``number`` counts from 1 in the source's order; ``original`` is the number of the item with
the same bytes, 0 for none; ``size`` is in bytes."""

NUMBERS = ("number", "original", "size", "width", "height")

Row = Mapping[str, Any]
"""The values of one item by ``COLUMNS``."""


class ExpectedOutcome(StrEnum):
    """The outcome that an item would have."""

    ENROL = "enrol"
    DUPLICATE = "duplicate"
    REJECTED = "rejected"


SKIPPED = RefusalReason.SKIPPED.value
"""The outcome of litter, which is not an item: its number is 0."""

LABELS = {
    ExpectedOutcome.ENROL: "would be enrolled",
    ExpectedOutcome.DUPLICATE: "duplicate (the same picture)",
    ExpectedOutcome.REJECTED: "rejected",
}


@dataclass(slots=True)
class DryRunTotals:
    """Counts over the items so far."""

    outcomes: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    collections: Counter[str] = field(default_factory=Counter)
    bytes: int = 0
    names: NameSet = field(default_factory=NameSet)
    skipped: int = 0

    @property
    def items(self) -> int:
        return self.outcomes.total()

    def add(self, row: Row) -> None:
        outcome = row["outcome"]
        if outcome == SKIPPED:
            self.skipped += 1
            return
        self.outcomes[outcome] += 1
        if outcome is ExpectedOutcome.REJECTED:
            self.reasons[row["reason"]] += 1
        if outcome is ExpectedOutcome.ENROL:
            self.bytes += row["size"]
            self.collections[row["collection"]] += 1
            if row["name"]:
                self.names.add(row["name"])


def dry_run(
    source: PictureSource, limits: PictureLimits, collection: str, oddities: Oddities
) -> Iterator[Row]:
    """The row of every item of ``source``, and of what is skipped, in its order.
    ``collection`` is used where the source names none. Keeps 16 bytes of each picture's hash in
    memory."""
    numbers: dict[bytes, int] = {}
    last = 0
    for item in source.items():
        if isinstance(item, RefusedItem) and item.reason == SKIPPED:
            yield {
                **dict.fromkeys(COLUMNS, ""), **dict.fromkeys(NUMBERS, 0),
                "source_name": item.source_name, "outcome": SKIPPED, "reason": item.detail,
            }
            continue
        number = last = last + 1
        oddities.add(item)
        about = item.about
        row: dict[str, Any] = {
            **dict.fromkeys(COLUMNS, ""), **dict.fromkeys(NUMBERS, 0), "number": number,
            "source_name": item.source_name,
            "name": about.name, "collection": about.collection or collection,
            "external_id": about.external_id, "description": about.description,
        }
        result = item if isinstance(item, RefusedItem) else inspect_item(item, limits)
        if isinstance(result, RefusedItem):
            outcome = ExpectedOutcome.REJECTED
            row["reason"], row["detail"] = str(result.reason), result.detail
        else:
            outcome = ExpectedOutcome.ENROL
            row["sha256"], row["size"] = result.sha256, len(result.data)
            row["width"], row["height"] = result.header.upright_size
            first = numbers.setdefault(bytes.fromhex(result.sha256)[:16], number)
            if first != number:
                outcome = ExpectedOutcome.DUPLICATE
                row["reason"], row["original"] = "same_picture", first
        yield {**row, "outcome": outcome}


def show_dry_run(
    source: PictureSource, settings: Settings, *, collection: str, report_to: Path | None,
    json: bool,
) -> None:
    """Read ``source`` to its end and show its items."""
    totals, oddities = DryRunTotals(), Oddities()
    limits = PictureLimits.from_settings(settings)
    shown_at = 0.0
    with open_report(report_to, COLUMNS) as write, text_bar(err) as progress:
        for row in dry_run(source, limits, collection, oddities):
            totals.add(row)
            write(row)
            if time.monotonic() > shown_at + REFRESH_S:
                shown_at = time.monotonic()
                progress(_counts_text(totals), *source.position())
    if json:
        print_json({**_summary(source, totals), "odd": oddities.to_json()})
        return
    _show(totals)
    for line in oddities.lines():
        print_notice(line)


def _counts_text(totals: DryRunTotals) -> str:
    enrolled, duplicate, rejected = (totals.outcomes[outcome] for outcome in ExpectedOutcome)
    return f"{totals.items} items: {enrolled} to enrol, {duplicate} duplicate, {rejected} rejected"


def _summary(source: PictureSource, totals: DryRunTotals) -> dict[str, Any]:
    return {
        "source": source.location,
        "dry_run": True,
        "items": totals.items,
        **{str(outcome): totals.outcomes[outcome] for outcome in ExpectedOutcome},
        "skipped": totals.skipped,
        "reasons": dict(totals.reasons.most_common()),
        "collections": dict(totals.collections.most_common()),
        "names": len(totals.names),
        "bytes": totals.bytes,
    }


def _show(totals: DryRunTotals) -> None:
    rows = [(label, totals.outcomes[outcome]) for outcome, label in LABELS.items()]
    rows += [(f"  {reason}", count) for reason, count in totals.reasons.most_common()]
    skipped = [("skipped", totals.skipped)] * bool(totals.skipped)
    print_table(("outcome", "items"), [*rows, ("all", totals.items), *skipped])
    collections = ", ".join(name for name, _ in totals.collections.most_common(10))
    print_notice(
        f"{len(totals.names)} names, {totals.bytes / 1e6:.1f} MB; collections: "
        f"{collections or 'none'}. Nothing was enrolled: this was a dry run, without face "
        "detection."
    )
