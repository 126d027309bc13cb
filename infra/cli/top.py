"""``faceline top``: what a deployment does at the moment."""

from __future__ import annotations

import sys
import time
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Annotated, Any

import typer
from rich.console import Group, RenderableType
from rich.live import Live
from rich.markup import escape
from rich.table import Table
from sqlalchemy import Engine

from infra.cli.arguments import Json
from infra.cli.console import out, print_json
from infra.cli.database import Stores
from pipeline.accounts.tenants import tenant_names
from pipeline.batches.model import Batch
from pipeline.batches.overview import open_batches
from pipeline.database.clock import database_time
from pipeline.deployment.processes import ProcessTable, RunningProcess
from pipeline.errors import DatabaseUnavailable
from pipeline.identifiers import escape_controls
from pipeline.jobs.overview import EndedJobs, JobOverview, StageQueue

# Seconds over which rates are taken: long enough to be calm, short enough to follow a change.
RATE_S = 60.0

# Rows of a table: a screen has about forty lines.
MOST_ROWS = 10


@dataclass(frozen=True, slots=True)
class Look:
    """A deployment at the moment ``at`` (epoch seconds of the database's clock). ``ended`` are
    the jobs of the last ``RATE_S`` seconds; ``names`` those of the applications."""

    at: float
    queues: list[StageQueue]
    ended: list[EndedJobs]
    processes: list[RunningProcess]
    batches: list[Batch]
    names: dict[int, str]

    @classmethod
    def now(cls, engine: Engine) -> Look:
        """Raises ``DatabaseUnavailable``."""
        overview = JobOverview(engine)
        return cls(
            database_time(engine), overview.queues(), overview.ended(RATE_S),
            ProcessTable(engine).alive(), open_batches(engine), tenant_names(engine),
        )

    def to_json(self) -> dict[str, Any]:
        return {
            "at": self.at,
            "queues": [asdict(queue) for queue in self.queues],
            "ended": {"seconds": RATE_S, "jobs": [asdict(each) for each in self.ended]},
            "processes": [
                {**asdict(each), "stages": sorted(each.stages)} for each in self.processes
            ],
            "batches": [
                {
                    "id": batch.id, "application": self.names.get(batch.tenant_id, "?"),
                    "state": batch.state, "items": batch.items, "total": batch.total,
                    "waiting": batch.waiting, "enrolled": batch.enrolled,
                    "duplicate": batch.duplicate, "rejected": batch.rejected,
                    "cancelled": batch.cancelled,
                    "source_error": (batch.source_error or {}).get("code"),
                }
                for batch in self.batches
            ],
        }


def top(
    every: Annotated[
        float, typer.Option(min=0.2, help="Seconds between two looks.")
    ] = 2.0,
    once: Annotated[bool, typer.Option("--once", help="Look once and end.")] = False,
    json: Json = False,
) -> None:
    """Show queues, rates, processes and batches, until Ctrl-C. Without a terminal: once."""
    engine = Stores().engine
    look = Look.now(engine)
    if json:
        print_json(look.to_json())
    elif once or not sys.stdout.isatty():
        out.print(screen(look))
    else:
        _watch(engine, look, every)


def _watch(engine: Engine, look: Look, every: float) -> None:
    with Live(screen(look), console=out, screen=True, auto_refresh=False) as live:
        while True:
            time.sleep(every)
            try:
                before, look = look, Look.now(engine)
                shown = screen(look, before)
            except DatabaseUnavailable as error:
                shown = Group(f"[red]{escape(error.message)}[/red]", screen(look))
            live.update(shown, refresh=True)


def screen(look: Look, before: Look | None = None) -> Group:
    """The tables of one look; ``before`` is the last one, for the rates of batches."""
    return Group(
        _table("Queues", ("stage", "waiting", "paused", "running", "oldest"), (
            (each.stage, each.waiting, each.paused, each.running, seconds(each.oldest_s))
            for each in look.queues
        ), "Nothing waits or runs."),
        _table(f"Ended in the last {RATE_S:.0f} s", ("operation", "how", "a second", "mean"), (
            (
                each.operation, each.error_code or each.state, f"{each.count / RATE_S:.2f}",
                seconds(each.mean_s),
            )
            for each in look.ended
        ), "No job."),
        _table(
            "Processes", ("role", "stages", "host", "", "pack", "version", "clock", "trouble"),
            _processes(look.processes), "None runs.",
        ),
        _table("Batches", ("batch", "application", "state", "ended", "of", "a second", "error"), (
            (
                batch.id[:8], look.names.get(batch.tenant_id, "?"), batch.state, ended(batch),
                batch.total or batch.items, _rate(batch, look, before),
                (batch.source_error or {}).get("code", ""),
            )
            for batch in reversed(look.batches)
        ), "None is open."),
    )


def _processes(found: Sequence[RunningProcess]) -> Iterable[Sequence[object]]:
    """A row for the processes of a host that are alike."""
    alike: dict[tuple[object, ...], list[RunningProcess]] = defaultdict(list)
    for each in found:
        kind = (each.role, ",".join(sorted(each.stages)), each.host)
        alike[*kind, each.pack, each.version, each.trouble].append(each)
    for (role, stages, host, pack, version, trouble), group in alike.items():
        offset = max((each.clock_offset for each in group), key=abs)
        yield role, stages, host, len(group), pack, version, f"{offset:+.1f} s", trouble


def ended(batch: Batch) -> int:
    """How many items of a batch have ended."""
    return batch.enrolled + batch.duplicate + batch.rejected + batch.cancelled


def _rate(batch: Batch, look: Look, before: Look | None) -> str:
    former = {each.id: each for each in before.batches} if before is not None else {}
    if before is None or batch.id not in former or look.at <= before.at:
        return ""
    return f"{(ended(batch) - ended(former[batch.id])) / (look.at - before.at):.1f}"


def seconds(value: float) -> str:
    """A duration, short."""
    if value < 10:
        return f"{value:.2f} s" if value else ""
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if value >= 2 * length:
            return f"{value / length:.1f} {unit}"
    return f"{value:.0f} s"


def _table(
    title: str, columns: Sequence[str], rows: Iterable[Sequence[object]], empty: str
) -> RenderableType:
    found = list(rows)
    table = Table(
        title=title, title_justify="left", title_style="bold", box=None, pad_edge=False,
        header_style="dim",
    )
    if not found:
        return Group(f"[bold]{title}[/bold]", f"[dim]{empty}[/dim]", "")
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in found[:MOST_ROWS]:
        cells = ("" if cell is None else escape_controls(str(cell)) for cell in row)
        table.add_row(*map(escape, cells))
    more = f"[dim]and {len(found) - MOST_ROWS} more[/dim]" if len(found) > MOST_ROWS else ""
    return Group(table, more)
