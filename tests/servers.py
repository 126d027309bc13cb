"""Real servers for tests: Redis, MinIO and PostgreSQL on free ports of this machine.

    with RedisServer() as redis:
        ... redis.url ...
        redis.kill(); redis.start()

A server keeps its port and its data between ``stop`` or ``kill`` and the next ``start``. A test
whose server is not installed is skipped, and fails where ``CI=true``.
``python -m tests.servers`` builds a missing MinIO.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import psutil
import psycopg
import pytest
import urllib3
from minio import Minio

from pipeline.sources.bucket import RETRY
from tests.parallel import free_port
from tests.processes import start
from tests.programs import (
    find_minio,
    find_pgvector,
    find_postgres,
    find_redis,
    postgres_account,
)
from tests.secret_watch import WATCH

READY_S = 30.0  # a busy two-core machine starts the slowest (PostgreSQL) in three
STOP_S = 10.0


@dataclass(frozen=True, slots=True)
class Place:
    """Where a process runs: its address, and its network namespace; empty: that of the tests."""

    host: str = "127.0.0.1"
    namespace: str = ""

    def command(self, words: Sequence[str | Path], user: str | None = None) -> list[str | Path]:
        """A command that runs ``words`` here; in another namespace as ``user``."""
        if not self.namespace:
            return list(words)
        account = [] if user is None else [
            "-S", str(pwd.getpwnam(user).pw_uid), "-G", str(pwd.getpwnam(user).pw_gid)
        ]
        return ["nsenter", f"--net=/run/netns/{self.namespace}", *account, "--", *words]


HERE = Place()


class Server:
    """A server process on a port of its own, with its data in a temporary directory."""

    name: str
    ready_s = READY_S

    def __init__(self, place: Place = HERE) -> None:
        self.place = place
        self.port = free_port()
        self.directory = Path(tempfile.mkdtemp(prefix=f"faceline-{self.name}-"))
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        raise NotImplementedError

    def command(self) -> Sequence[str | Path]:
        raise NotImplementedError

    def ready(self) -> bool:
        """Whether the server answers."""
        raise NotImplementedError

    def environment(self) -> Mapping[str, str]:
        return {}

    def user(self) -> str | None:
        """The account to run as; None for the caller's own."""
        return None

    @property
    def pid(self) -> int:
        assert self._process is not None, f"{self.name} was not started"
        return self._process.pid

    def start(self) -> None:
        """Start and wait until the server answers; no-op when it runs."""
        if self._process is not None and self._process.poll() is None:
            return
        user = self.user()
        command = self.place.command(self.command(), user)
        if self.place.namespace:
            user = None  # the command changes to it
        with self._log.open("ab") as log:
            self._process = start(
                command,
                cwd=self.directory,
                env={**os.environ, **self.environment()},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                user=user, group=group_of(user), extra_groups=None if user is None else [],
            )
        self._wait_ready(self._process)

    def stop(self) -> None:
        """Ask the server to end; kill it after ``STOP_S``."""
        if self._process is None:
            return
        self.thaw()
        self._process.terminate()
        try:
            self._process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self.kill()
        self._process = None

    def kill(self) -> None:
        """SIGKILL, to the server's children too."""
        if self._process is None:
            return
        self._signal(signal.SIGKILL)
        self._process.wait(STOP_S)
        self._process = None

    def freeze(self) -> None:
        """Suspend the server: its connections stay open and nothing answers."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self._signal(signal.SIGCONT)

    def close(self) -> None:
        """Stop the server and remove its data; its log holds no secret."""
        self.kill()
        found = WATCH.leaks_in_file(self._log)
        shutil.rmtree(self.directory, ignore_errors=True)
        assert not found, f"{sorted(found)} in clear in the log of {self.name}"

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def _log(self) -> Path:
        return self.directory / "server.log"

    def _signal(self, number: signal.Signals) -> None:
        if self._process is None or self._process.poll() is not None:
            return
        with contextlib.suppress(psutil.NoSuchProcess):
            process = psutil.Process(self._process.pid)
            for member in [process, *process.children(recursive=True)]:
                with contextlib.suppress(psutil.NoSuchProcess):
                    member.send_signal(number)

    def _wait_ready(self, process: subprocess.Popen[bytes]) -> None:
        deadline = time.monotonic() + self.ready_s
        while time.monotonic() < deadline:
            if process.poll() is not None:
                break
            if self.ready():
                return
            time.sleep(0.02)
        text = self._log.read_text(errors="replace")[-2000:]
        raise AssertionError(f"{self.name} did not start (exit {process.poll()}):\n{text}")


class RedisServer(Server):
    """``appendonly``: keep data over a ``kill`` (fsync every second)."""

    name = "redis"

    def __init__(
        self, place: Place = HERE, *, appendonly: bool = False, arguments: Sequence[str] = ()
    ) -> None:
        self._program = find_redis()
        self._appendonly = appendonly
        self._arguments = arguments
        super().__init__(place)

    @property
    def url(self) -> str:
        return f"redis://{self.place.host}:{self.port}/0"

    def command(self) -> Sequence[str | Path]:
        return [
            self._program, "--port", str(self.port), "--bind", self.place.host,
            "--protected-mode", "no", "--dir", self.directory, "--save", "",
            "--appendonly", "yes" if self._appendonly else "no",
            *self._arguments,
        ]

    def ready(self) -> bool:
        return answers(self.port, b"PING\r\n", b"+PONG", self.place.host)


class MinioServer(Server):
    """An S3 server with one drive."""

    name = "minio"
    access_key = "faceline-test"
    secret_key = "faceline-test-secret"

    def __init__(self, place: Place = HERE) -> None:
        self._program = find_minio()
        super().__init__(place)

    @property
    def url(self) -> str:
        """Where a bucket is, without its name: ``FACELINE_MEDIA_URL`` is url/bucket."""
        return f"s3+http://{self.place.host}:{self.port}"

    @property
    def drive(self) -> Path:
        return self.directory / "drive"

    def client(self) -> Minio:
        """The vendor's own, which waits while the server is not all there yet."""
        return Minio(
            f"{self.place.host}:{self.port}", self.access_key, self.secret_key, secure=False,
            http_client=urllib3.PoolManager(retries=RETRY.new(total=20)),
        )

    def bucket(self, name: str) -> str:
        """The URL of a bucket, which is made if it is missing."""
        client = self.client()
        if not client.bucket_exists(name):
            client.make_bucket(name)
        return f"{self.url}/{name}"

    def settings(self, media_url: str) -> dict[str, str]:
        """Settings of a service with its media at this URL of the server."""
        return {
            "media_url": media_url, "media_access_key": self.access_key,
            "media_secret_key": self.secret_key,
        }

    def command(self) -> Sequence[str | Path]:
        return [
            self._program, "server", "--quiet", "--address",
            f"{self.place.host}:{self.port}",
            "--certs-dir", self.directory / "certs", self.drive,
        ]

    def environment(self) -> Mapping[str, str]:
        return {
            "MINIO_ROOT_USER": self.access_key,
            "MINIO_ROOT_PASSWORD": self.secret_key,
            "MINIO_BROWSER": "off",
            "MINIO_UPDATE": "off",
        }

    def ready(self) -> bool:
        probe = b"GET /minio/health/ready HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
        return answers(self.port, probe, b"HTTP/1.1 200", self.place.host)


