"""A whole service, each role in a network namespace of its own, under a client that never stops.

    with NetworkedService(folder, models, photos) as service, service.client() as client:
        service.network.cut("postgres")
        ...
        service.recover()
        client.wait_for_fresh()
        client.check_nothing_lost()
"""

from __future__ import annotations

import base64
import contextlib
import itertools
import os
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Self

import requests
from sqlalchemy import select

from pipeline import storage_keys
from pipeline.accounts.kinds import API_KEY, NUMBER_AND_KEY
from pipeline.accounts.tenants import TenantStore
from pipeline.database.engine import read_rows
from pipeline.database.schema import jobs
from pipeline.encryption.vault import open_vault
from pipeline.jobs.model import JobState
from tests.cluster import Cluster, Process
from tests.faults.journal import Journal
from tests.faults.network import Network
from tests.faults.records import check_one_record_each
from tests.parallel import free_port
from tests.servers import MinioServer, PostgresServer, RedisServer, Server

SHIMS = ("shim1", "shim2")
WORKERS = ("worker1", "worker2")
PROCESSES = (*SHIMS, *WORKERS, "index", "upkeep")
SERVERS = ("redis", "postgres", "s3")

# Seconds. A call that takes longer is sent again with its key.
CALL_S = (2.0, 10.0)
PAUSE_S = 0.4
RECOVERY_S = 120.0  # a busy machine restarts a worker in ten

KINDS = ("locate", "enrol", "search")
# What a few of the pictures end with: no face, or one that looks away.
HARMLESS = {None, "no_face", "bad_quality"}


class Role:
    """A process that is started again after each death, as by a supervisor, unless it is
    ``held`` down."""

    def __init__(self, name: str, start: Callable[[], Process]) -> None:
        self.name = name
        self.held = False
        self._start = start
        self.process = start()

    def kill(self) -> None:
        """SIGKILL, and nobody starts it again before ``revive``."""
        self.held = True
        self.process.kill()

    def freeze(self) -> None:
        os.killpg(self.process.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGCONT)

    def revive(self) -> None:
        self.thaw()
        self.held = False
        self.keep_alive()

    def keep_alive(self) -> None:
        if not self.held and not self.process.alive:
            self.process = self._start()


class NetworkedService:
    """PostgreSQL, Redis, an S3 server, two shims, two workers, index and upkeep. Roles and servers
    go by their names."""

    def __init__(self, folder: Path, models: Path, photos: Sequence[bytes]) -> None:
        self._folder = folder
        self._models = models
        self._open = contextlib.ExitStack()
        self.photos = photos
        self.network = Network()
        self.servers: dict[str, Server] = {}
        self.roles: dict[str, Role] = {}
        self.urls: list[str] = []

    def __enter__(self) -> Self:
        try:
            self._start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        for role in self.roles.values():
            role.kill()
        self._open.close()

    def _start(self) -> None:
        add = self._open.enter_context(self.network).add
        postgres = self._open.enter_context(PostgresServer(add("postgres")))
        redis = self._open.enter_context(RedisServer(add("redis"), appendonly=True))
        s3 = self._open.enter_context(MinioServer(add("s3")))
        self.servers = {"postgres": postgres, "redis": redis, "s3": s3}
        self.cluster = Cluster(
            self._folder, redis.url, self._models, database_url=postgres.url,
            **s3.settings(s3.bucket("faults")), detection_sizes="128", max_attempts=10,
        )
        self._open.callback(self.cluster.close)
        self.journal = Journal(self.cluster)
        self.journal.open()
        issue = TenantStore(
            self.cluster.engine, open_vault(self.cluster.settings)
        ).credentials.issue
        self.key = issue(self.cluster.tenant, API_KEY).secret
        self.numbered = issue(self.cluster.tenant, NUMBER_AND_KEY)
        for name in PROCESSES:
            self.roles[name] = Role(name, self._starter(name))
        for url in self.urls:
            wait_until(partial(answers, url), f"{url} answers", self.cluster)

    def _starter(self, name: str) -> Callable[[], Process]:
        place = self.network.add(name)
        port = free_port()
        if name in SHIMS:
            self.urls.append(f"http://{place.host}:{port}")

        def start() -> Process:
            self.cluster.place = place
            match name:
                case "shim1" | "shim2":
                    return self.cluster.shim(host=place.host, port=port)
                case "index":
                    return self.cluster.index()
                case "upkeep":
                    return self.cluster.upkeep()
                case _:
                    return self.cluster.worker(concurrency=1)

        return start

    # -- faults -------------------------------------------------------------------

    def kill(self, *names: str) -> None:
        for name in names:
            (self.roles.get(name) or self.servers[name]).kill()

    def freeze(self, name: str) -> None:
        (self.roles.get(name) or self.servers[name]).freeze()

    def recover(self) -> None:
        """End all faults: the network first, then the servers, then the processes."""
        self.network.heal()
        for server in self.servers.values():
            server.thaw()
            server.start()
        for role in self.roles.values():
            role.revive()

    def keep_alive(self) -> None:
        for role in self.roles.values():
            role.keep_alive()


