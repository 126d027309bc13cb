"""The names of queues and tasks."""

from __future__ import annotations

PREFIX = "faceline."


def queue_name(stage: str) -> str:
    """The queue of messages for ``stage``, and the task that carries the stage out."""
    return PREFIX + stage
