"""Every name under which something is kept outside the database."""

from __future__ import annotations

import hashlib
import time

# Media -----------------------------------------------------------------------

HOUR_S = 3600


def transient_media(tenant_id: int, owner: str, data: bytes, now: float) -> str:
    """The key of an uploaded file that lives no longer than its job.

    ``owner`` (a random name) makes the object one submit's own: it can go with its job,
    whoever sends the same picture meanwhile. The hour is part of the key: expiry removes
    whole hours in which nobody writes any more.
    """
    hour = time.strftime("%Y%m%d%H", time.gmtime(now))
    return f"{transient_prefix(tenant_id)}{hour}/{owner}/{hashlib.sha256(data).hexdigest()}"


def transient_prefix(tenant_id: int) -> str:
    return f"t{tenant_id}/transient/"


def is_transient(key: str) -> bool:
    """Whether a media key is that of an upload, which goes with its job."""
    return key.split("/")[1:2] == ["transient"]


def transient_hour(key: str) -> str:
    """The hour (UTC, ``YYYYMMDDHH``) in which a transient key was written."""
    return key.split("/")[2]


def image_media(tenant_id: int, owner: str, sha256: str) -> str:
    """The key of a stored picture. ``owner`` (the id of the job that stores it) makes the
    object the row's own: who deletes it cannot hit another row with the same picture."""
    return f"{images_prefix(tenant_id)}{owner}/{sha256}"


def face_media(tenant_id: int, owner: str, number: int, sha256: str) -> str:
    """The key of a face cut out of a picture, the ``number``-th of its ``owner``."""
    return f"{faces_prefix(tenant_id)}{owner}-{number}/{sha256}"


def snapshot_media(tenant_id: int, number: int, writer: str, sha256: str) -> str:
    """The key of one part of an index snapshot that holds the change log up to
    ``number``. ``writer`` (a random name) makes its parts its own: two replicas may write
    the same state, and one of them be discarded."""
    return f"{snapshots_prefix(tenant_id)}{number:012}-{writer}/{sha256}"


def tenant_prefix(tenant_id: int) -> str:
    return f"t{tenant_id}/"


def images_prefix(tenant_id: int) -> str:
    return f"t{tenant_id}/images/"


def faces_prefix(tenant_id: int) -> str:
    return f"t{tenant_id}/faces/"


def snapshots_prefix(tenant_id: int) -> str:
    return f"t{tenant_id}/index/"


def media_hash(key: str) -> str:
    """The SHA-256 (hex) that the bytes under a media key must have."""
    return key.rsplit("/", 1)[-1]


# Redis -----------------------------------------------------------------------

REDIS_PREFIX = "faceline:"
DONE_CHANNEL = REDIS_PREFIX + "done"
"""Pub/sub channel; a message is the id of a job that has ended."""


def intermediate(job_id: str, stage: str) -> str:
    """The input of ``stage``, left there by the worker of the stage before."""
    return f"{REDIS_PREFIX}intermediate:{job_id}:{stage}"
