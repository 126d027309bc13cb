"""A service for tests without its web side: stores, and workers and upkeep as processes.

    cluster = Cluster(tmp_path, redis.url, models)
    with cluster.worker(), cluster.upkeep():
        job_id = cluster.submit("features", picture)
        cluster.wait([job_id])
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import psutil
from pydantic import SecretStr

from pipeline import storage_keys
from pipeline.config.settings import Settings
from pipeline.database import migrate
from pipeline.database.engine import open_engine, writing
from pipeline.database.schema import tenants
from pipeline.encryption.hashing import digest
from pipeline.gallery.collections import create_default_collection
from pipeline.jobs.model import Job, NewJob
from pipeline.jobs.store import JobStore
from pipeline.media.open import open_media
from pipeline.operations import PLANS, Params
from tests.processes import start
from tests.secret_watch import WATCH
from tests.servers import HERE, Place
from workers.dispatch import Dispatcher

# Seconds for anything on a machine that is busy with other work.
READY_S = 180.0


class Process:
    """A process group of the service in a session of its own, which can be killed as a whole."""

    def __init__(
        self, arguments: Sequence[str], environment: dict[str, str], log: Path,
        place: Place = HERE,
    ) -> None:
        # Command lines are visible to every user of the machine.
        WATCH.check("a command line", " ".join(arguments).encode())
        self.log = log
        with log.open("ab") as output:
            self._process: subprocess.Popen[bytes] = start(
                place.command([sys.executable, *arguments]),
                env={**os.environ, **environment},
                stdin=subprocess.DEVNULL, stdout=output, stderr=output,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def children(self) -> list[int]:
        """The processes of a worker group, without their decoders."""
        return [child.pid for child in psutil.Process(self.pid).children()]

    def kill(self) -> None:
        """SIGKILL to the whole group at once."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self._process.wait()

    def stop(self, wait_s: float = 60.0) -> int:
        """SIGTERM; the exit code."""
        self._process.terminate()
        try:
            return self._process.wait(wait_s)
        except subprocess.TimeoutExpired:
            self.kill()
            raise

    def signal(self, name: str) -> None:
        """Send it a signal, such as SIGTERM."""
        self._process.send_signal(signal.Signals[name])

    def wait(self, wait_s: float) -> int:
        """The exit code, when it ends by itself or after a signal."""
        return self._process.wait(wait_s)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()


