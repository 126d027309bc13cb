"""Whether the pack of a running process still is the deployment's, which an operator may change."""

from __future__ import annotations

import logging

from sqlalchemy import Engine

from pipeline.deployment.pack import (
    PackUpgrade,
    confirm_pack,
    current_upgrade,
    pinned_pack,
    require_pinned,
)
from pipeline.errors import WrongPack
from pipeline.sessions.base import PackInfo

logger = logging.getLogger(__name__)


class PackGuard:
    """Looks at the database now and then. While ``trouble`` is set, this process has not the
    deployment's pack, and must leave all jobs to others.

    ``held`` are the packs that this process has loaded, by digest; ``upgrade`` is the upgrade in
    course, and ``pinned`` the digest of the deployment's pack, as the last look found them.
    """

    def __init__(self, engine: Engine, info: PackInfo) -> None:
        self.trouble: str | None = None
        self.info = info
        self.held = {info.digest: info}
        self.upgrade: PackUpgrade | None = None
        self.pinned = info.digest
        self._engine = engine

    @property
    def packs(self) -> list[PackInfo]:
        """The loaded packs, the deployment's first."""
        return sorted(self.held.values(), key=lambda info: info.digest != self.pinned)

    @property
    def is_alone(self) -> bool:
        """Whether one pack is all that this process ever needed."""
        return self.upgrade is None and len(self.held) == 1

    def look(self) -> str | None:
        """Compare the packs; the trouble found. Raises ``DatabaseUnavailable``."""
        found = None
        try:
            pinned = pinned_pack(self._engine)
            self.upgrade = current_upgrade(self._engine)
            if pinned is None:
                confirm_pack(self.info, self._engine)
                self.pinned = self.info.digest
            else:
                require_pinned(self.held.get(pinned.digest, self.info), pinned, self.upgrade)
                self.pinned = pinned.digest
        except WrongPack as error:
            found = error.message
        if found and not self.trouble:
            logger.error("Jobs are given back: %s", found, extra={"action": "wrong_pack"})
        elif self.trouble and not found:
            logger.info("The pack is the deployment's again", extra={"action": "pack_resumed"})
        self.trouble = found
        return found
