"""Releasing at once the jobs that dead workers held, and notifying the clients of those that
ended by it."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from pipeline.config.settings import Settings
from pipeline.database.engine import open_engine
from pipeline.errors import BrokerUnavailable, DatabaseUnavailable, JobCrashed
from pipeline.jobs.model import Job
from pipeline.jobs.upkeep import JobUpkeep
from pipeline.metrics.catalogue import JOBS_ENDED, JOBS_RELEASED, MESSAGES_RESENT, POISON_JOBS
from pipeline.metrics.outcomes import outcome_of
from workers.dispatch import Dispatcher
from workers.job_notifier import JobNotifier
from workers.running_notes import RunningNotes
from workers.runtime import worker_name

logger = logging.getLogger(__name__)


class CrashRecovery:
    """Releases the jobs of dead processes of one worker group, from their parent.

    The reconciler finds the jobs that it misses when their leases run out.
    """

    def __init__(
        self, settings: Settings, group: str, dispatcher: Dispatcher, notes: RunningNotes
    ) -> None:
        self._settings = settings
        self._group = group
        self._dispatcher = dispatcher
        self._notes = notes

    def release_jobs_of(self, pid: int) -> None:
        """Release the jobs of the process ``pid`` of this group, which is dead or about to be."""
        name = worker_name(self._group, pid)
        # Closed again before the next fork: no child inherits a connection.
        engine = open_engine(self._settings.sql_url, durable=False)
        notifier = JobNotifier(self._settings)
        try:
            upkeep = JobUpkeep(engine)
            back, ended = upkeep.release_dead(
                self._settings.max_attempts, worker=name, culprit=self._notes.of(pid)
            )
            JOBS_RELEASED.add(amount=len(back) + len(ended))
            republish(upkeep, self._dispatcher, back)
            notify_crashed(notifier, ended)
        except (DatabaseUnavailable, BrokerUnavailable) as error:
            logger.warning(
                "Could not release the job of a dead process: %s", error,
                extra={"action": "release_failed", "worker": name},
            )
        finally:
            notifier.close()
            engine.dispose()


def republish(upkeep: JobUpkeep, dispatcher: Dispatcher, jobs: Sequence[Job]) -> None:
    """Send messages again for jobs that lost theirs. Raises ``BrokerUnavailable``.

    They are marked before they are sent: of two reconcilers only one finds them without a
    message, and messages that the broker does not take are sent a few seconds later.
    """
    if not jobs:
        return
    upkeep.mark_published([job.id for job in jobs])
    sent = dispatcher.publish_all(jobs)
    stages = {job.id: job.stage for job in jobs}
    for job_id in sent:
        MESSAGES_RESENT.add(stages[job_id])
    logger.info(
        "%d jobs were sent again", len(sent),
        extra={"action": "jobs_republished", "stage": jobs[0].stage, "first": jobs[0].id},
    )
    for job_id in sent:
        logger.debug("A job was sent again", extra={"action": "job_republished", "job": job_id})


def notify_crashed(notifier: JobNotifier, ended: Sequence[Job]) -> None:
    """Publish the end of jobs that ended because their workers died."""
    for job in ended:
        POISON_JOBS.add()
        JOBS_ENDED.add(job.operation, outcome_of(JobCrashed.code), JobCrashed.code)
        logger.error(
            "A job killed its worker each time and was ended",
            extra={"action": "job_crashed", "job": job.id, "attempts": job.attempts},
        )
        notifier.publish(job.id)
