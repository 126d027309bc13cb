"""The database's time. Processes of one deployment agree on it, whatever their own clocks say."""

from __future__ import annotations

import time
from collections.abc import Callable

from sqlalchemy import Engine

from pipeline.database.engine import reading
from pipeline.database.server_time import is_known, server_time
from pipeline.errors import DatabaseUnavailable

Clock = Callable[[], float]
"""Gives epoch seconds (UTC)."""

# Seconds of difference between two clocks that are worth a warning. Clocks that are kept by NTP
# differ by milliseconds; the date of an HTTP answer has whole seconds.
NOTABLE_S = 2.0

# Seconds without a transaction after which the clock is read again.
STALE_S = 60.0


def database_time(engine: Engine, clock: Clock | None = None) -> float:
    """Epoch seconds by the database's clock, or by ``clock`` instead where it is given. SQLite
    has the clock of its machine.

    Costs no statement: the server's clock is read at the beginning of a transaction now and
    then. Raises ``DatabaseUnavailable`` when it never could be.
    """
    if clock is not None:
        return clock()
    if engine.dialect.name == "sqlite":
        return time.time()
    if not is_known(engine, STALE_S):
        try:
            with reading(engine):
                pass  # its beginning reads the clock
        except DatabaseUnavailable:
            if not is_known(engine):
                raise
    return server_time(engine)


def database_clock(engine: Engine, clock: Clock | None = None) -> Clock:
    """``clock`` if it is given, else that of the database; see ``database_time``."""
    return clock or (lambda: database_time(engine))
