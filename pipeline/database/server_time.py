"""What is known of the time of database servers: how far it is from this process's monotonic
clock, which nobody sets."""

from __future__ import annotations

import time
from dataclasses import dataclass
from weakref import WeakKeyDictionary

from sqlalchemy import Connection, Engine

# Seconds by which the two clocks of this process may drift apart; more means that one of them
# was set, or that the machine slept.
STEP_S = 0.2


@dataclass(frozen=True, slots=True)
class _Reading:
    """``ahead``: the server's epoch seconds less this process's monotonic clock, which showed
    ``at``; ``wall``: the same of this process's own epoch seconds."""

    ahead: float
    at: float
    wall: float


_READINGS: WeakKeyDictionary[Engine, _Reading] = WeakKeyDictionary()


def learn_time(engine: Engine, connection: Connection) -> None:
    """Read the server's clock by ``connection``, of PostgreSQL."""
    began = time.monotonic()
    read = connection.exec_driver_sql("SELECT extract(epoch FROM clock_timestamp())::float8")
    server = float(read.scalar_one())
    ended = time.monotonic()
    _READINGS[engine] = _Reading(server - (began + ended) / 2, ended, time.time() - ended)


def is_known(engine: Engine, fresh_s: float | None = None) -> bool:
    """Whether the time of the server of ``engine`` is known, by a reading that is not older than
    ``fresh_s`` seconds when given."""
    reading = _READINGS.get(engine)
    if reading is None or fresh_s is None:
        return reading is not None
    now = time.monotonic()
    return now - reading.at < fresh_s and abs(time.time() - now - reading.wall) < STEP_S


def server_time(engine: Engine) -> float:
    """The server's epoch seconds; its time must be known."""
    return time.monotonic() + _READINGS[engine].ahead