class PostgresServer(Server):
    """PostgreSQL without fsync, which trusts every local caller."""

    name = "postgres"

    def __init__(self, place: Place = HERE) -> None:
        self._programs = find_postgres()
        super().__init__(place)

    @property
    def url(self) -> str:
        return f"postgresql://postgres@{self.place.host}:{self.port}/postgres"

    @property
    def _data(self) -> Path:
        return self.directory / "data"

    def command(self) -> Sequence[str | Path]:
        settings = {
            "listen_addresses": self.place.host,
            "unix_socket_directories": "",
            "fsync": "off",
            "shared_buffers": "32MB",
        }
        return [
            self._programs / "postgres", "-D", self._data, "-p", str(self.port),
            *(part for name, value in settings.items() for part in ("-c", f"{name}={value}")),
        ]

    def user(self) -> str | None:
        return postgres_account() if os.getuid() == 0 else None

    def start(self) -> None:
        if not self._data.exists():
            user = self.user()
            if user is not None:
                shutil.chown(self.directory, user)
            subprocess.run(
                [
                    self._programs / "initdb", "-D", self._data, "-U", "postgres",
                    "-A", "trust", "-E", "UTF8", "--no-locale", "--no-sync",
                ],
                check=True, capture_output=True, cwd=self.directory,
                user=user, group=group_of(user), extra_groups=None if user is None else [],
            )
            if self.place.namespace:
                with (self._data / "pg_hba.conf").open("a") as rules:
                    rules.write("host all all samenet trust\n")
        super().start()

    def stop(self) -> None:
        # SIGTERM waits for every client; SIGINT is PostgreSQL's fast shutdown.
        if self._process is not None:
            self._process.send_signal(signal.SIGINT)
        super().stop()

    def ready(self) -> bool:
        try:
            psycopg.connect(self.url, connect_timeout=2).close()
        except psycopg.OperationalError:
            return False
        return True

    @contextlib.contextmanager
    def database(self) -> Iterator[str]:
        """The URL of a fresh database."""
        name = f"test_{os.urandom(6).hex()}"
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}".encode())
        try:
            yield self.url.removesuffix("postgres") + name
        finally:
            with psycopg.connect(self.url, autocommit=True) as connection:
                connection.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())