class Client:
    """Submits and polls all the while, by both shims, and remembers what was accepted."""

    def __init__(self, service: NetworkedService, seed: int) -> None:
        self._service = service
        self._chance = random.Random(seed)
        self._serial = itertools.count()
        self._ended = threading.Event()
        self._lock = threading.Lock()
        self._open: dict[str, tuple[str, float]] = {}
        self._unused = list(service.photos)
        # Of each job that was accepted: its kind. Of each key: the ids that were answered.
        self.accepted: dict[str, str] = {}
        self.ids: dict[str, set[str]] = {}
        self.photos: dict[str, bytes] = {}
        # When the latest job of a kind that has ended was submitted.
        self.fresh = dict.fromkeys(KINDS, 0.0)
        self.refused: Counter[str] = Counter()
        self._threads = [
            threading.Thread(target=self._submit, args=(kind,), daemon=True) for kind in KINDS
        ]
        self._threads.append(threading.Thread(target=self._poll, daemon=True))

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Submit no more."""
        self._ended.set()
        for thread in self._threads:
            thread.join(RECOVERY_S)

    # -- what it does -------------------------------------------------------------

    def _submit(self, kind: str) -> None:
        while not self._ended.is_set():
            self._call_until_accepted(kind)
            self._ended.wait(PAUSE_S)

    def _call_until_accepted(self, kind: str) -> None:
        """One call, sent again with its key until it is accepted, as the documents say."""
        with self._lock:
            number = next(self._serial)
            photo = self._unused.pop() if kind == "enrol" else self._service.photos[0]
        key = f"call-{number}"
        urls = itertools.cycle(self._chance.sample(self._service.urls, len(self._service.urls)))
        for url in urls:
            if self._ended.is_set():
                return
            at = time.monotonic()
            with contextlib.suppress(requests.RequestException):
                answer = self._send(url, kind, key, photo)
                if answer.status_code == 202:
                    self._accept(kind, key, answer.json()["job_id"], photo, at)
                    return
                self.refused[f"{kind} {answer.status_code}"] += 1
            self._ended.wait(PAUSE_S)

    def _accept(self, kind: str, key: str, job_id: str, photo: bytes, at: float) -> None:
        with self._lock:
            self.accepted[job_id] = kind
            self.ids.setdefault(key, set()).add(job_id)
            self._open[job_id] = kind, at
            if kind == "enrol":
                self.photos[job_id] = photo

    def _send(self, url: str, kind: str, key: str, photo: bytes) -> requests.Response:
        encoded = base64.b64encode(photo).decode()
        headers = {
            "X-API-Key": self._service.key, "Prefer": "respond-async", "Idempotency-Key": key
        }
        numbered = self._service.numbered
        pair = {"Apid": numbered.public_id, "Kvalue": numbered.secret}
        path, fields = {
            "locate": ("/api/detection", {**pair, "Fimg": encoded}),
            "enrol": ("/api/faces", {"image": f"data:image/jpg;base64,{encoded}"}),
            "search": ("/v1/searchface", {"img": encoded}),
        }[kind]
        return requests.post(
            f"{url}{path}", headers=headers, timeout=CALL_S,
            **{"json" if kind == "enrol" else "data": fields},  # type: ignore[arg-type]
        )

    def _poll(self) -> None:
        while not self._ended.is_set():
            with self._lock:
                waiting = list(self._open.items())
            for job_id, (kind, at) in waiting:
                with contextlib.suppress(requests.RequestException):
                    url = self._chance.choice(self._service.urls)
                    answer = requests.get(
                        f"{url}/jobs/{job_id}", headers={"X-API-Key": self._service.key},
                        timeout=CALL_S,
                    )
                    # 400: a picture that is refused; the service's own failures are above.
                    if answer.status_code in (200, 400):
                        self._end(job_id, kind, at)
            self._ended.wait(PAUSE_S)

    def _end(self, job_id: str, kind: str, at: float) -> None:
        with self._lock:
            del self._open[job_id]
            self.fresh[kind] = max(self.fresh[kind], at)

    # -- what must hold -----------------------------------------------------------

    def wait_for_fresh(self) -> float:
        """Wait until a job of each kind that was submitted from now on has ended, and every
        earlier one; the seconds that this took."""
        start = time.monotonic()
        with self._lock:
            before = set(self._open)

        def recovered() -> bool:
            self._service.keep_alive()
            with self._lock:
                return min(self.fresh.values()) > start and not before & set(self._open)

        try:
            wait_until(recovered, "calls are answered again")
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self._state()}") from None
        return time.monotonic() - start

    def _state(self) -> str:
        """What is open, for a failing test's message."""
        cluster = self._service.cluster
        now = time.monotonic()
        with self._lock:
            waiting = [cluster.job(job_id) for job_id in self._open]
            fresh = {kind: f"{now - at:.0f} s ago" for kind, at in self.fresh.items()}
        rows = "\n".join(
            f"{job.id} {job.operation} {job.state} at {job.stage}, {job.attempts} attempts, "
            f"{job.worker}, {job.error}" for job in waiting
        )
        return (
            f"last submitted and ended: {fresh}; refused: {dict(self.refused)}; threads alive: "
            f"{[thread.is_alive() for thread in self._threads]}; open:\n{rows}\n{cluster.logs()}"
        )

    def check_nothing_lost(self) -> None:
        """Every accepted job has ended well, once, and left one record."""
        cluster = self._service.cluster
        wait_until(
            lambda: cluster.jobs.upkeep.oldest_unfinished() is None, "all jobs have ended", cluster
        )
        rows = read_rows(
            cluster.engine,
            select(jobs.c.id, jobs.c.state, jobs.c.error_code, jobs.c.idempotency_key),
        )
        found = {row.id: row for row in rows}
        lost = [job_id for job_id in self.accepted if job_id not in found]
        assert not lost, f"{len(lost)} accepted jobs are gone"
        ill = Counter(row.error_code for row in rows if row.error_code not in HARMLESS)
        assert not ill, f"{ill}\n{cluster.logs()}"
        assert all(len(ids) == 1 for ids in self.ids.values()), "a key has two jobs"
        twice = [job_id for job_id, ends in self._service.journal.ends().items() if ends != 1]
        assert not twice, f"{len(twice)} jobs have ended more than once"
        enrolled = {
            storage_keys.media_hash(media[0])
            for media, state, operation in read_rows(
                cluster.engine, select(jobs.c.media, jobs.c.state, jobs.c.operation)
            )
            if operation == "enrol" and state == JobState.DONE
        }
        check_one_record_each(cluster, enrolled)


def answers(url: str) -> bool:
    try:
        return requests.get(f"{url}/health", timeout=5).ok
    except requests.RequestException:
        return False


def wait_until(
    condition: Callable[[], bool], what: str, cluster: Cluster | None = None,
    within_s: float = RECOVERY_S,
) -> None:
    until = time.monotonic() + within_s
    while not condition():
        logs = "" if cluster is None else f"\n{cluster.logs()}"
        assert time.monotonic() < until, f"not so after {within_s:.0f} s: {what}{logs}"
        time.sleep(0.1)


@contextlib.contextmanager
def running(
    folder: Path, models: Path, photos: Sequence[bytes], seed: int = 1
) -> Iterator[tuple[NetworkedService, Client]]:
    """The service under its client, which calls from the first answers on."""
    with NetworkedService(folder, models, photos) as service, Client(service, seed) as client:
        client.wait_for_fresh()
        yield service, client
