"""What an index process does beside searches: follow every gallery, keep snapshots."""

from __future__ import annotations

import logging
import threading

from pipeline.accounts.tenants import readable_tenant_ids
from pipeline.config.settings import Settings
from pipeline.database.engine import open_engine
from pipeline.errors import DatabaseUnavailable
from pipeline.index.tenant_views import TenantViews

logger = logging.getLogger(__name__)

# Seconds that the end of the process waits for a round: one that writes the snapshot of a
# large gallery takes longer, and a snapshot that is cut off does no harm.
STOP_S = 5.0


class IndexUpkeep:
    """Rounds over the views of all tenants, in a thread of its own."""

    def __init__(self, settings: Settings, views: TenantViews) -> None:
        self._engine = open_engine(settings.sql_url, durable=False)
        self._views = views
        self._pause_s = settings.index_round_s
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="keeper", daemon=True)

    def start(self) -> None:
        """Read every gallery in, then go on in the background."""
        self.round()
        self._thread.start()

    def round(self) -> None:
        """Once over all tenants; what cannot be done now is done in the next round."""
        try:
            self._views.maintain(readable_tenant_ids(self._engine))
        except DatabaseUnavailable as error:
            logger.warning(
                "The galleries wait: %s", error, extra={"action": "index_maintenance_failed"}
            )
        except Exception:
            # A fault of ours in one round must not stop all the later ones: deleted
            # faces would stay in snapshots.
            logger.exception("A round of the index failed", extra={"action": "index_failed"})

    def close(self) -> None:
        self._stop.set()
        self._thread.join(STOP_S)
        self._engine.dispose()

    def _run(self) -> None:
        while not self._stop.wait(self._pause_s):
            self.round()
