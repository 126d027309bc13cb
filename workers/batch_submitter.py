"""Opens submitters that publish the jobs they record."""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.batches.store import BatchStore
from pipeline.batches.submit import SubmitLimits, Submitter
from pipeline.config.settings import Settings
from pipeline.jobs.model import Job
from pipeline.media.base import MediaStore
from pipeline.media.pictures import PictureLimits
from workers.dispatch import Dispatcher


def open_submitter(
    settings: Settings, batches: BatchStore, media: MediaStore, dispatcher: Dispatcher,
    criteria: str = "",
) -> Submitter:
    """A submitter by the settings. ``criteria``: as ``Submitter``."""

    def publish(jobs: Sequence[Job]) -> None:
        for job in jobs:
            dispatcher.publish(job.id, job.stage)

    return Submitter(
        batches, media, PictureLimits.from_settings(settings), publish,
        SubmitLimits.from_settings(settings), criteria,
    )
