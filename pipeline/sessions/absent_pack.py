"""The pack of a worker that runs no models."""

from __future__ import annotations

from typing import Never, cast

from pipeline.errors import TaskUnsupported
from pipeline.sessions.base import Pack


class _Absent:
    def __getattr__(self, name: str) -> Never:
        raise TaskUnsupported("This worker holds no models.")


def absent_pack() -> Pack:
    """A pack that raises ``TaskUnsupported`` on every use."""
    return cast(Pack, _Absent())
