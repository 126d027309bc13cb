"""What `faceline up` takes on a machine: time to the first answer, processes, memory, and
processor time while nobody asks.

    python -m tests.benchmarks.footprint --galleries 1000,20000,100000

Fills the galleries straight into SQL, starts the service once so that the index writes its
snapshots, and again to measure: the seconds until the first `locate` is answered and until
each gallery has answered its first search; then, a minute after that, the processes,
their memory (PSS) and the processor time that they take in a minute without requests.
Prints a JSON object. Wall times need a machine that does nothing else.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import json
import os
import signal
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import requests

from infra.local.client import FaceClient, ServiceUnreachable, base64_file
from infra.local.demo import demo_photo
from pipeline.accounts.credential_set import Credentials
from pipeline.accounts.kinds import API_KEY, SIGNING
from pipeline.accounts.tenants import TenantStore
from pipeline.config.settings import Settings
from pipeline.database import migrate
from pipeline.database.engine import open_engine
from pipeline.encryption.vault import open_vault
from pipeline.gallery.change_log import ChangeLog
from pipeline.sessions import registry
from pipeline.types import VectorModel
from tests.conftest import models_directory
from tests.local_service import LocalService
from tests.parallel import free_port
from tests.synthetic_gallery import fill_gallery

LIMIT_S = 600.0
POLL_S = 0.02

# Labels of a gallery begin at a multiple of this.
LABELS_APART = 1_000_000


class Installation:
    """A data directory with one application and one gallery for each of ``sizes``."""

    def __init__(self, folder: Path, sizes: list[int]) -> None:
        self.port = free_port()
        self.service = LocalService(
            folder, models_directory(), port=self.port, concurrency=0, pack="edge"
        )
        self.settings = Settings.model_validate({
            "data_dir": self.service.data_dir, "models": str(models_directory()), "pack": "edge",
        })
        self.sizes: dict[int, int] = {}
        self.credentials: dict[int, Credentials] = {}
        if self.service.data_dir.exists():
            for tenant, size, credentials in json.loads(self._list.read_text()):
                self.sizes[tenant] = size
                self.credentials[tenant] = Credentials(*credentials)
        else:
            self._fill(sizes)

    @property
    def _list(self) -> Path:
        return self.service.data_dir / "galleries.json"

    def _fill(self, sizes: list[int]) -> None:
        self.service.data_dir.mkdir(parents=True)
        engine = open_engine(self.settings.sql_url)
        migrate.upgrade(engine)
        info = registry.load(registry.choose(self.settings), self.settings).info
        model = VectorModel(info.name, info.recognition_model, info.dimension)
        store = TenantStore(engine, open_vault(self.settings))
        for number, size in enumerate(sizes):
            tenant = store.create(f"gallery-{size}", encrypted=False).id
            signing = store.credentials.issue(tenant, SIGNING)
            key = store.credentials.issue(tenant, API_KEY)
            fill_gallery(engine, tenant, size, model, 1 + number * LABELS_APART)
            self.sizes[tenant] = size
            self.credentials[tenant] = Credentials(signing.public_id, signing.secret, key.secret)
        engine.dispose()
        self._list.write_text(json.dumps([
            (tenant, self.sizes[tenant], (each.app_id, each.app_secret, each.api_key))
            for tenant, each in self.credentials.items()
        ]))
        self._start_once()

    def _start_once(self) -> None:
        process = self.service.begin("up")
        wait(self.snapshots_written, "snapshots are written")
        process.send_signal(signal.SIGINT)
        process.wait(LIMIT_S)

    def snapshots_written(self) -> bool:
        """Whether every gallery that gets a snapshot has one."""
        engine = open_engine(self.settings.sql_url)
        log = ChangeLog(engine)
        try:
            return all(
                log.snapshots(tenant)
                for tenant, size in self.sizes.items()
                if size > self.settings.index_snapshot_changes
            )
        finally:
            engine.dispose()

    def located(self) -> bool:
        """Whether the service answers a `locate` now."""
        credentials = next(iter(self.credentials.values()))
        client = FaceClient(f"http://127.0.0.1:{self.port}", credentials)
        with contextlib.suppress(ServiceUnreachable):
            answer = client.call("locate", {"image": base64_file(demo_photo()), "max_face_num": 9})
            return bool(answer["code"] == 0)
        return False

    def searched(self, tenant: int) -> bool:
        """Whether the service answers a search of the tenant's gallery now."""
        photo = base64.b64encode(demo_photo("Tom_Hanks_54745.png").read_bytes()).decode()
        answer = requests.post(
            f"http://127.0.0.1:{self.port}/v1/searchface", data={"img": photo}, timeout=LIMIT_S,
            headers={"X-API-Key": self.credentials[tenant].api_key},
        )
        return answer.json()["status"] in {"OK", "NO_SIMILAR_FACE"}


