"""The upkeep of an index process: it follows every gallery and keeps snapshots."""

from __future__ import annotations

from contextlib import suppress

from pipeline.accounts.tenants import readable_tenant_ids
from pipeline.config.settings import Settings
from pipeline.database.clock import database_time
from pipeline.database.engine import open_engine
from pipeline.deletions.receipts import note_positions
from pipeline.errors import DatabaseUnavailable
from pipeline.index.engine_views import EngineViews
from pipeline.index.local_views import LocalViews
from pipeline.index.states import StateNotes, states_of
from pipeline.index.views import Views
from pipeline.periodic import Ticker

# Seconds that the end of the process waits for a round: one that writes the snapshot of a
# large gallery takes longer, and a snapshot that is cut off does no harm.
STOP_S = 5.0

# Seconds between two rounds of the follower of a vector engine: what it has not applied yet, each
# search compares itself.
FOLLOW_EVERY_S = 0.5


class IndexUpkeep:
    """Rounds over the views of all tenants, in a thread of its own. The first one reads every
    gallery; searches do not wait for it. A vector engine is fed by another thread."""

    def __init__(
        self, settings: Settings, views: Views, local: LocalViews, outside: EngineViews | None,
        process_id: str,
    ) -> None:
        """Of the views, ``local`` are in this process's memory, ``outside`` in an engine."""
        self._engine = open_engine(settings.sql_url, durable=False)
        self._views = views
        self._local = local
        self._process_id = process_id
        self._states = StateNotes(self._engine, process_id)
        self._ticker = Ticker("index_upkeep", settings.index_round_s, self.round, at_once=True)
        self._outside = outside
        self._follower = Ticker("vector_engine", FOLLOW_EVERY_S, self._follow, at_once=True)

    def start(self) -> None:
        self._ticker.start()
        if self._outside is not None:
            self._follower.start()

    def round(self) -> None:
        """Once over all tenants. Raises ``DatabaseUnavailable``."""
        began = database_time(self._engine)
        self._views.keep(readable_tenant_ids(self._engine))
        note_positions(self._engine, self._process_id, self._local.applied, began)
        self._states.note(states_of(self._local))

    def _follow(self) -> None:
        """Raises ``DatabaseUnavailable``, and ``IndexBehind`` while the engine is away."""
        if self._outside is not None:
            self._outside.keep(readable_tenant_ids(self._engine))

    def close(self) -> None:
        self._follower.close(STOP_S)
        self._ticker.close(STOP_S)
        if self._outside is not None:
            with suppress(DatabaseUnavailable):  # the leases end by themselves
                self._outside.close()
        self._engine.dispose()
