"""Every name under which data are stored outside the database: media keys and Redis keys."""

from __future__ import annotations

import hashlib
import time
from datetime import datetime

# Media -----------------------------------------------------------------------

HOUR_S = 3600


def transient_media(tenant_id: int, owner: str, name: str, now: float) -> str:
    """The key of an upload, which is deleted with its job; ``name`` is ``MediaStore.name`` of
    its bytes.

    ``owner`` (a random name) makes the object that of one submit, so that it can be deleted
    with its job although the same picture is sent again. The hour is part of the key: expiry
    removes whole hours that receive no more uploads.
    """
    hour = time.strftime("%Y%m%d%H", time.gmtime(now))
    return f"{transient_prefix(tenant_id)}{hour}/{owner}/{name}"


def transient_prefix(tenant_id: int) -> str:
    return f"t{tenant_id}/transient/"


def is_transient(key: str) -> bool:
    """Whether a media key is that of an object that is deleted with its job."""
    return key.split("/")[1:2] == ["transient"]


def row_media(tenant_id: int, job_id: str, position: int, name: str) -> str:
    """The key of a small upload, the ``position``-th picture of its job, whose bytes wait in
    the database with the job and not in the media store."""
    return f"t{tenant_id}/rows/{job_id}/{position}/{name}"


def is_in_row(key: str) -> bool:
    """Whether a media key is that of a picture in the database."""
    return key.split("/")[1:2] == ["rows"]


def row_of(key: str) -> tuple[str, int]:
    """The job's id and the position in the key of a picture in the database."""
    _, _, job_id, position, _ = key.split("/")
    return job_id, int(position)


def is_upload(key: str) -> bool:
    """Whether a media key is that of a picture which is deleted with its job."""
    return is_transient(key) or is_in_row(key)


def is_transient_of(key: str, tenant_id: int, owner: str) -> bool:
    """Whether a media key is that of an upload of ``owner``."""
    return key.startswith(transient_prefix(tenant_id)) and key.split("/")[3:4] == [owner]


def transient_hour(key: str) -> str:
    """The hour (UTC, ``YYYYMMDDHH``) in which a transient key was written."""
    return key.split("/")[2]


def image_media(tenant_id: int, owner: str, name: str) -> str:
    """The key of a stored picture. ``owner`` (the id of the job that brings it) makes the
    object that of one row: deleting it cannot affect another row with the same picture."""
    return f"{images_prefix(tenant_id)}{owner}/{name}"


def face_media(tenant_id: int, owner: str, number: int, name: str) -> str:
    """The key of a face cut out of a picture, the ``number``-th of its ``owner``."""
    return f"{faces_prefix(tenant_id)}{owner}-{number}/{name}"


def refused_media(tenant_id: int, batch_id: str, owner: str, number: int, name: str) -> str:
    """The key of a small picture of a refused item, the ``number``-th of its ``owner``."""
    return f"{refused_prefix(tenant_id)}{batch_id}/{owner}-{number}/{name}"


def object_owner(key: str) -> str:
    """The owner in the key of a face's object: the id of the job that brought it, in a batch
    with the number of the try."""
    return key.split("/")[2].rpartition("-")[0]


def snapshot_media(tenant_id: int, number: int, writer: str, name: str) -> str:
    """The key of one part of an index snapshot that holds the change log up to ``number``.
    ``writer`` (a random name) separates replicas that write the same state, as one of them
    may be discarded."""
    return f"{snapshots_prefix(tenant_id)}{number:012}-{writer}/{name}"


def snapshot_number(key: str) -> int:
    """The number of the change log in the key of a part of an index snapshot."""
    return int(key.split("/")[2].partition("-")[0])


def list_media(tenant_id: int, fingerprint: str, name: str) -> str:
    """The key of a list or an archive of pictures to enrol, stored until its batch was read."""
    return f"{lists_prefix(tenant_id)}{fingerprint}/{name}"


def lists_prefix(tenant_id: int) -> str:
    return f"t{tenant_id}/lists/"


