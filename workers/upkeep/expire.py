"""Removes data past their retention: ended jobs, used signatures, uploaded pictures, usage
counts, used clips, idle batches, pictures of refused items, ended deliveries of webhooks."""

from __future__ import annotations

import time
from dataclasses import dataclass

from sqlalchemy import Engine

from pipeline.accounts.tenants import tenant_ids
from pipeline.batches.refused_pictures import expire_pictures
from pipeline.batches.store import BatchStore
from pipeline.config.settings import Settings
from pipeline.database.clock import Clock, database_time
from pipeline.database.engine import purge_deleted_data
from pipeline.gallery.used_clips import UsedClips
from pipeline.jobs.upkeep import JobUpkeep
from pipeline.media.base import MediaStore
from pipeline.metering.usage import DAY_S, UsageStore
from pipeline.operators.audit import AuditLog
from pipeline.storage_keys import HOUR_S, transient_hour, transient_prefix
from pipeline.webhooks.store import PURGED, purge_deliveries

# Jobs removed in one transaction.
CHUNK = 1000


@dataclass(frozen=True, slots=True)
class Expiry:
    """Several may run at once. ``clock`` gives epoch seconds (None: the database's)."""

    settings: Settings
    jobs: JobUpkeep
    engine: Engine
    media: MediaStore
    clock: Clock | None = None

    def round(self) -> None:
        """Remove old jobs and uploads. Raises ``DatabaseUnavailable``, ``MediaUnavailable``."""
        while self.jobs.drop_pictures(self.settings.media_retention_h * HOUR_S, CHUNK) == CHUNK:
            pass
        while self.jobs.purge(self.settings.job_retention_h * HOUR_S, CHUNK) == CHUNK:
            pass
        self.expire_deliveries()
        self.expire_media()
        purge_deleted_data(self.engine)

    def expire_deliveries(self) -> None:
        """Delete old deliveries of webhooks."""
        delivered_for_s = self.settings.job_retention_h * HOUR_S
        dead_for_s = self.settings.webhook_retention_d * DAY_S
        while purge_deliveries(self.engine, self._now(), delivered_for_s, dead_for_s) == PURGED:
            pass

    def expire_usage(self) -> None:
        """Delete old usage counts, used clips, batches, pictures of refused items and entries of
        the audit log. Reads all usage counts."""
        UsageStore(self.engine, self.clock).purge(self.settings.usage_retention_d)
        UsedClips(self.engine, self.clock).purge(self.settings.living_remember_d)
        AuditLog(self.engine, self.clock).purge(self.settings.audit_retention_d * DAY_S)
        batches = BatchStore(self.engine, self.clock)
        while batches.expire(self.settings.batch_retention_d * DAY_S):
            pass
        kept_for_s = self.settings.refused_picture_retention_d * DAY_S
        while expire_pictures(self.engine, self._now(), kept_for_s):
            pass

    def expire_media(self) -> int:
        """Remove the uploads of whole past hours; the number of objects removed.

        An hour is past when nothing written in it can be needed: its last moment is
        older than the retention and than every job that has not ended.
        """
        first_kept = self._now() - self.settings.media_retention_h * HOUR_S
        oldest = self.jobs.oldest_unfinished()
        if oldest is not None:
            # The picture is stored before its job is recorded: an hour's grace.
            first_kept = min(first_kept, oldest - HOUR_S)
        limit = time.strftime("%Y%m%d%H", time.gmtime(first_kept))
        return sum(self._expire_tenant(tenant, limit) for tenant in tenant_ids(self.engine))

    def _expire_tenant(self, tenant_id: int, limit: str) -> int:
        removed = 0
        for item in self.media.walk(transient_prefix(tenant_id)):
            if transient_hour(item.key) >= limit:
                break  # keys come in order, hours with them
            self.media.delete(item.key)
            removed += 1
        return removed

    def _now(self) -> float:
        return database_time(self.engine, self.clock)