def cpu_s(pids: list[int]) -> float:
    """Processor seconds that these processes, and their children that ended, have taken."""
    ticks = 0
    for pid in pids:
        with contextlib.suppress(OSError):
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            ticks += sum(map(int, fields[11:15]))
    return ticks / os.sysconf("SC_CLK_TCK")


def pss_mb(pid: int) -> float:
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) / 1000
    return 0.0


def wait(condition: Callable[[], bool], what: str) -> None:
    until = time.monotonic() + LIMIT_S
    while not condition():
        assert time.monotonic() < until, what
        time.sleep(POLL_S)


def measure(found: Installation, settle_s: float, idle_s: float) -> dict[str, Any]:
    began = time.monotonic()
    process = found.service.begin("up")
    wait(found.located, found.service.said())
    result: dict[str, Any] = {"first_answer_s": round(time.monotonic() - began, 2)}
    searches = {}
    for tenant, size in found.sizes.items():
        wait(lambda tenant=tenant: found.searched(tenant), "a search is answered")  # type: ignore[misc]
        searches[str(size)] = round(time.monotonic() - began, 2)
    result["first_search_s"] = searches
    time.sleep(settle_s)
    up = psutil.Process(process.pid)
    commands = found.service.processes() | {
        each.pid: " ".join(each.cmdline()) for each in up.children(recursive=True)
    }
    before = {pid: cpu_s([pid]) for pid in commands}
    result["start_cpu_s"] = round(sum(before.values()), 1)
    time.sleep(idle_s)
    rows: list[dict[str, Any]] = [
        {
            "pss_mb": round(pss_mb(pid)), "idle_ms_per_s": round(1000 * used / idle_s, 2),
            "start_cpu_s": round(before[pid], 1), "command": _short(command),
        }
        for pid, command in commands.items()
        for used in [cpu_s([pid]) - before[pid]]
    ]
    result |= {
        "processes": len(rows),
        "pss_mb": sum(row["pss_mb"] for row in rows),
        "idle_percent_of_a_core": round(sum(row["idle_ms_per_s"] for row in rows) / 10, 2),
        "each": rows,
    }
    process.send_signal(signal.SIGINT)
    process.wait(LIMIT_S)
    return result


def _short(command: str) -> str:
    words = command.split()
    return " ".join(Path(word).name if "/" in word else word for word in words)[:70]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--galleries", default="1000,20000,100000", help="faces of each")
    parser.add_argument("--settle", type=float, default=60.0, help="seconds after the last answer")
    parser.add_argument("--idle", type=float, default=60.0, help="seconds without requests")
    parser.add_argument("--starts", type=int, default=1)
    parser.add_argument("--folder", type=Path, help="kept, with its galleries, for further runs")
    options = parser.parse_args()
    sizes = [int(size) for size in options.galleries.split(",")]
    with tempfile.TemporaryDirectory() as folder:
        found = Installation(options.folder or Path(folder), sizes)
        for _ in range(options.starts):
            print(json.dumps(measure(found, options.settle, options.idle), indent=1), flush=True)


if __name__ == "__main__":
    main()
