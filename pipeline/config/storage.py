"""The files in the data directory. Every location below it is named here and nowhere else."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class DataDirectory:
    """The layout of ``FACELINE_DATA_DIR``; ``root`` may be relative."""

    root: Path

    @property
    def database(self) -> Path:
        """The SQLite database."""
        return self.root / "faceline.db"

    @property
    def media(self) -> Path:
        """The media store."""
        return self.root / "media"

    @property
    def master_key(self) -> Path:
        """The file of master keys."""
        return self.root / "master.key"

    def calibration_table(self, pack: str) -> Path:
        """The operator's own calibration table of a pack."""
        return self.root / "calibration" / f"{pack}.json"

    @property
    def redis(self) -> Path:
        """The directory of the embedded Redis."""
        return self.root / "redis"

    def log(self, process: str) -> Path:
        """The log file of a process of the embedded stack."""
        return self.root / "logs" / f"{process}.log"

    @property
    def stack_lock(self) -> Path:
        """The file that a running stack locks; it holds the number of its process."""
        return self.root / "stack.lock"

    @property
    def stack_state(self) -> Path:
        """The addresses of the running stack."""
        return self.root / "stack.json"

    @property
    def demo_credentials(self) -> Path:
        """The credentials of the demo application."""
        return self.root / "demo.json"

    @property
    def demo_picture(self) -> Path:
        """The demo's photo with the detected faces."""
        return self.root / "demo.png"
