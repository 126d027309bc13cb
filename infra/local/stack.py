"""The embedded stack: starts redis-server, index and upkeep, workers and shim together."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import socket
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import IO, Self
from urllib.parse import urlsplit

from infra.local.on_demand import OnDemand
from infra.local.private_files import make_data_dir, write_private
from infra.local.processes import ManagedCommand, Supervisor, log_tail
from infra.local.progress import STUCK_S, Awaited
from infra.local.redis_server import LocalRedis, free_port, prepare_redis, wait_for_redis
from pipeline.config.settings import Settings
from pipeline.config.storage import DataDirectory
from pipeline.database.engine import open_engine
from pipeline.database.migrate import upgrade
from pipeline.deployment.pack import agree_on_pack
from pipeline.encryption.vault import open_vault
from pipeline.errors import ConfigurationError, DatabaseUnavailable, FaceError
from pipeline.jobs.upkeep import JobUpkeep
from pipeline.operations import FUSED_STAGES, Stage
from pipeline.sessions import registry

# Seconds for one answer of the shim, on a machine with other work.
ANSWER_S = 10.0

# Seconds that each process may take to stop: a worker finishes its current job.
GRACE_S = {
    "shim": 15.0, "worker": 30.0, "bulk": 30.0, "fetch": 30.0, "upkeep": 15.0, "redis": 10.0,
}

PROCESSES = {
    "upkeep": ("upkeep", "--index", "--webhooks"),
    "worker": ("worker", "--stages", ",".join(FUSED_STAGES)),
    "fetch": ("worker", "--stages", Stage.FETCH.value),
    "shim": ("serve",),
}

BULK = ("worker", "--stages", Stage.BULK.value)
"""The worker of batches, which runs while there are any."""

METRICS_PORTS = ("shim", "upkeep", "worker", "fetch", "bulk")
"""The processes that serve metrics, in the order of their ports."""

# Linux ends the children of a process that dies, because they ask for it. Elsewhere the
# orphan killer does.
ENDS_WHOLE = sys.platform == "linux"


@dataclass(frozen=True, slots=True)
class RunningStack:
    """A running stack, as other processes find it; ``url`` is empty without a shim."""

    pid: int
    url: str
    redis_url: str


class StackNotStarted(FaceError):
    """The stack did not start."""


class LocalStack:
    """``with LocalStack(settings, say, stopping) as stack: stack.supervisor.watch(...)``.

    ``say`` receives progress messages; ``stopping`` aborts the start; ``processes`` are the
    processes to start, by name; a worker of batches that is not among them runs while a batch
    has work. Entering raises ``ConfigurationError``, ``PackMissing``,
    ``StackNotStarted``; leaving stops every process. Without a shim ``url`` stays empty.
    """

    def __init__(
        self, settings: Settings, say: Callable[[str], None], stopping: Callable[[], bool],
        processes: Mapping[str, tuple[str, ...]] = PROCESSES,
    ) -> None:
        self.settings = settings
        self._engine = open_engine(settings.sql_url)
        self.redis_url = ""
        self.supervisor = Supervisor(say)
        self._say = say
        self._stopping = stopping
        self._processes = processes
        self._data = settings.data
        self._lock: IO[str] | None = None
        self.url = ""

    def __enter__(self) -> Self:
        try:
            self._start()
        except BaseException:
            self._close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._close()

    def _start(self) -> None:
        # Checks the configuration before starting anything.
        best = registry.choose(self.settings)
        if self.settings.fetch_urls:
            from pipeline.fetching.open import open_fetcher  # 90 ms of imports

            open_fetcher(self.settings)
        self._lock = take_lock(self._data.root)
        port = self.settings.port
        if "shim" in self._processes:
            port = port or free_port()
            require_free(self.settings.host, port)
            self.url = f"http://{reachable(self.settings.host)}:{port}"
        redis = prepare_redis(self._data.redis)
        self.log("redis").parent.mkdir(exist_ok=True)
        argv = [str(redis.program), str(redis.config)]
        self.supervisor.start(self._managed("redis", argv, dict(os.environ)))
        upgrade(self._engine)
        open_vault(self.settings)
        pack = agree_on_pack(self.settings, self._engine, alone=True)
        self.settings = self.settings.model_copy(update={"pack": pack.name})
        if pack.digest != best.digest:
            self._say(
                f"{best.name!r} is on this machine, too; these data belong to {pack.name!r}. "
                f"`faceline models pin {best.name}` changes that"
            )
        self._say(f"Data in {self._data.root}, model pack {pack.name!r}, Redis {redis.program}")
        self._wait_for_redis(redis)
        env = self._environment(redis, port, pack.name)
        for name, words in self._processes.items():
            if name == "fetch":
                if not self.settings.fetch_urls:
                    continue
                words = (*words, "--concurrency", str(self.settings.fetch_concurrency))
            self.supervisor.start(self._command(name, words, env))
        if "bulk" not in self._processes:
            bulk = self._command("bulk", BULK, env)
            on_demand = OnDemand(
                self.supervisor, bulk, self._batches_have_work, self.settings.bulk_idle_s
            )
            self.supervisor.looks.append(on_demand.look)
        if self.url:
            self._wait_for_shim()
        self.redis_url = redis.url
        state = {"pid": os.getpid(), "url": self.url, "redis_url": redis.url}
        write_private(self._data.stack_state, json.dumps(state))

    def _command(
        self, name: str, words: tuple[str, ...], env: Mapping[str, str]
    ) -> ManagedCommand:
        metrics = self.settings.metrics_port
        if metrics:
            env = {**env, "FACELINE_METRICS_PORT": str(metrics + METRICS_PORTS.index(name))}
        return self._managed(name, [sys.executable, "-m", "infra.cli", *words], env)

    def _managed(
        self, name: str, argv: Sequence[str], env: Mapping[str, str]
    ) -> ManagedCommand:
        return ManagedCommand(name, argv, env, self.log(name), GRACE_S[name], ENDS_WHOLE)

    def _batches_have_work(self) -> bool | None:
        try:
            return JobUpkeep(self._engine).has_unfinished(Stage.BULK)
        except DatabaseUnavailable:
            return None

    def log(self, name: str) -> Path:
        """The log file of one of the stack's processes."""
        return self._data.log(name)

    def _environment(self, redis: LocalRedis, port: int, pack: str) -> dict[str, str]:
        return {
            # The threads of a process share two heaps: each holds what the largest task of any
            # of its threads needed.
            "MALLOC_ARENA_MAX": "2",
            # No load balancer needs a pause, and the workers stop, too.
            "FACELINE_DRAIN_S": "0",
            "FACELINE_STOP_S": "0",
            **os.environ,
            "FACELINE_DATA_DIR": str(self._data.root),
            "FACELINE_BROKER_URL": redis.url,
            "FACELINE_REDIS_URL": "",
            "FACELINE_HOST": self.settings.host,
            "FACELINE_PORT": str(port),
            # All processes must use one pack, even if another is installed meanwhile.
            "FACELINE_PACK": pack,
        }

    def _wait_for_redis(self, redis: LocalRedis) -> None:
        awaited = Awaited("Redis to read its file", self.supervisor.pids, self._say)
        wait_for_redis(
            redis, self.log("redis"),
            lambda: not self._stopping() and self.supervisor.alive("redis") and awaited.goes_on(),
        )

    def _wait_for_shim(self) -> None:
        awaited = Awaited("the shim to answer", self.supervisor.pids, self._say)

        def settled() -> bool:
            return self._stopping() or shim_answers(self.url) or not awaited.goes_on()

        self.supervisor.watch(settled)
        if not self._stopping() and not shim_answers(self.url):
            log = self.log("shim")
            raise StackNotStarted(
                f"The shim does not answer, and no process of the stack has done anything for "
                f"{STUCK_S:.0f} s. Last lines of {log}:\n{log_tail(log)}"
            )

    def _close(self) -> None:
        self.supervisor.stop()
        self._engine.dispose()
        if self._lock is not None:
            self._data.stack_state.unlink(missing_ok=True)
            self._lock.close()


