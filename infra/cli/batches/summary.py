"""What became of a batch, as a table and as JSON."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from rich.text import Text

from infra.cli.batches.rate import format_duration
from infra.cli.console import local_time, out, print_table, printable, shortened
from pipeline.batches.blockers import WaitingReason
from pipeline.batches.duplicate_search import search_of
from pipeline.batches.model import OUTCOMES, Batch, BatchState, ItemState
from pipeline.batches.source_errors import failure_of

WIDE = 150  # columns from which on batches are listed as a table

SHORT_ID = 8  # characters of an id, by which commands find the batch

Reasons = Counter[tuple[ItemState, str]]

LABELS = {
    ItemState.ENROLLED: "enrolled",
    ItemState.DUPLICATE: "duplicate",
    ItemState.REJECTED: "rejected",
    ItemState.CANCELLED: "cancelled",
}


def summary_rows(batch: Batch, reasons: Reasons) -> list[tuple[str, int]]:
    """(what, how many items) for each outcome, and below it for each of its reasons."""
    rows: list[tuple[str, int]] = []
    for state in OUTCOMES:
        count = getattr(batch, state.value)
        if count or state is not ItemState.CANCELLED:
            rows.append((LABELS[state], count))
            rows += [
                (f"  {reason}", items) for (of, reason), items in reasons.most_common()
                if of is state and reason
            ]
    if batch.waiting:
        rows.append(("in work", batch.waiting))
    return [*rows, ("all", batch.items)]


def show_summary(batch: Batch, reasons: Reasons) -> None:
    """The table on stdout."""
    print_table(("outcome", "items"), summary_rows(batch, reasons))


def show_batch(
    batch: Batch, reasons: Reasons, app: str, waits_for: WaitingReason | None = None
) -> None:
    """All that is known of a batch; ``waits_for`` is what hinders it."""
    failure = failure_of(batch)
    print_table(
        ("field", "value"),
        (
            ("batch", batch.id),
            ("app", app),
            ("source", batch.source),
            ("state", state_text(batch)),
            ("began", local_time(batch.created_at)),
            ("ended", local_time(batch.finished_at)),
            ("took", duration_text(batch)),
            *([("failed", failure["message"])] if failure else []),
            *([("waits for", waits_for.message)] if waits_for else []),
            *(
                [("next try", local_time(waits_for.retry_at))]
                if waits_for and waits_for.retry_at
                else []
            ),
        ),
    )
    out.print()
    show_summary(batch, reasons)


def show_list(batches: Sequence[Batch], names: Mapping[int, str]) -> None:
    """Batches with the ``names`` of their applications: a table where it can be read, else
    some lines a batch."""
    if out.width < WIDE:
        for batch in batches:
            for line in _lines(batch, names[batch.tenant_id]):
                out.print(Text(printable(line)))
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
    counted = ", ".join(f"{count} {state}" for state, count in counts_of(batch).items() if count)
    waiting = [f"{batch.waiting} in work"] * bool(batch.waiting)
    took_s = [f"took {duration_text(batch)}"] * bool(duration_text(batch))
    first = f"{batch.id[:SHORT_ID]}  {app}  {state_text(batch)}  {batch.source}"
    second = ", ".join([
        f"{batch.items} items" + (f": {counted}" if counted else ""), *waiting,
        f"began {local_time(batch.created_at)}", *took_s,
    ])
    return first, f"{' ' * SHORT_ID}  {second}"


def batch_json(batch: Batch, app: str, reasons: Reasons | None = None) -> dict[str, Any]:
    """A batch for machines; ``search`` is None until it is searched for doubles. To count
    its ``reason_counts`` reads all items."""
    search = search_of(batch)
    return {
        "batch": batch.id,
        "app": app,
        "source": batch.source,
        "options": batch.options.to_json(),
        "state": batch.state.value,
        "items": batch.items,
        "waiting": batch.waiting,
        **counts_of(batch),
        **({} if reasons is None else {"reasons": _reasons_json(reasons)}),
        "exhausted": batch.exhausted,
        "total": batch.total,
        "position": batch.position,
        "error": failure_of(batch),
        "search": None if search is None else search.public_json(),
        "created_at": batch.created_at,
        "updated_at": batch.updated_at,
        "finished_at": batch.finished_at,
    }


def _reasons_json(reasons: Reasons) -> list[dict[str, Any]]:
    return [
        {"outcome": state.value, "reason": reason, "items": count}
        for (state, reason), count in reasons.most_common() if reason
    ]


def counts_of(batch: Batch) -> Mapping[str, int]:
    """Items by outcome."""
    return {state.value: getattr(batch, state.value) for state in OUTCOMES}


def state_text(batch: Batch) -> str:
    """Its state, and how much of the source was read while it is."""
    if batch.state is BatchState.READING and batch.source_error is not None:
        return f"{batch.state.value} (cannot be read)"
    if batch.exhausted or batch.ended or batch.position is None:
        return batch.state.value
    return f"{batch.state.value} ({batch.position:.0%} of the source)"


def duration_text(batch: Batch) -> str:
    """From its first beginning to its end, as long as it has one."""
    return (
        "" if batch.finished_at is None else format_duration(batch.finished_at - batch.created_at)
    )
