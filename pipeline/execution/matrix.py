"""How a comparison of all faces of two pictures ends: with a matrix, and with the pictures
that were sent kept for a while."""

from __future__ import annotations

import time

import numpy as np
from sqlalchemy import Connection

from pipeline import storage_keys
from pipeline.execution.context import JobContext, JobOutcome, Resources
from pipeline.execution.results import base_result, require_calibration
from pipeline.gallery.image_ids import default_image_id
from pipeline.gallery.records import NewImage
from pipeline.gallery.temporary_images import store_temporarily
from pipeline.jobs.model import Job
from pipeline.media.pictures import inspect
from pipeline.operations import MatrixParams
from pipeline.types import JsonObject


def finish_matrix(job: Job, carry: JobContext, tools: Resources) -> JobOutcome:
    """Raises ``Uncalibrated``, ``MediaUnavailable``; the effect ``TenantNotFound``."""
    table = require_calibration(tools)
    cosines = np.clip(carry.embeddings[0] @ carry.embeddings[1].T, -1.0, 1.0).tolist()
    confidences = [[table.confidence(cosine) for cosine in row] for row in cosines]
    sent = {
        index: key
        for index, key in enumerate(carry.media_of(job)) if storage_keys.is_transient(key)
    }
    kept = {key: _store_image(job, key, tools) for key in sent.values()}
    lifetime_s = MatrixParams.from_json(job.params).lifetime_s

    def effect(connection: Connection) -> JsonObject:
        now = time.time()
        ids: list[str | None] = [None, None]
        for index, key in sent.items():
            ids[index] = store_temporarily(
                connection, job.tenant_id, kept[key], now + lifetime_s, now
            )
        return {
            **base_result(carry, tools),
            "cosines": cosines,
            "confidences": confidences,
            "max_confidence": max(map(max, confidences)),
            "image_ids": ids,
        }

    return JobOutcome({}, effect, tuple(image.media_key for image in kept.values()))


def _store_image(job: Job, key: str, tools: Resources) -> NewImage:
    """The picture under ``key`` once more, under a permanent key of its own."""
    data = tools.media.get(key)
    header = inspect(data, tools.limits)
    width, height = header.upright_size
    kept = storage_keys.image_media(job.tenant_id, job.id, tools.media.name(job.tenant_id, data))
    image = NewImage(
        image_id=default_image_id(data), sha256=storage_keys.media_hash(kept), media_key=kept,
        size=len(data), width=width, height=height, format=header.format,
    )
    tools.media.put(image.media_key, data)
    return image
