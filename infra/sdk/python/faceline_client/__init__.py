"""A typed client of the faceline face service, sync and async.

    from faceline_client import Client

    with Client.from_environment() as client:
        client.enrol("ada.jpg", name="Ada")

``operations`` lists every call; ``results``, ``gallery`` and ``batches`` hold what they give;
``errors`` is the tree of what they raise.
"""

from faceline_client import operations, results
from faceline_client.async_client import AsyncClient, AsyncJob
from faceline_client.batches import Batch, BatchItem, BatchSource
from faceline_client.client import Client, Job
from faceline_client.credentials import Credentials
from faceline_client.errors import (
    ApiError,
    BadClip,
    BadInput,
    BadPicture,
    BadQuality,
    ChallengeRefused,
    Conflict,
    ConnectionLost,
    CredentialMissing,
    FacelineError,
    JobFailed,
    ManyFaces,
    NoFace,
    NotFound,
    NotPermitted,
    RateLimited,
    TimedOut,
    Unauthorized,
    Unavailable,
    UnexpectedAnswer,
    WebhookRefused,
)
from faceline_client.exchange import JobStatus, Retries
from faceline_client.gallery import Collection, CollectionDeletion
from faceline_client.media import Media, StoredImage, Url
from faceline_client.operation import Operation
from faceline_client.results import Box
from faceline_client.settings import __version__
from faceline_client.webhooks import BatchEnded, JobEnded, WebhookEvent, verify_webhook

__all__ = [
    "ApiError", "AsyncClient", "AsyncJob", "BadClip", "BadInput", "BadPicture", "BadQuality",
    "Batch", "BatchEnded", "BatchItem", "BatchSource", "Box", "ChallengeRefused", "Client",
    "Collection", "CollectionDeletion", "Conflict", "ConnectionLost", "CredentialMissing",
    "Credentials", "FacelineError", "Job", "JobEnded", "JobFailed", "JobStatus", "ManyFaces",
    "Media", "NoFace", "NotFound", "NotPermitted", "Operation", "RateLimited", "Retries",
    "StoredImage", "TimedOut", "Unauthorized", "Unavailable", "UnexpectedAnswer", "Url",
    "WebhookEvent", "WebhookRefused", "__version__", "operations", "results",
    "verify_webhook",
]
