"""The stores and helpers of the web side, opened once per process.

Methods without ``async`` block and run in the pools of ``ThreadPools``.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from contextlib import suppress

from sqlalchemy import Engine

from api_shim.accept_job import JobAcceptance
from api_shim.admission import AdmissionControl
from api_shim.identity.open import open_identity_provider
from api_shim.intake import Intake
from api_shim.job_waiters import JobWaiters
from api_shim.rate_limiter import RateLimiter
from api_shim.readiness import Readiness
from api_shim.thread_pools import ThreadPools, in_thread
from pipeline.accounts.tenants import TenantStore
from pipeline.batches.store import BatchStore
from pipeline.config.settings import Settings
from pipeline.database.clock import Clock, database_clock
from pipeline.database.engine import open_engine
from pipeline.deletions.journal import DeletionJournal, open_journal
from pipeline.deletions.receipts import ReceiptStore
from pipeline.deployment.pack import PinnedPack, pinned_pack
from pipeline.deployment.processes import Heartbeat, Role
from pipeline.duplicates.review import FindingReview
from pipeline.encryption.data_keys import open_keys
from pipeline.encryption.vault import open_vault
from pipeline.errors import MediaNotFound
from pipeline.gallery.browse import GalleryBrowser
from pipeline.gallery.change_log import ChangeLog
from pipeline.gallery.collections import CollectionStore
from pipeline.gallery.faces import FaceStore
from pipeline.gallery.galleries import GalleryStore
from pipeline.gallery.images import ImageStore
from pipeline.jobs.challenges import ChallengeStore
from pipeline.jobs.model import Job
from pipeline.jobs.store import JobStore
from pipeline.media.base import MediaStore
from pipeline.media.open import open_media
from pipeline.metering.usage import UsageStore
from pipeline.operators.audit import AuditLog
from pipeline.operators.external import ExternalAccounts
from pipeline.operators.sessions import SessionStore
from pipeline.operators.sign_in import SignIn
from pipeline.operators.store import OperatorStore
from pipeline.tracing.open import open_tracer
from pipeline.webhooks.store import WebhookStore
from workers.clocks import ClockWatch
from workers.dispatch import Dispatcher
from workers.job_notifier import JobNotifier


class RecordStores:
    """The records that dialects read and change without a job, in one database and one media
    store."""

    def __init__(
        self, engine: Engine, tenants: TenantStore, jobs: JobStore, media: MediaStore,
        clock: Clock, journal: DeletionJournal | None = None,
    ) -> None:
        self.clock = clock
        self.tenants = tenants
        self.jobs = jobs
        self.media = media
        self.faces = FaceStore(engine, media, clock, journal=journal)
        self.images = ImageStore(engine, media, clock, journal)
        self.collections = CollectionStore(engine, media, clock, journal)
        self.galleries = GalleryStore(engine, media, clock, journal)
        self.browser = GalleryBrowser(engine)
        self.receipts = ReceiptStore(engine)
        self.challenges = ChallengeStore(engine, clock)


class Service:
    """Create it in the process that serves. ``clock`` returns epoch seconds; None: the
    database's."""

    def __init__(self, settings: Settings, clock: Clock | None = None) -> None:
        self.settings = settings
        self.engine = open_engine(settings.sql_url, durable=True)
        clock = database_clock(self.engine, clock)
        tenant_keys = open_keys(settings, self.engine)
        self.jobs = JobStore(self.engine, clock, tenant_keys)
        vault = self.vault = open_vault(settings)
        self.tenants = TenantStore(self.engine, vault, clock)
        self.media = open_media(settings, tenant_keys, self.engine)
        self.readiness = Readiness(self.engine, self.media, vault)
        self.batches = BatchStore(self.engine, clock, tenant_keys)
        self.operators = OperatorStore(self.engine, clock)
        self.sessions = SessionStore(self.engine, clock)
        self.sign_in = SignIn(self.engine, vault, clock)
        self.external = ExternalAccounts(self.engine, self.operators, settings.oidc_issuer)
        self.identity_provider = open_identity_provider(settings, clock)
        self.audit = AuditLog(self.engine, clock)
        self.journal = open_journal(settings, self.engine, vault, clock)
        self.records = RecordStores(
            self.engine, self.tenants, self.jobs, self.media, clock, self.journal
        )
        self.findings = FindingReview(self.engine, self.records.faces, tenant_keys, clock)
        self.usage = UsageStore(self.engine, clock)
        self.webhooks = WebhookStore(self.engine, vault, clock)
        self.admission = AdmissionControl(
            self.usage, self.jobs, RateLimiter(settings.wake_url), clock,
            show_tenants=settings.metrics_tenants,
        )
        self.acceptance = JobAcceptance(
            settings, self.jobs, self.media, ChangeLog(self.engine), self.records.challenges,
            clock,
        )
        self.threads = ThreadPools()
        self.intake = Intake(settings, self.threads.intake)
        self.waiters = JobWaiters(settings, self._find_ended)
        self.dispatcher = Dispatcher(settings)
        self._notifier = JobNotifier(settings)
        # A heartbeat need not wait for the disk.
        self._beating = open_engine(settings.sql_url, durable=False)
        self.clocks = ClockWatch(settings, self._beating)
        self.heartbeat = Heartbeat(self._beating, Role.SHIM, looks=[self.clocks.look])
        self.tracer = open_tracer(settings, Role.SHIM)

    def close(self) -> None:
        self.heartbeat.close()
        self._beating.dispose()
        self.threads.close()
        self.admission.close()
        self.dispatcher.close()
        self._notifier.close()
        self.tracer.close()
        self.engine.dispose()

    def publish_job(self, job: Job) -> None:
        """Send the job's message without waiting for the broker. The reconciler resends
        messages that the broker does not accept."""
        self.threads.notifications.submit(self.dispatcher.publish, job.id, job.stage)

    def announce_end(self, job_id: str) -> None:
        """Notify all processes that a job has ended."""
        self.waiters.wake(job_id)
        self.threads.notifications.submit(self._notifier.publish, job_id)

    async def find_job(self, job_id: str) -> Job | None:
        return await in_thread(self.threads.reads, self.jobs.read.find, job_id)

    def pinned_pack(self) -> PinnedPack | None:
        """The deployment's pack. Raises ``DatabaseUnavailable``."""
        return pinned_pack(self.engine)

    def attachments(self, media: Iterable[str]) -> dict[str, bytes]:
        """The stored pictures under these keys, without those deleted since. Raises
        ``MediaUnavailable``."""
        found = {}
        for key in media:
            with suppress(MediaNotFound):
                found[key] = self.media.get(key)
        return found

    async def _find_ended(self, ids: Collection[str]) -> set[str]:
        return await in_thread(self.threads.reads, self.jobs.read.ended_among, ids)
