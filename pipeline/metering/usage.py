"""Counting calls, and refusing those above a quota.

Every call is counted in four rows: for the month and for the day, each for the whole
application and for the operation. One statement increments and reads a row, which stays
locked until the transaction ends; a count above a quota rolls the transaction back. So quotas
are exact with any number of processes, and a call that fails otherwise costs nothing.
"""

from __future__ import annotations

import calendar
import time
from collections.abc import Collection, Iterable, Mapping
from dataclasses import asdict, astuple, dataclass
from operator import add

from sqlalchemy import Connection, Engine, bindparam, delete, func, select, text
from sqlalchemy.exc import IntegrityError

from pipeline.database.clock import Clock, database_time
from pipeline.database.engine import change_rows, read_rows, read_values, writing
from pipeline.database.schema import tenants, usage
from pipeline.errors import QuotaExceeded
from pipeline.metering.costs import Cost
from pipeline.metering.limits import ALL_OPERATIONS, Limits, limits_for

DAY_S = 86_400

# Always in this order, the month before the day and the application before the operation:
# concurrent transactions of a tenant wait at the same first row and cannot deadlock.
ADD_COUNTS = text(
    """
    INSERT INTO usage (tenant_id, period, operation, charged, free, refunded, refused)
    VALUES (:tenant, :month, '*', :charged, :free, :refunded, :refused),
           (:tenant, :month, :operation, :charged, :free, :refunded, :refused),
           (:tenant, :day, '*', :charged, :free, :refunded, :refused),
           (:tenant, :day, :operation, :charged, :free, :refunded, :refused)
    ON CONFLICT (tenant_id, period, operation) DO UPDATE SET
        charged = usage.charged + excluded.charged,
        free = usage.free + excluded.free,
        refunded = usage.refunded + excluded.refunded,
        refused = usage.refused + excluded.refused
    RETURNING period, operation, charged
    """
)

SELECT_COUNTERS = select(usage.c.period, usage.c.operation, usage.c.charged).where(
    usage.c.tenant_id == bindparam("tenant"),
    usage.c.period.in_([bindparam("month"), bindparam("day")]),
    usage.c.operation.in_([ALL_OPERATIONS, bindparam("operation")]),
)

Counters = dict[tuple[str, str], int]
"""Charged calls by (period, operation)."""


@dataclass(frozen=True, slots=True)
class Counts:
    """Numbers of calls. ``charged``, ``free`` and ``refunded`` calls were accepted;
    ``refused`` ones exceeded a limit or were not permitted."""

    charged: int = 0
    free: int = 0
    refunded: int = 0
    refused: int = 0

    def plus(self, other: Counts) -> Counts:
        return Counts(*map(add, astuple(self), astuple(other)))

    @property
    def accepted(self) -> int:
        """The calls that no limit refused."""
        return self.charged + self.free + self.refunded

    def values(self) -> dict[str, int]:
        return asdict(self)


@dataclass(frozen=True, slots=True)
class UsageRow:
    """A tenant's use of an operation in a period, ``YYYY-MM-DD`` or ``YYYY-MM``."""

    tenant_id: int
    period: str
    operation: str
    counts: Counts


def day_of(now: float) -> str:
    """The day (UTC, ``YYYY-MM-DD``) of an epoch second."""
    return time.strftime("%Y-%m-%d", time.gmtime(now))


def month_of(day: str) -> str:
    return day[:7]


def count(
    connection: Connection, tenant_id: int, operation: str, day: str, counts: Counts
) -> Counters:
    """Add ``counts``; returns the charged calls of the rows afterwards."""
    rows = connection.execute(
        ADD_COUNTS,
        {
            "tenant": tenant_id, "operation": operation, "day": day, "month": month_of(day),
            **counts.values(),
        },
    )
    return {(row.period, row.operation): row.charged for row in rows}


def charge(
    connection: Connection, tenant_id: int, operation: str, limits: Limits, now: float
) -> str:
    """Count one call as charged; returns the day that it is counted for. Raises
    ``QuotaExceeded``, which must roll the transaction back."""
    day = day_of(now)
    counters = count(connection, tenant_id, operation, day, Counts(charged=1))
    _check(counters, operation, limits, now, room=0)
    return day


def settle(
    connection: Connection, tenant_id: int, operation: str, day: str | None, cost: Cost,
    calls: int = 1,
) -> None:
    """Count ``calls`` that were charged on ``day`` (None: they were not charged) by their
    final cost."""
    if day is None or cost is Cost.CHARGED:
        return
    freed = Counts(
        charged=-calls, free=calls * (cost is Cost.FREE), refunded=calls * (cost is Cost.REFUNDED)
    )
    count(connection, tenant_id, operation, day, freed)


def has_quota(limits: Limits, operation: str) -> bool:
    """Whether a quota applies to ``operation``."""
    return any(limit.quotas != (None, None) for _, limit in limits_for(limits, operation))


def _check(counters: Counters, operation: str, limits: Limits, now: float, *, room: int) -> None:
    """Raises ``QuotaExceeded`` when a counter plus ``room`` is above its quota."""
    day = day_of(now)
    for name, limit in limits_for(limits, operation):
        for period, quota in zip((day, month_of(day)), limit.quotas, strict=True):
            if quota is not None and counters.get((period, name), 0) + room > quota:
                raise _exceeded(name, period, now)


