"""The files in the data directory. Every location below it is named here and nowhere else."""

from __future__ import annotations

import re
from pathlib import Path


class DataDirectory:
    """The layout of ``FACELINE_DATA_DIR``; ``root`` may be relative."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.database = root / "faceline.db"  # of SQLite
        self.media = root / "media"
        self.journal = root / "journal"  # of deletions
        self.master_key = root / "master.key"
        self.redis = root / "redis"
        # Locked by a running stack; holds the number of its process.
        self.stack_lock = root / "stack.lock"
        # The addresses of the running stack.
        self.stack_state = root / "stack.json"
        self.demo_credentials = root / "demo.json"
        # The demo's photo with the detected faces.
        self.demo_picture = root / "demo.png"

    def calibration_table(self, pack: str, tenant_id: int | None = None) -> Path:
        """The operator's own calibration table of a pack, or that of a tenant's gallery."""
        name = pack if tenant_id is None else f"{pack}.tenant-{tenant_id}"
        return self.root / "calibration" / f"{name}.json"

    def own_calibration_tables(self, pack: str) -> list[tuple[Path, int]]:
        """The tables of a pack that belong to tenants' galleries, with the tenants' ids."""
        named = re.compile(re.escape(pack) + r"\.tenant-(\d+)\.json")
        paths = sorted((self.root / "calibration").glob("*.tenant-*.json"))
        found = ((path, named.fullmatch(path.name)) for path in paths)
        return [(path, int(match[1])) for path, match in found if match]

    def delete_own_calibration(self, tenant_id: int) -> None:
        """Delete the tables of a tenant's gallery, of every pack."""
        for path in (self.root / "calibration").glob(f"*.tenant-{tenant_id}.json"):
            path.unlink(missing_ok=True)

    def log(self, process: str) -> Path:
        """The log file of a process of the embedded stack."""
        return self.root / "logs" / f"{process}.log"
