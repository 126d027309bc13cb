"""``faceline doctor`` about the media store and the bucket for imports."""

from __future__ import annotations

import time
from collections.abc import Iterator

from pipeline.config.described import variable
from pipeline.config.settings import Settings
from pipeline.deployment.findings import Check, Verdict, clock_check
from pipeline.errors import MediaUnavailable
from pipeline.media.open import open_location, open_media


def check_media(settings: Settings) -> Iterator[Check]:
    """The media store; nothing is written to it."""
    if not settings.media_url and not settings.data_dir.exists():
        yield Check("media", Verdict.NOTE, "not created yet", "`faceline up` creates it")
        return
    store = open_media(settings)
    try:
        store.check_access()
    except MediaUnavailable as error:
        advice = f"start it, check the way there, or correct {variable('media_url')}"
        told = "FACELINE_" in error.message
        yield Check("media", Verdict.BAD, error.message, "" if told else advice)
        return
    yield Check("media", Verdict.GOOD, f"{settings.media_location} can be read and written")
    seconds = store.server_time()
    if seconds is not None:
        # The date of an answer is cut to whole seconds.
        yield clock_check(seconds + 0.5 - time.time(), "the media store")


def check_journal(settings: Settings) -> Iterator[Check]:
    """The deletion journal; nothing is written to it."""
    location = settings.journal_location
    if location == settings.media_url:
        yield Check(
            "journal", Verdict.NOTE, "deletions are recorded in the media store: who loses it and "
            "restores a backup has deleted people back",
            f"set {variable('journal_url')} to a place apart from database and media",
        )
    elif location.startswith("file://"):
        yield Check("journal", Verdict.GOOD, f"deletions are recorded in {location}")
    else:
        try:
            open_location(location, settings, variable("journal_url")).check_access()
        except MediaUnavailable as error:
            advice = f"start it, check the way there, or correct {variable('journal_url')}"
            yield Check("journal", Verdict.BAD, error.message, advice)
            return
        yield Check("journal", Verdict.GOOD, f"{location} can be read and written")


def check_importing(settings: Settings) -> Iterator[Check]:
    """The bucket for imports by applications."""
    if not settings.import_url:
        yield Check("importing", Verdict.GOOD, "batches over HTTP are refused")
        return
    from pipeline.sources.bucket import Bucket  # minio-py costs 90 ms at import
    from pipeline.sources.import_bucket import import_location

    next(iter(Bucket(import_location(settings, 0), settings).walk()), None)
    yield Check("importing", Verdict.GOOD, f"applications import from {settings.import_url}")
