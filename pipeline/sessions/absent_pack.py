"""The pack of a worker that runs no model."""

from __future__ import annotations

from typing import Never, cast

from pipeline.errors import TaskUnsupported
from pipeline.sessions.base import Pack


class _Absent:
    def __getattr__(self, name: str) -> Never:
        raise TaskUnsupported("This worker holds no models.")


def absent_pack() -> Pack:
    """A pack whose every use raises ``TaskUnsupported``."""
    return cast(Pack, _Absent())