def _exceeded(name: str, period: str, now: float) -> QuotaExceeded:
    whose = "of all calls" if name == ALL_OPERATIONS else f"of {name}"
    monthly = len(period) == len("YYYY-MM")
    return QuotaExceeded(
        f"The {'monthly' if monthly else 'daily'} quota {whose} is used up.",
        retry_after_s=_month_left(now) if monthly else DAY_S - now % DAY_S,
    )


def _month_left(now: float) -> float:
    """Seconds to the end of the month."""
    at = time.gmtime(now)
    days = calendar.monthrange(at.tm_year, at.tm_mon)[1]
    return (days - at.tm_mday + 1) * DAY_S - now % DAY_S


@dataclass(frozen=True, slots=True)
class UsageStore:
    """Counts in transactions of its own, and reports. ``clock`` gives epoch seconds (None: the
    database's). All
    methods raise ``DatabaseUnavailable``."""

    engine: Engine
    clock: Clock | None = None

    def charge(self, tenant_id: int, operation: str, limits: Limits) -> str:
        """Count one call that is not a job; returns the day. Raises ``QuotaExceeded``."""
        with writing(self.engine) as connection:
            return charge(connection, tenant_id, operation, limits, self._now())

    def settle(self, tenant_id: int, operation: str, day: str, cost: Cost) -> None:
        """Count a charged call by its final cost."""
        with writing(self.engine) as connection:
            settle(connection, tenant_id, operation, day, cost)

    def check(self, tenant_id: int, operation: str, limits: Limits) -> None:
        """Raises ``QuotaExceeded`` when the quota leaves no call of ``operation``."""
        now = self._now()
        day = day_of(now)
        values = {"tenant": tenant_id, "operation": operation, "day": day, "month": month_of(day)}
        rows = read_rows(self.engine, SELECT_COUNTERS, values)
        counters = {(row.period, row.operation): row.charged for row in rows}
        _check(counters, operation, limits, now, room=1)

    def add(self, counted: Mapping[tuple[int, str, str], Counts]) -> None:
        """Add counts by (tenant, operation, day), in one transaction; counts of a deleted
        tenant are dropped."""
        # PostgreSQL checks no reference to a tenant here.
        known = set(read_values(
            self.engine, select(tenants.c.id).where(tenants.c.id.in_({key[0] for key in counted}))
        ))
        mine = {key: counts for key, counts in counted.items() if key[0] in known}
        in_order = sorted(mine.items(), key=lambda item: item[0])
        try:
            with writing(self.engine) as connection:
                for (tenant_id, operation, day), counts in in_order:
                    count(connection, tenant_id, operation, day, counts)
        except IntegrityError:
            if len(counted) > 1:
                for key, counts in in_order:
                    self.add({key: counts})

    def report(self, periods: Iterable[str], tenant_id: int | None = None) -> list[UsageRow]:
        """The counts of ``periods`` (days or months), by tenant, period and operation,
        without totals."""
        query = (
            select(usage)
            .where(usage.c.period.in_(list(periods)), usage.c.operation != ALL_OPERATIONS)
            .order_by(usage.c.tenant_id, usage.c.period, usage.c.operation)
        )
        if tenant_id is not None:
            query = query.where(usage.c.tenant_id == tenant_id)
        return [
            UsageRow(
                row.tenant_id, row.period, row.operation,
                Counts(row.charged, row.free, row.refunded, row.refused),
            )
            for row in read_rows(self.engine, query)
        ]

    def charged(self, tenant_id: int) -> tuple[dict[str, int], dict[str, int]]:
        """(today's, this month's) charged calls of a tenant by operation; ``ALL_OPERATIONS`` is all
        of them together."""
        day = self.today()
        query = select(usage.c.period, usage.c.operation, usage.c.charged).where(
            usage.c.tenant_id == tenant_id, usage.c.period.in_([day, month_of(day)])
        )
        found: dict[str, dict[str, int]] = {day: {}, month_of(day): {}}
        for period, operation, charged in read_rows(self.engine, query):
            found[period][operation] = charged
        return found[day], found[month_of(day)]

    def totals(self, period: str, tenant_ids: Collection[int]) -> dict[int, Counts]:
        """The counts of a day or a month, all operations together, of those tenants that have
        any."""
        query = select(usage).where(
            usage.c.tenant_id.in_(tenant_ids), usage.c.period == period,
            usage.c.operation == ALL_OPERATIONS,
        )
        return {
            row.tenant_id: Counts(row.charged, row.free, row.refunded, row.refused)
            for row in read_rows(self.engine, query)
        }

    def days(self, month: str, tenant_id: int | None = None) -> list[str]:
        """The days of a month (``YYYY-MM``) with any count, of one tenant or of all."""
        query = (
            select(usage.c.period).distinct()
            .where(usage.c.period.like(f"{month}-%"), usage.c.operation == ALL_OPERATIONS)
            .order_by(usage.c.period)
        )
        if tenant_id is not None:
            query = query.where(usage.c.tenant_id == tenant_id)
        return read_values(self.engine, query)

    def purge(self, kept_days: float) -> int:
        """Delete the counts of days, and of whole months, that ended more than ``kept_days``
        ago; returns how many rows."""
        last = day_of(self._now() - kept_days * DAY_S)
        past_day = (func.length(usage.c.period) == len(last)) & (usage.c.period < last)
        month = month_of(last)
        past_month = (func.length(usage.c.period) == len(month)) & (usage.c.period < month)
        return change_rows(self.engine, delete(usage).where(past_day | past_month))

    def today(self) -> str:
        """The day (UTC) to which calls count now."""
        return day_of(self._now())

    def _now(self) -> float:
        return database_time(self.engine, self.clock)
