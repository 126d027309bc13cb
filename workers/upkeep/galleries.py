"""Keeping the media store in line with the galleries."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field

from sqlalchemy import Engine

from pipeline.accounts.tenants import readable_tenant_ids
from pipeline.batches.unattended import sweep_lists
from pipeline.config.settings import Settings
from pipeline.database.clock import Clock, database_time
from pipeline.encryption.data_key import KeySource, NoKeys
from pipeline.gallery.change_log import ChangeLog
from pipeline.gallery.orphan_sweep import OrphanSweep
from pipeline.index.snapshots import purge_snapshots
from pipeline.media.base import MediaStore

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class GalleryUpkeep:
    """Several may run at once. ``clock`` gives epoch seconds (None: the database's). Methods raise
    ``DatabaseUnavailable``, ``MediaUnavailable``."""

    settings: Settings
    engine: Engine
    media: MediaStore
    clock: Clock | None = None
    keys: KeySource = field(default_factory=NoKeys)

    def purge_snapshots(self) -> None:
        """Discard snapshots that hold deleted faces and that no index process has replaced
        in time; then delete the part of the change logs that no index needs."""
        log = ChangeLog(self.engine, self.keys)
        for tenant in readable_tenant_ids(self.engine):
            purge_snapshots(log, self.media, tenant, self._now(), self.settings.purge_after_s)
            log.prune(tenant)

    def sweep_lists(self) -> None:
        """Delete the lists of batches that will not be read any more."""
        for tenant in readable_tenant_ids(self.engine):
            sweep_lists(self.engine, self.media, tenant, self._now())

    def sweep(self) -> None:
        """Delete objects of failed enrolments; log which objects are missing."""
        for tenant in readable_tenant_ids(self.engine):
            swept = OrphanSweep(self.engine, self.media, self.clock).run(tenant)
            if swept.missing:
                logger.error(
                    "Stored pictures are missing from the media store",
                    extra={"action": "media_missing", "tenant": tenant,
                           "count": len(swept.missing), "first": swept.missing[0]},
                )

    def _now(self) -> float:
        return database_time(self.engine, self.clock)
