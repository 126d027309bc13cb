"""The fetch stage: pictures that a request names by URL become media of its job."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass, replace

from sqlalchemy import Engine

from pipeline import storage_keys
from pipeline.config.settings import Settings
from pipeline.errors import DownloadRefused, FaceError
from pipeline.execution.context import JobContext, Resources
from pipeline.fetching.client import WebFetcher
from pipeline.fetching.open import open_fetcher
from pipeline.jobs.model import Job
from pipeline.operations import Plan

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class FetchResources:
    """``fetcher`` is None where fetching is switched off."""

    fetcher: WebFetcher | None


def open_fetch(settings: Settings, engine: Engine, resources: Resources) -> Iterable[object]:
    return [FetchResources(open_fetcher(settings))]


def fetch_pictures(plan: Plan, job: Job, context: JobContext, resources: Resources) -> JobContext:
    """The keys of all pictures of a job, those that had to be fetched stored.

    Raises ``MediaUnavailable``, and what ``WebFetcher.fetch`` raises with the index of the
    picture; then nothing has been stored.
    """
    fetcher = resources.get(FetchResources).fetcher
    if fetcher is None:
        raise DownloadRefused("Fetching pictures by URL is switched off.")
    fetched = {
        index: _fetch(url, index, job, fetcher)
        for index, url in enumerate(job.params["fetch"])
        if url is not None
    }
    media = list(job.media)
    now = resources.now()
    for index, data in fetched.items():
        name = resources.media.name(job.tenant_id, data)
        media[index] = storage_keys.transient_media(job.tenant_id, job.id, name, now)
        resources.media.put(media[index], data)
    return replace(context, media=media)


def was_fetched(job: Job, index: int) -> bool:
    """Whether a picture of a job is one that is, or was, fetched."""
    urls = job.params.get("fetch")
    return bool(urls and urls[index])


def _fetch(url: str, index: int, job: Job, fetcher: WebFetcher) -> bytes:
    try:
        return fetcher.fetch(url)
    except FaceError as error:
        error.picture = index
        logger.info(
            "A job ends without its picture: %s", error,
            extra={"action": "picture_not_fetched", "job": job.id, "picture": index},
        )
        raise
