"""The pack of a worker that may never run a model."""

from __future__ import annotations

from functools import cached_property
from typing import Any, cast

from pipeline.config.settings import Settings
from pipeline.sessions import registry
from pipeline.sessions.base import Pack, PackInfo


class _OnDemand:
    def __init__(self, info: PackInfo, settings: Settings) -> None:
        self.info = info
        self._settings = settings

    @cached_property
    def _pack(self) -> Pack:
        return registry.load(self.info, self._settings)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._pack, name)


def pack_on_demand(info: PackInfo, settings: Settings) -> Pack:
    """A pack that says what it is, and imports the model libraries (a second, 100 MB) when it is
    first asked for a model. That raises as ``registry.load``."""
    return cast(Pack, _OnDemand(info, settings))