def list_fingerprint(key: str) -> str:
    """The fingerprint of a list's batch."""
    return key.split("/")[2]


def probe_media(name: str) -> str:
    """An object that is stored and removed again, to learn whether the store takes any."""
    return f"probe/{name}"


TENANTS_PREFIX = "t"
"""Begins the keys of all objects of tenants, and of no others."""


def tenant_prefix(tenant_id: int) -> str:
    return f"{TENANTS_PREFIX}{tenant_id}/"


def images_prefix(tenant_id: int) -> str:
    return f"t{tenant_id}/images/"


def faces_prefix(tenant_id: int) -> str:
    return f"t{tenant_id}/faces/"


def refused_prefix(tenant_id: int) -> str:
    return f"t{tenant_id}/refused/"


def snapshots_prefix(tenant_id: int) -> str:
    return f"t{tenant_id}/index/"


JOURNAL_PREFIX = "deletions/"
"""Begins the keys of the deletion journal, which may share the media store."""


def journal_entry(at: datetime, entry_id: str, name: str) -> str:
    """The key of an entry of the deletion journal, in the order of its time (UTC)."""
    return f"{JOURNAL_PREFIX}{at:%Y%m%d}/{at:%H%M%S%f}-{entry_id}/{name}"


BLOBS_PREFIX = "blobs/"
MANIFESTS_PREFIX = "backups/"
DATA_KEYS_PREFIX = "keys/"


def backup_blob(sha256: str) -> str:
    """The key, in a place of backups, of bytes with this SHA-256 (hex)."""
    return f"{BLOBS_PREFIX}{sha256[:2]}/{sha256}"


def backup_manifest(at: datetime, backup_id: str, name: str) -> str:
    """The key of a backup's manifest, in the order of its time (UTC)."""
    return f"{MANIFESTS_PREFIX}{at:%Y%m%dT%H%M%S%fZ}-{backup_id}/{name}"


def backup_data_keys(backup_id: str, name: str) -> str:
    """The key of the tenants' data keys as of a backup."""
    return f"{DATA_KEYS_PREFIX}{backup_id}/{name}"


def restore_marker(backup_id: str, name: str) -> str:
    """The key, in the media store, of the mark of a restore that has begun."""
    return f"{RESTORES_PREFIX}{backup_id}/{name}"


RESTORES_PREFIX = "restores/"


ENCRYPTED_SUFFIX = ".s"
"""Ends the name of an encrypted object."""


def plain_name(data: bytes) -> str:
    """The last part of the key of an unencrypted object: its SHA-256 (hex)."""
    return hashlib.sha256(data).hexdigest()


def media_name(key: str) -> str:
    """The last part of a media key."""
    return key.rsplit("/", 1)[-1]


def media_hash(key: str) -> str:
    """The hash (64 hex digits) in a media key: the SHA-256 of the bytes, or for an encrypted
    object its keyed hash."""
    return media_name(key).removesuffix(ENCRYPTED_SUFFIX)


def is_encrypted(key: str) -> bool:
    """Whether the object under a media key is encrypted."""
    return key.endswith(ENCRYPTED_SUFFIX)


def tenant_of(key: str) -> int:
    """The tenant whose object a media key names."""
    return int(key.split("/", 1)[0].removeprefix(TENANTS_PREFIX))


# Redis -----------------------------------------------------------------------

REDIS_PREFIX = "faceline:"
DONE_CHANNEL = REDIS_PREFIX + "done"
"""Pub/sub channel; a message is the id of a job that has ended."""


def rate_bucket(tenant_id: int, operation: str) -> str:
    """The key of a tenant's rate bucket. The braces keep a tenant's keys on one node of a
    cluster."""
    return f"{REDIS_PREFIX}rate:{{{tenant_id}}}:{operation}"


def intermediate(job_id: str, stage: str) -> str:
    """The input of ``stage``, stored by the worker of the stage before."""
    return f"{REDIS_PREFIX}intermediate:{job_id}:{stage}"
