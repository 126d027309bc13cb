"""Results of jobs at rest. They are encrypted where the tenant has a key, because they may
hold embeddings."""

from __future__ import annotations

import base64
from dataclasses import replace

import msgspec

from pipeline.encryption.data_key import DataKey, KeySource
from pipeline.errors import TenantNotFound
from pipeline.jobs.model import Job
from pipeline.types import JsonObject

ENCRYPTED = "$encrypted"
"""The one field of an encrypted result; no operation's result has a field of this name."""


def encrypt_result(result: JsonObject, job_id: str, key: DataKey | None) -> JsonObject:
    """A result as it is stored."""
    if key is None:
        return result
    hidden = key.encrypt(msgspec.json.encode(result), _label(job_id))
    return {ENCRYPTED: base64.b64encode(hidden).decode()}


def decrypt_result(job: Job, keys: KeySource) -> Job:
    """A job with its result as it was computed; the result stays encrypted when the key
    does not exist, or not any more. Raises ``DecryptionFailed``, ``DatabaseUnavailable``."""
    if job.result is None or ENCRYPTED not in job.result:
        return job
    try:
        key = keys.data_key(job.tenant_id)
    except TenantNotFound:
        return job
    if key is None:
        return job
    hidden = base64.b64decode(job.result[ENCRYPTED])
    return replace(job, result=msgspec.json.decode(key.decrypt(hidden, _label(job.id))))


def _label(job_id: str) -> str:
    return f"result {job_id}"
