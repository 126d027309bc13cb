"""A whole service for tests: redis, workers, upkeep and shim as processes, on `edge`.

    def test_one_call(stack: Stack) -> None:
        envelope = stack.client().call("locate", {"image": base64_of(picture)}).json()

Parts can be killed and started again: ``stack.worker.kill()``, ``stack.start_worker()``.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Self

import pytest
import requests

from api_shim.auth import sm2
from pipeline.accounts.kinds import API_KEY, ID_AND_SECRET, NUMBER_AND_KEY, SIGNING
from pipeline.accounts.model import Tenant
from pipeline.accounts.tenants import TenantStore
from pipeline.encryption.vault import open_vault
from pipeline.types import JsonObject
from tests.cluster import READY_S, Cluster, Process, open_cluster
from tests.conftest import missing, models_directory
from tests.databases import open_database
from tests.face2_client import Credentials, Face2Client
from tests.parallel import free_port
from tests.secret_watch import WATCH
from tests.servers import RedisServer

MakeCluster = Callable[..., Cluster]


class Stack:
    """Settings go to every process as environment variables (see ``Cluster``).

    ``worker`` and ``shim`` are the running processes, None where none was started;
    ``redis`` is this stack's own.
    """

    def __init__(self, folder: Path, models: Path | None = None, **settings: object) -> None:
        self._processes = contextlib.ExitStack()
        self.redis = self._processes.enter_context(RedisServer())
        self.cluster = Cluster(
            folder, self.redis.url, models or models_directory(), port=free_port(), **settings
        )
        self.settings = self.cluster.settings
        self.jobs = self.cluster.jobs
        self.url = f"http://127.0.0.1:{self.settings.port}"
        self.tenants = TenantStore(self.cluster.engine, open_vault(self.settings))
        self.credentials = self.add_tenant("stack")
        self.worker: Process | None = None
        self.shim: Process | None = None

    def add_tenant(self, name: str, settings: JsonObject | None = None) -> Credentials:
        """A new tenant with every kind of credential."""
        return self.add_credentials(
            self.tenants.create(name, settings, encrypted=self.settings.encrypt_at_rest)
        )

    def add_credentials(self, tenant: Tenant) -> Credentials:
        private_key, public_key = sm2.generate_key_pair()
        issued = self.tenants.credentials.issue(tenant.id, SIGNING, public_key)
        numbered = self.tenants.credentials.issue(tenant.id, NUMBER_AND_KEY)
        pair = self.tenants.credentials.issue(tenant.id, ID_AND_SECRET)
        return Credentials(
            tenant_id=tenant.id,
            app_id=issued.public_id,
            app_secret=issued.secret,
            sm2_private_key=private_key,
            api_key=self.tenants.credentials.issue(tenant.id, API_KEY).secret,
            apid=int(numbered.public_id),
            kvalue=numbered.secret,
            api_id=pair.public_id,
            api_secret=pair.secret,
        )

    def client(self, credentials: Credentials | None = None) -> Face2Client:
        return Face2Client(self.url, credentials or self.credentials)

    def start(self, **worker: Any) -> Self:
        """Worker, upkeep and shim; returns when the shim answers."""
        self.start_worker(**worker)
        self.start_upkeep()
        return self.start_shim()

    def start_upkeep(self, **settings: Any) -> Process:
        return self._processes.enter_context(self.cluster.upkeep(**settings))

    def start_worker(self, **options: Any) -> Process:
        self.worker = self._processes.enter_context(self.cluster.worker(**options))
        return self.worker

    def start_index(self, **settings: Any) -> Process:
        return self._processes.enter_context(self.cluster.index(**settings))

    def start_shim(self, **settings: Any) -> Self:
        self.shim = self._processes.enter_context(self.cluster.shim(**settings))
        self.wait_for_shim()
        return self

    def wait_for_shim(self) -> None:
        until = time.monotonic() + READY_S
        while self.health() is None:
            assert self.shim is not None
            assert self.shim.alive, self.cluster.logs()
            assert time.monotonic() < until, self.cluster.logs()
            time.sleep(0.05)

    def health(self) -> JsonObject | None:
        """The answer of ``/health``; None when there is none."""
        try:
            found: JsonObject = requests.get(f"{self.url}/health", timeout=10).json()
        except requests.RequestException:
            return None
        return found

    def wait_for_health(self, **expected: str) -> None:
        """Waits until ``/health`` gives the expected state; its answers may be a second old."""
        until = time.monotonic() + READY_S
        while not expected.items() <= (found := self.health() or {}).items():
            assert time.monotonic() < until, found
            time.sleep(0.05)

    def close(self) -> None:
        try:
            WATCH.check_redis(self.redis.url)
        finally:
            self._processes.close()
            self.cluster.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


@pytest.fixture(scope="session")
def edge_models() -> Path:
    """The directory with the `edge` pack."""
    models = models_directory()
    if not (models / "edge").is_dir():
        missing(f"no `edge` pack in {models}; FACELINE_MODELS names its folder")
    return models


@pytest.fixture
def make_cluster(
    tmp_path: Path, redis_server: RedisServer, new_database: dict[str, object], edge_models: Path
) -> Iterator[MakeCluster]:
    """Makes a cluster of this test's own, without the shim. Takes settings."""
    with contextlib.ExitStack() as stack:
        yield lambda **settings: stack.enter_context(
            open_cluster(tmp_path, redis_server.url, edge_models, **new_database, **settings)
        )


@pytest.fixture(scope="session")
def stack(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, edge_models: Path,
    backend: str,
) -> Iterator[Stack]:
    """A running service that tests share. A test that kills parts makes a service of its own."""
    with (
        open_database(request, backend) as database,
        # On a busy machine a first answer may take longer than the default of 30 seconds.
        Stack(tmp_path_factory.mktemp("stack"), edge_models, hold_s=90.0, **database) as stack,
    ):
        stack.start_index()
        yield stack.start()


@pytest.fixture(scope="session")
def idle_stack(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, edge_models: Path,
    backend: str,
) -> Iterator[Stack]:
    """A shared service without workers: jobs stay queued. Responses are held for one second."""
    with (
        open_database(request, backend) as database,
        Stack(tmp_path_factory.mktemp("idle"), edge_models, hold_s=1.0, **database) as stack,
    ):
        yield stack.start_shim()
