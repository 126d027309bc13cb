"""Comparing the clocks of this process, the database, Redis and the media store.

Everything that is stored and compared later goes by the database's clock. SQLite has none of its
own: there each process writes its machine's time, so that a process with another time would take
living workers for dead, or delete what is seconds old.
"""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass, field

from sqlalchemy import Engine

from pipeline.config.settings import Settings
from pipeline.database.clock import NOTABLE_S, database_time
from pipeline.errors import BrokerUnavailable, ConfigurationError
from pipeline.media.base import MediaStore
from workers.connection import map_redis_errors, open_redis, time_of

logger = logging.getLogger(__name__)

# The part of a lease by which clocks may differ where each process has its own: claims are
# renewed after a third of it.
HARMLESS_SHARE = 0.5

# Seconds between two looks at Redis's clock, and for one of its answers.
LOOK_EVERY_S = 60.0
TIMEOUT_S = 1.0


def redis_time(settings: Settings) -> float:
    """Epoch seconds by Redis's clock. Raises ``BrokerUnavailable``, ``ConfigurationError``."""
    with open_redis(settings.wake_url, TIMEOUT_S) as redis, map_redis_errors("time"):
        return time_of(redis)


def media_ahead(media: MediaStore, engine: Engine) -> float | None:
    """Seconds by which the clock of the media store's server is ahead of the database's; None
    without a server. Raises ``MediaUnavailable``, ``DatabaseUnavailable``."""
    told = media.server_time()
    # It is cut to whole seconds.
    return None if told is None else told + 0.5 - database_time(engine)


def warn_of_media(media: MediaStore, engine: Engine) -> None:
    """Log a warning when the clock of the media store's server differs. Raises as
    ``media_ahead``."""
    ahead_s = media_ahead(media, engine)
    if ahead_s is not None and abs(ahead_s) >= NOTABLE_S:
        _warn("the media store", ahead_s)


@dataclass(slots=True)
class ClockWatch:
    """Compares clocks now and then; ``trouble`` says why this process must not work, None while it
    may. Make it after a fork."""

    settings: Settings
    engine: Engine
    trouble: str | None = None
    _due_at: float = 0.0
    _warned: dict[str, float] = field(default_factory=dict)

    def look(self) -> str | None:
        """Compare the clocks, at most once a minute; the trouble found. A Redis that is away is
        not asked. Raises ``DatabaseUnavailable``."""
        if time.monotonic() < self._due_at:
            return self.trouble
        now = database_time(self.engine)
        self._note("the database", now - time.time())
        try:
            ahead_s = redis_time(self.settings) - now
        except (BrokerUnavailable, ConfigurationError):
            return self.trouble
        self._due_at = time.monotonic() + LOOK_EVERY_S
        self._note("Redis", ahead_s)
        self.trouble = self._judge(-ahead_s)
        return self.trouble

    def require(self) -> None:
        """Raises ``ConfigurationError`` when this process must not work, and
        ``DatabaseUnavailable``."""
        if (trouble := self.look()) is not None:
            raise ConfigurationError(trouble)

    def _judge(self, ahead_s: float) -> str | None:
        """What harm this process would do whose time is ``ahead_s`` ahead of Redis's."""
        limit_s = HARMLESS_SHARE * self.settings.lease_s
        if self.engine.dialect.name != "sqlite" or abs(ahead_s) <= limit_s:
            return None
        return (
            f"The clock of this process is {abs(ahead_s):.0f} s "
            f"{'ahead of' if ahead_s > 0 else 'behind'} Redis's, and with SQLite leases and expiry "
            f"go by the clock of each process: at most {limit_s:g} s are harmless. Set both "
            "clocks by NTP, and start it again"
        )

    def _note(self, whose: str, ahead_s: float) -> None:
        """Log a difference once until it changes."""
        before_s = self._warned.get(whose, 0.0)
        if abs(ahead_s - before_s) >= NOTABLE_S:
            self._warned[whose] = ahead_s
            _warn(whose, ahead_s)


def _warn(whose: str, ahead_s: float) -> None:
    if abs(ahead_s) < NOTABLE_S:
        logger.info("The clock of %s agrees", whose, extra={"action": "clock_agrees"})
        return
    logger.warning(
        "The clock of %s is %.0f s %s this one's", whose, abs(ahead_s),
        "ahead of" if ahead_s > 0 else "behind",
        extra={"action": "clock_differs", "ahead_s": round(ahead_s, 1)},
    )
