"""The files in the data directory. Every location below it is named here and nowhere else."""

from __future__ import annotations

from pathlib import Path


class DataDirectory:
    """The layout of ``FACELINE_DATA_DIR``; ``root`` may be relative."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.database = root / "faceline.db"  # of SQLite
        self.media = root / "media"
        self.master_key = root / "master.key"
        self.redis = root / "redis"
        # Locked by a running stack; holds the number of its process.
        self.stack_lock = root / "stack.lock"
        # The addresses of the running stack.
        self.stack_state = root / "stack.json"
        self.demo_credentials = root / "demo.json"
        # The demo's photo with the detected faces.
        self.demo_picture = root / "demo.png"

    def calibration_table(self, pack: str) -> Path:
        """The operator's own calibration table of a pack."""
        return self.root / "calibration" / f"{pack}.json"

    def log(self, process: str) -> Path:
        """The log file of a process of the embedded stack."""
        return self.root / "logs" / f"{process}.log"