class PgvectorServer(PostgresServer):
    """PostgreSQL with pgvector."""

    name = "pgvector"

    def __init__(self, place: Place = HERE) -> None:
        installed = find_pgvector()
        Server.__init__(self, place)
        # The account that runs it may not be allowed into this environment. The programs find
        # their libraries by their place.
        for part in ("bin", "lib", "share"):
            shutil.copytree(
                installed / "pginstall" / part, self.directory / installed.name / "pginstall" / part
            )
        libraries = installed.with_name(f"{installed.name}.libs")
        shutil.copytree(libraries, self.directory / libraries.name)
        self._programs = self.directory / installed.name / "pginstall" / "bin"


def answers(port: int, request: bytes, expected: bytes, host: str = "127.0.0.1") -> bool:
    """Whether a server's answer to ``request`` begins with ``expected``."""
    try:
        with socket.create_connection((host, port), timeout=1) as connection:
            connection.sendall(request)
            return connection.recv(len(expected)) == expected
    except OSError:
        return False


def group_of(user: str | None) -> int | None:
    """The group to run a program of ``user`` in; None for the caller's own."""
    return None if user is None else pwd.getpwnam(user).pw_gid


# Fixtures ----------------------------------------------------------------------


@pytest.fixture
def redis_server() -> Iterator[RedisServer]:
    """An empty Redis that this test may stop, kill and freeze."""
    with RedisServer() as server:
        yield server


@pytest.fixture
def minio_server() -> Iterator[MinioServer]:
    """An empty MinIO that this test may stop, kill and freeze."""
    with MinioServer() as server:
        yield server


@pytest.fixture(scope="session")
def shared_minio() -> Iterator[MinioServer]:
    """A MinIO for the whole run, for tests with a bucket of their own."""
    with MinioServer() as server:
        yield server


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """A PostgreSQL for the whole run. A test that stops it must start it again."""
    with PostgresServer() as server:
        yield server


@pytest.fixture
def postgres_url(postgres_server: PostgresServer) -> Iterator[str]:
    """A fresh PostgreSQL database."""
    with postgres_server.database() as url:
        yield url


if __name__ == "__main__":
    os.environ["FACELINE_BUILD_MINIO"] = "1"
    sys.stdout.write(f"{find_redis()}\n{find_minio()}\n{find_postgres()}\n")
