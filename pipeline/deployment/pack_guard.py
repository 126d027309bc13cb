"""Whether the pack of a running process still is the deployment's, which an operator may change."""

from __future__ import annotations

import logging

from sqlalchemy import Engine

from pipeline.deployment.pack import confirm_pack
from pipeline.errors import WrongPack
from pipeline.sessions.base import PackInfo

logger = logging.getLogger(__name__)


class PackGuard:
    """Looks at the database now and then. While ``trouble`` is set, this process has another pack
    than the deployment, and must leave all jobs to others."""

    def __init__(self, engine: Engine, info: PackInfo) -> None:
        self.trouble: str | None = None
        self.info = info
        self._engine = engine

    def look(self) -> str | None:
        """Compare the packs; the trouble found. Raises ``DatabaseUnavailable``."""
        found = None
        try:
            confirm_pack(self.info, self._engine)
        except WrongPack as error:
            found = error.message
        if found and not self.trouble:
            logger.error("Jobs are given back: %s", found, extra={"action": "wrong_pack"})
        elif self.trouble and not found:
            logger.info("The pack is the deployment's again", extra={"action": "pack_resumed"})
        self.trouble = found
        return found
