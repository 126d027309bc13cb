"""Reconciles jobs and messages: the broker may lose any message and a worker may die at any
moment, but every job is in SQL."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.config.settings import Settings
from pipeline.errors import DownloadRefused
from pipeline.jobs.upkeep import JobUpkeep
from pipeline.metrics.catalogue import JOBS_RELEASED
from pipeline.operations import Stage
from workers.crash_recovery import notify_crashed, republish
from workers.dispatch import Dispatcher
from workers.job_notifier import JobNotifier

# Jobs handled at a time: keeps each transaction short.
CHUNK = 500


@dataclass(frozen=True, slots=True)
class Reconciler:
    """Several may run at once: the worst result is a message too many."""

    settings: Settings
    jobs: JobUpkeep
    dispatcher: Dispatcher
    notifier: JobNotifier

    def round(self) -> None:
        """Once over everything. Raises ``DatabaseUnavailable``, ``BrokerUnavailable``."""
        self.release_dead()
        waiting = self.jobs.stages_with_waiting()
        for stage in [each for each in Stage if each in waiting]:
            if stage is Stage.FETCH and not self.settings.fetch_urls:
                self.end_unfetched()
            self.end_pauses(stage)
            self.send_lost(stage)

    def release_dead(self) -> None:
        """Put back, or end, the jobs of workers whose leases have run out."""
        while True:
            back, ended = self.jobs.release_dead(self.settings.max_attempts, limit=CHUNK)
            JOBS_RELEASED.add(amount=len(back) + len(ended))
            notify_crashed(self.notifier, ended)
            republish(self.jobs, self.dispatcher, back)
            if len(back) + len(ended) < CHUNK:
                return

    def end_unfetched(self) -> None:
        """End the jobs that wait for a picture to be fetched, where fetching was switched
        off meanwhile."""
        error = DownloadRefused("Fetching pictures by URL is switched off.")
        while ended := self.jobs.fail_waiting(Stage.FETCH, error, CHUNK):
            for job in ended:
                self.notifier.publish(job.id)

    def end_pauses(self, stage: Stage) -> None:
        """Send messages for the jobs whose pause is over."""
        while due := self.jobs.ended_pauses(stage, CHUNK):
            republish(self.jobs, self.dispatcher, due)

    def send_lost(self, stage: Stage) -> None:
        """Send messages again when the queue holds fewer messages than jobs wait.

        Never more than the difference, so that a long backlog is not sent again and
        again. A few jobs too many are counted, those whose message a worker holds
        already; their second message does nothing.
        """
        lost = self.jobs.count_due(stage) - self.dispatcher.depth(stage)
        while lost > 0:
            jobs = self.jobs.stale_messages(stage, self.settings.resend_after_s, min(lost, CHUNK))
            if not jobs:
                return
            republish(self.jobs, self.dispatcher, jobs)
            lost -= len(jobs)
