"""A submitter that rings."""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.batches.store import BatchStore
from pipeline.batches.submitting import Pace, Submitter
from pipeline.config import Settings
from pipeline.jobs.model import Job
from pipeline.media.base import MediaStore
from pipeline.media.header import PictureLimits
from workers.dispatch import Dispatcher


def open_submitter(
    settings: Settings, batches: BatchStore, media: MediaStore, dispatcher: Dispatcher,
    judged: str = "",
) -> Submitter:
    """Reads sources into batches as the settings have it. ``judged``: as ``Submitter``."""

    def ring(jobs: Sequence[Job]) -> None:
        for job in jobs:
            dispatcher.ring(job.id, job.stage)

    return Submitter(
        batches, media, PictureLimits.from_settings(settings), ring,
        Pace.from_settings(settings), judged,
    )
