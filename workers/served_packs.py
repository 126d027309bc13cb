"""The packs that a process serves: the deployment's, and while that is upgraded the other one, too.

Each gallery is served by the pack that made its vectors.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import replace

from pipeline.config.settings import Settings
from pipeline.database.engine import reading
from pipeline.deployment.pack import PinnedPack, find_pack
from pipeline.deployment.pack_guard import PackGuard
from pipeline.errors import FaceError, PackMissing
from pipeline.execution.context import Resources
from pipeline.gallery.writer import last_model
from pipeline.sessions.base import PackInfo
from pipeline.types import VectorModel

logger = logging.getLogger(__name__)

RETRY_S = 30.0
"""Seconds between two tries to load a pack that is not on this machine."""


class ServedPacks:
    """Which resources serve a tenant. ``open_other`` loads another pack beside that of
    ``resources``; ``guard`` knows what the deployment needs."""

    def __init__(
        self, guard: PackGuard, resources: Resources, settings: Settings,
        open_other: Callable[[PackInfo], Resources],
    ) -> None:
        self._guard = guard
        self._settings = settings
        self._open_other = open_other
        self._first = resources
        self._held = {guard.info.digest: replace(resources, may_switch=True)}
        self._opening = threading.Lock()
        self._retry_at = 0.0

    def serving(self, tenant_id: int) -> tuple[Resources, str]:
        """The resources that serve a tenant now, and the digest of their pack. Raises
        ``PackMissing`` where that is not loaded here, ``DatabaseUnavailable``."""
        if self._guard.is_alone:
            return self._first, self._guard.info.digest
        with reading(self._first.gallery.engine) as connection:
            digest = self._digest_of(last_model(connection, tenant_id))
        found = self._held.get(digest)
        if found is None:
            raise PackMissing("The pack of this gallery is not loaded on this machine yet.")
        return found, digest

    def has_moved(self, tenant_id: int, digest: str | None) -> bool:
        """Whether the pack that has served a tenant does so no longer. Raises
        ``DatabaseUnavailable``."""
        if self._guard.is_alone:
            return False
        try:
            return self.serving(tenant_id)[1] != digest
        except PackMissing:
            return True

    def _digest_of(self, model: VectorModel | None) -> str:
        """The digest of the pack that has made these vectors; for a gallery without any that of
        the deployment's."""
        upgrade = self._guard.upgrade
        known = {info.recognition_model: digest for digest, info in self._guard.held.items()}
        if upgrade is not None:
            known |= {
                each.recognition_model: each.digest for each in (upgrade.former, upgrade.next)
            }
        return self._guard.pinned if model is None else known.get(model.sha256, self._guard.pinned)

    def follow(self) -> None:
        """Load the other pack of an upgrade, in a thread of its own: a heartbeat does not wait
        for models."""
        if self._missing() and time.monotonic() >= self._retry_at and not self._opening.locked():
            threading.Thread(target=self.load, name="load_pack", daemon=True).start()

    def load(self) -> None:
        """Load the other pack of an upgrade now, if there is one. A pack that cannot be loaded is
        logged, and tried again later."""
        with self._opening:
            for pinned in self._missing():
                try:
                    info = find_pack(self._settings, pinned)
                    self._held[info.digest] = replace(self._open_other(info), may_switch=True)
                    self._guard.held[info.digest] = info
                except FaceError as error:
                    self._retry_at = time.monotonic() + RETRY_S
                    logger.warning(
                        "The other pack of the upgrade cannot be loaded: %s", error,
                        extra={"action": "pack_not_loaded"},
                    )
                else:
                    logger.info(
                        "The other pack of the upgrade is loaded",
                        extra={"action": "pack_loaded", "pack": info.name},
                    )

    def _missing(self) -> list[PinnedPack]:
        upgrade = self._guard.upgrade
        both = () if upgrade is None else (upgrade.former, upgrade.next)
        return [each for each in both if each.digest not in self._held]
