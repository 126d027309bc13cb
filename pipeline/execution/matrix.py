"""The end of a comparison of all faces of two pictures: the matrix of their similarities.
The pictures that were sent are stored for a while, unless that is zero."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from sqlalchemy import Connection

from pipeline import storage_keys
from pipeline.database.clock import database_time
from pipeline.execution.context import JobContext, JobOutcome, Resources
from pipeline.execution.results import (
    base_result,
    described_result,
    permanent_picture,
    require_calibration,
)
from pipeline.gallery.image_ids import default_image_id
from pipeline.gallery.images import store_temporarily
from pipeline.jobs.model import Job
from pipeline.operations import MatrixParams
from pipeline.types import JsonObject


def finish_matrix(job: Job, context: JobContext, resources: Resources) -> JobOutcome:
    """Raises ``Uncalibrated``, ``MediaUnavailable``; the effect ``TenantNotFound``."""
    asked = MatrixParams.from_json(job.params)
    table = require_calibration(job, resources)
    first, second = context.embeddings
    cosines = np.clip(first @ second.T, -1.0, 1.0).tolist()
    confidences = [[table.confidence(cosine) for cosine in row] for row in cosines]
    result = {
        **(described_result if asked.describe else base_result)(context, resources),
        "cosines": cosines,
        "confidences": confidences,
        "max_confidence": max(map(max, confidences)),
    }
    if asked.describe:
        result["fmrs"] = [[table.fmr(cosine) for cosine in row] for row in cosines]
        result["measured_to"] = table.measured_to
    sent = {
        index: key
        for index, key in enumerate(context.media_of(job)) if storage_keys.is_upload(key)
    }
    if asked.lifetime_s == 0:
        return JobOutcome({**result, "image_ids": _ids_of(sent, resources)})
    pictures = {key: permanent_picture(job, key, resources) for key in sent.values()}
    images = {key: picture.image for key, picture in pictures.items()}
    resources.media.put_many([each for picture in pictures.values() for each in picture.objects])

    def effect(connection: Connection) -> JsonObject:
        now = database_time(connection.engine)
        ids: list[str | None] = [None, None]
        for index, key in sent.items():
            ids[index] = store_temporarily(
                connection, job.tenant_id, images[key], now + asked.lifetime_s, now
            )
        return {**result, "image_ids": ids}

    return JobOutcome({}, effect, tuple(image.media_key for image in images.values()))


def _ids_of(sent: Mapping[int, str], resources: Resources) -> list[str | None]:
    """The ids that pictures which are not stored would have. Raises ``MediaUnavailable``."""
    ids: list[str | None] = [None, None]
    for index, key in sent.items():
        ids[index] = default_image_id(resources.media.get(key))
    return ids