class Cluster:
    """One service: its settings, stores and processes. Each process gets the settings as
    environment variables."""

    def __init__(
        self, folder: Path, broker_url: str, models: Path, /, **settings: object
    ) -> None:
        self.folder = folder
        self.settings = Settings.model_validate(
            {
                "data_dir": folder, "broker_url": broker_url, "models": str(models), "pack": "edge",
                "lease_s": 4.0, "resend_after_s": 2.0, "reconcile_interval_s": 0.5,
                "drain_s": 0.0, "stop_s": 0.0,
                **settings,
            }
        )
        self.engine = open_engine(self.settings.sql_url, durable=False)
        migrate.upgrade(self.engine)
        self.jobs = JobStore(self.engine)
        self.media = open_media(self.settings)
        self.dispatcher = Dispatcher(self.settings)
        self.tenant = self._make_tenant()
        self._logs = 0
        self.place = HERE  # of the processes that are started from now on

    def worker(
        self, stages: str = "decode,detect,embed,liveness", concurrency: int = 2,
        module: str = "workers", environment: Mapping[str, str] | None = None,
        **settings: object,
    ) -> Process:
        """A worker group; it is not awaited."""
        chosen = {"stages": stages, "concurrency": concurrency, **settings}
        return self._start([module], chosen, environment or {})

    def upkeep(
        self, environment: Mapping[str, str] | None = None, **settings: object
    ) -> Process:
        return self._start(["workers", "upkeep"], settings, environment or {})

    def shim(
        self, environment: Mapping[str, str] | None = None, **settings: object
    ) -> Process:
        """The web side; it is not awaited."""
        return self._start(["infra.cli", "serve"], settings, environment or {})

    def faceline(self, *arguments: str, **settings: object) -> Process:
        """`faceline ARGUMENTS`, which is not awaited."""
        return self._start(["infra.cli", *arguments], settings, {})

    def index(self, **settings: Any) -> Process:
        """An index process; it is not awaited."""
        return self.worker(stages="index", **settings)

    def submit(
        self, operation: str, *pictures: bytes, ring: bool = True,
        params: Params | None = None,
    ) -> str:
        """The id of a new job."""
        media = []
        owner = os.urandom(16).hex()
        for picture in pictures:
            key = storage_keys.transient_media(
                self.tenant, owner, self.media.name(self.tenant, picture), time.time()
            )
            self.media.put(key, picture)
            media.append(key)
        stage = PLANS[operation].stages[0]
        job, _ = self.jobs.submit(
            NewJob(
                tenant_id=self.tenant, operation=operation, dialect="e", stage=stage,
                params={} if params is None else params.to_json(), media=tuple(media),
                request_id=os.urandom(8).hex(),
                digest=digest(operation, *media),
            )
        )
        if ring:
            self.dispatcher.publish(job.id, stage)
        return job.id

    def job(self, job_id: str) -> Job:
        found = self.jobs.read.find(job_id)
        assert found is not None
        return found

    def wait(self, ids: Sequence[str], within_s: float = READY_S) -> list[Job]:
        """The jobs, once all have ended."""
        until = time.monotonic() + within_s
        while time.monotonic() < until:
            counts = self.jobs.read.counts()
            if not counts.get("queued", 0) + counts.get("running", 0):
                break
            time.sleep(0.05)
        found = [self.job(job_id) for job_id in ids]
        open_jobs = [job for job in found if not job.ended]
        assert not open_jobs, f"{len(open_jobs)} of {len(ids)} jobs have not ended\n{self.logs()}"
        return found

    def command(self, *arguments: str) -> str:
        """The output of `faceline ARGUMENTS`, run as a process of its own."""
        done = subprocess.run(
            [sys.executable, "-m", "infra.cli", *arguments],
            env={**os.environ, **self.environment()}, capture_output=True, text=True,
            check=False, timeout=3 * READY_S,
        )
        assert done.returncode == 0, done.stderr
        with contextlib.suppress(ValueError):
            WATCH.note_fields(json.loads(done.stdout))
        return done.stdout

    def logs(self) -> str:
        """The ends of all logs, for a failing test's message."""
        files = sorted(self.folder.glob("*.log"))
        return "\n".join(f"== {file.name}\n{file.read_text()[-3000:]}" for file in files)

    def close(self) -> None:
        """Call it once the processes have ended. Checks that they left no secret behind."""
        self.dispatcher.close()
        try:
            WATCH.check_database(self.engine)
            WATCH.check_folder(self.folder)
        finally:
            self.engine.dispose()

    def _start(
        self, arguments: list[str], settings: dict[str, object], extra: Mapping[str, str]
    ) -> Process:
        self._logs += 1
        log = self.folder / f"{self._logs:02d}-{arguments[-1]}.log"
        return Process(["-m", *arguments], {**self.environment(settings), **extra}, log, self.place)

    def environment(self, settings: Mapping[str, object] | None = None) -> dict[str, str]:
        """The environment variables of a process of this cluster."""
        chosen = {**self.settings.model_dump(exclude_unset=True), **(settings or {})}
        return {f"FACELINE_{name.upper()}": _plain(value) for name, value in chosen.items()}

    def _make_tenant(self) -> int:
        with writing(self.engine) as connection:
            made = connection.execute(
                tenants.insert()
                .values(name="test", settings={}, disabled=False, created_at=time.time())
                .returning(tenants.c.id)
            )
            tenant = int(made.scalar_one())
            create_default_collection(connection, tenant, time.time())
        return tenant


def _plain(value: object) -> str:
    return value.get_secret_value() if isinstance(value, SecretStr) else str(value)


@contextlib.contextmanager
def open_cluster(
    folder: Path, broker_url: str, models: Path, /, **settings: object
) -> Iterator[Cluster]:
    cluster = Cluster(folder, broker_url, models, **settings)
    try:
        yield cluster
    finally:
        cluster.close()
