"""The outcome of a batch: as tables, as JSON, as a report."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.text import Text

from infra.cli.batches.progress import format_duration
from infra.cli.batches.stores import BatchStores
from infra.cli.console import local_time, out, print_table, shortened
from infra.cli.reports import open_report
from pipeline.batches.blockers import WaitingReason
from pipeline.batches.duplicate_search import search_of
from pipeline.batches.model import OUTCOMES, Batch, BatchState, ItemState
from pipeline.batches.report import COLUMNS, report_rows
from pipeline.batches.source_errors import failure_of
from pipeline.identifiers import escape_controls

WIDE = 150  # columns of a terminal; below, batches are listed as lines

SHORT_ID = 8  # characters of an id that commands accept for the whole

Reasons = Counter[tuple[ItemState, str]]


def summary_rows(batch: Batch, reasons: Reasons) -> list[tuple[str, int]]:
    """(label, items) for each outcome, followed by its reasons."""
    rows: list[tuple[str, int]] = []
    for state in OUTCOMES:
        count = getattr(batch, state.value)
        if count or state is not ItemState.CANCELLED:
            rows.append((state.value, count))
            rows += [
                (f"  {reason}", items) for (of, reason), items in reasons.most_common()
                if of is state and reason
            ]
    if batch.waiting:
        rows.append(("in work", batch.waiting))
    skipped = [("skipped", batch.skipped)] * bool(batch.skipped)
    return [*rows, ("all", batch.items), *skipped]


def show_summary(batch: Batch, reasons: Reasons) -> None:
    """Print the table on stdout."""
    print_table(("outcome", "items"), summary_rows(batch, reasons))


def show_batch(
    batch: Batch, reasons: Reasons, app: str, waits_for: WaitingReason | None = None
) -> None:
    """Print all data of a batch; ``waits_for`` is the reason for which it waits."""
    failure = failure_of(batch)
    retry_at = waits_for.retry_at if waits_for else None
    print_table(
        ("field", "value"),
        (
            ("batch", batch.id), ("app", app), ("source", batch.source),
            ("state", state_text(batch)), ("began", local_time(batch.created_at)),
            ("ended", local_time(batch.finished_at)), ("took", duration_text(batch)),
            *([("failed", failure["message"])] if failure else []),
            *([("waits for", waits_for.message)] if waits_for else []),
            *([("next try", local_time(retry_at))] if retry_at else []),
        ),
    )
    out.print()
    show_summary(batch, reasons)


def show_list(batches: Sequence[Batch], names: Mapping[int, str]) -> None:
    """Print batches with the ``names`` of their applications: as a table where it fits, else
    as two lines for each batch."""
    if out.width < WIDE:
        for batch in batches:
            for line in _lines(batch, names[batch.tenant_id]):
                out.print(Text(escape_controls(line)))
        return
    print_table(
        ("batch", "app", "source", "state", "items", "enrolled", "duplicate", "rejected",
         "cancelled", "in work", "began", "took"),
        (
            (batch.id, names[batch.tenant_id], shortened(batch.source),
             state_text(batch), batch.items, batch.enrolled, batch.duplicate, batch.rejected,
             batch.cancelled, batch.waiting, local_time(batch.created_at), duration_text(batch))
            for batch in batches
        ),
    )


def _lines(batch: Batch, app: str) -> tuple[str, str]:
    counts = ", ".join(f"{count} {state}" for state, count in counts_of(batch).items() if count)
    waiting = [f"{batch.waiting} in work"] * bool(batch.waiting)
    took = [f"took {duration_text(batch)}"] * bool(duration_text(batch))
    first = f"{batch.id[:SHORT_ID]}  {app}  {state_text(batch)}  {batch.source}"
    second = ", ".join([
        f"{batch.items} items" + (f": {counts}" if counts else ""), *waiting,
        f"began {local_time(batch.created_at)}", *took,
    ])
    return first, f"{' ' * SHORT_ID}  {second}"


def batch_json(batch: Batch, app: str, reasons: Reasons | None = None) -> dict[str, Any]:
    """A batch for programs; ``search`` is None until the batch is searched for duplicate
    people. Counting ``reasons`` reads all items."""
    search = search_of(batch)
    same_names = ("exhausted", "total", "position", "created_at", "updated_at", "finished_at")
    return {
        "batch": batch.id, "app": app, "source": batch.source,
        "options": batch.options.to_json(), "state": batch.state.value,
        "items": batch.items, "waiting": batch.waiting, **counts_of(batch),
        "skipped": batch.skipped,
        **({} if reasons is None else {"reasons": [
            {"outcome": state.value, "reason": reason, "items": count}
            for (state, reason), count in reasons.most_common() if reason
        ]}),
        "error": failure_of(batch),
        "search": None if search is None else search.public_json(),
        **{name: getattr(batch, name) for name in same_names},
    }


def counts_of(batch: Batch) -> Mapping[str, int]:
    """Items by outcome."""
    return {state.value: getattr(batch, state.value) for state in OUTCOMES}


def state_text(batch: Batch) -> str:
    """The state of a batch; while its source is read, with how much was read."""
    if batch.state is BatchState.READING and batch.source_error is not None:
        return f"{batch.state.value} (cannot be read)"
    if batch.exhausted or batch.ended or batch.position is None:
        return batch.state.value
    return f"{batch.state.value} ({batch.position:.0%} of the source)"


def duration_text(batch: Batch) -> str:
    """The time from the beginning of a batch to its end; empty while it has not ended."""
    ended = batch.finished_at
    return "" if ended is None else format_duration(ended - batch.created_at)


def write_report(stores: BatchStores, batch: Batch, to: Path) -> None:
    """Write a line for every item to a file. Raises ``InvalidParameter``,
    ``ReportNotWritten``, ``DatabaseUnavailable``."""
    with open_report(to, COLUMNS) as write:
        for row in report_rows(stores.engine, stores.batches, batch.id):
            write(row)
