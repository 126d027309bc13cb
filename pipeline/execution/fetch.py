"""The fetch stage: pictures that a request names by URL become media of its job."""

from __future__ import annotations

import logging
import time
from dataclasses import replace

from pipeline import storage_keys
from pipeline.errors import DownloadRefused, FaceError
from pipeline.execution.context import JobContext, Resources
from pipeline.fetching.base import Fetcher
from pipeline.jobs.model import Job
from pipeline.plans import Plan

logger = logging.getLogger(__name__)


def fetch_pictures(plan: Plan, job: Job, carry: JobContext, tools: Resources) -> JobContext:
    """The keys of all pictures of a job, those that had to be fetched stored.

    Raises ``MediaUnavailable``, and what ``Fetcher.get`` raises with the picture at
    fault; then nothing has been stored.
    """
    if tools.fetcher is None:
        raise DownloadRefused("Fetching pictures by URL is switched off.")
    fetched = {
        index: _fetch(url, index, job, tools.fetcher)
        for index, url in enumerate(job.params["fetch"])
        if url is not None
    }
    media = list(job.media)
    now = time.time()
    for index, data in fetched.items():
        name = tools.media.name(job.tenant_id, data)
        media[index] = storage_keys.transient_media(job.tenant_id, job.id, name, now)
        tools.media.put(media[index], data)
    return replace(carry, media=media)


def was_fetched(job: Job, index: int) -> bool:
    """Whether a picture of a job is one that is, or was, fetched."""
    urls = job.params.get("fetch")
    return bool(urls and urls[index])


def _fetch(url: str, index: int, job: Job, fetcher: Fetcher) -> bytes:
    try:
        return fetcher.fetch(url)
    except FaceError as error:
        error.picture = index
        logger.info(
            "A job ends without its picture: %s", error,
            extra={"action": "picture_not_fetched", "job": job.id, "picture": index},
        )
        raise
