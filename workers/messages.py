"""The messages on the queues: which job waits, at which stage."""

from __future__ import annotations

from typing import Any

import msgspec

from pipeline.errors import InvalidParameter

VERSION = 1


class StageMessage(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """"Job ``job`` waits at ``stage``"; ``v`` is the version of this form."""

    v: int
    job: str
    stage: str


def encode(job_id: str, stage: str) -> dict[str, Any]:
    """The message as a JSON object."""
    return {"v": VERSION, "job": job_id, "stage": stage}


def decode(message: Any) -> StageMessage:
    """Raises ``InvalidParameter`` for another version or anything that is not a message.

    A refused message loses nothing: the job is in SQL and its message is sent again, so that
    a worker of the right version gets it during an upgrade.
    """
    try:
        decoded = msgspec.convert(message, StageMessage)
    except msgspec.ValidationError as error:
        raise InvalidParameter(f"Not a message of this service: {error}") from error
    if decoded.v != VERSION:
        raise InvalidParameter(f"A message of version {decoded.v}; this worker reads {VERSION}.")
    return decoded