def running_stack(data_dir: Path) -> RunningStack | None:
    """The running stack on this data directory; None without one, or before it is ready."""
    if is_taken(data_dir):
        with contextlib.suppress(OSError, ValueError, TypeError):
            return RunningStack(**json.loads(DataDirectory(data_dir).stack_state.read_text()))
    return None


def stack_owner(data_dir: Path) -> list[int]:
    """The process whose stack runs, starts or stops on this data directory; empty without one."""
    try:
        return [int(DataDirectory(data_dir).stack_lock.read_text())]
    except (OSError, ValueError):
        return []


def is_taken(data_dir: Path) -> bool:
    """Whether a stack on this data directory runs, starts or stops."""
    try:
        with DataDirectory(data_dir).stack_lock.open("r+") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False


def take_lock(data_dir: Path) -> IO[str]:
    """Locks ``data_dir`` for a stack until the file is closed.

    Raises ``ConfigurationError`` when another process holds the lock.
    """
    make_data_dir(data_dir)
    lock = DataDirectory(data_dir).stack_lock.open("a+")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        lock.seek(0)
        owner = lock.read().strip() or "unknown"
        lock.close()
        raise ConfigurationError(
            f"a stack (process {owner}) already runs on {data_dir}; stop it, or choose another "
            "directory with `faceline --data-dir DIR up`"
        ) from error
    lock.truncate(0)
    lock.write(str(os.getpid()))
    lock.flush()
    return lock


def require_free(host: str, port: int) -> None:
    """Raises ``ConfigurationError`` when the shim cannot listen there."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise ConfigurationError(
                f"port {port} on {host} cannot be used ({error.strerror}); choose another with "
                "`faceline up --port N` or FACELINE_PORT (0 takes any free one)"
            ) from error


def shim_answers(url: str) -> bool:
    """Whether a shim answers at ``url``, which is on this machine."""
    parts = urlsplit(url)
    connection = HTTPConnection(parts.hostname or "", parts.port, timeout=ANSWER_S)
    try:
        with contextlib.closing(connection):
            connection.request("GET", "/health")
            return connection.getresponse().status < 600
    except (OSError, HTTPException):
        return False


def reachable(host: str) -> str:
    """The address at which this machine reaches a server that listens on ``host``."""
    if host in ("", "0.0.0.0", "::"):  # noqa: S104
        return "127.0.0.1"
    return f"[{host}]" if ":" in host else host
