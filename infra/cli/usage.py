"""``faceline usage``: the calls of applications, and how they were charged."""

from __future__ import annotations

import re
from functools import reduce
from typing import Annotated

import typer

from infra.cli.arguments import Json
from infra.cli.console import print_json, print_table
from infra.cli.database import Stores
from pipeline.errors import InvalidParameter
from pipeline.metering.usage import Counts, UsageStore

DAY = re.compile("[0-9]{4}-[0-9]{2}-[0-9]{2}")
MONTH = re.compile("[0-9]{4}-[0-9]{2}")


def usage(
    tenant: Annotated[str | None, typer.Option(help="Only of this application.")] = None,
    day: Annotated[
        str | None, typer.Option(help="A day (UTC, YYYY-MM-DD); without one: today.")
    ] = None,
    month: Annotated[str | None, typer.Option(help="Every day of a month (UTC, YYYY-MM).")] = None,
    sums: Annotated[
        bool, typer.Option("--sums", help="With --month: the month's sums, no days.")
    ] = False,
    json: Json = False,
) -> None:
    """Count calls by application, day and operation: charged, free, refunded because the
    service failed, and refused."""
    stores = Stores()
    tenants, store = stores.tenants, UsageStore(stores.engine)
    names = {each.id: each.name for each in tenants.all()}
    periods = _periods(store, day, month, sums)
    rows = store.report(periods, tenants.by_name(tenant).id if tenant else None)
    if json:
        print_json([
            {
                "application": names.get(row.tenant_id, ""), "period": row.period,
                "operation": row.operation, **row.counts.values(),
            }
            for row in rows
        ])
        return
    cells = [
        [names.get(row.tenant_id, ""), row.period, row.operation, *row.counts.values().values()]
        for row in rows
    ]
    total = reduce(Counts.plus, (row.counts for row in rows), Counts())
    print_table(
        ("application", "month" if sums else "day", "operation", *total.values()),
        [*cells, ["all", "", "", *total.values().values()]],
    )


def _periods(store: UsageStore, day: str | None, month: str | None, sums: bool) -> list[str]:
    if day is not None and month is not None:
        raise InvalidParameter("choose --day or --month")
    if sums and month is None:
        raise InvalidParameter("--sums goes with --month")
    if day is not None and DAY.fullmatch(day) is None:
        raise InvalidParameter("--day takes a day such as 2027-01-31")
    if month is None:
        return [day or store.today()]
    if MONTH.fullmatch(month) is None:
        raise InvalidParameter("--month takes a month such as 2027-01")
    return [month] if sums else store.days(month)
