"""Every queue and task name, and nothing else.

A stage has one queue and one task, both under the same name.
"""

from __future__ import annotations

PREFIX = "faceline."


def queue_name(stage: str) -> str:
    """The queue of messages for ``stage``."""
    return PREFIX + stage


def task_name(stage: str) -> str:
    """The task that carries out ``stage`` of a job."""
    return PREFIX + stage
