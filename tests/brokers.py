"""Real brokers beside the plain Redis: with TLS, behind a sentinel, and RabbitMQ."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from redis import Redis
from redis.exceptions import RedisError

from tests.authority import Authority
from tests.parallel import free_port
from tests.programs import find_rabbitmq, find_redis, find_redis_with_tls
from tests.servers import RedisServer, Server, answers
from tests.waiting import eventually

MASTER = "faces"


class TlsRedis(RedisServer):
    """It speaks TLS only, and wants the password ``secret``."""

    def __init__(self, authority: Authority) -> None:
        super().__init__()
        self._authority = authority
        # The program looks at the name by which it is called.
        self._program = self.directory / "redis-server"
        self._program.symlink_to(find_redis_with_tls())

    @property
    def url(self) -> str:
        return f"rediss://:secret@127.0.0.1:{self.port}/0"

    def command(self) -> Sequence[str | Path]:
        certificate = self._authority.issue("127.0.0.1")
        return [
            self._program, "--port", "0", "--tls-port", str(self.port), "--bind", "127.0.0.1",
            "--tls-cert-file", certificate, "--tls-key-file", certificate,
            "--tls-ca-cert-file", self._authority.file, "--tls-auth-clients", "no",
            "--requirepass", "secret", "--dir", self.directory, "--save", "",
        ]

    def ready(self) -> bool:
        url = f"{self.url}?ssl_ca_certs={self._authority.file}"
        try:
            with Redis.from_url(url, socket_timeout=2) as redis:
                return bool(redis.ping())
        except (RedisError, OSError):
            return False


class SentinelServer(Server):
    """A sentinel that watches ``primary``, and promotes another one after a second."""

    name = "sentinel"

    def __init__(self, primary: RedisServer) -> None:
        super().__init__()
        self._program = find_redis()
        self._config = self.directory / "sentinel.conf"
        self._config.write_text(
            f"port {self.port}\nbind 127.0.0.1\ndir {self.directory}\n"
            f"sentinel monitor {MASTER} 127.0.0.1 {primary.port} 1\n"
            f"sentinel down-after-milliseconds {MASTER} 1000\n"
            f"sentinel failover-timeout {MASTER} 5000\n"
        )

    @property
    def url(self) -> str:
        # The first one never answers: a fleet has several, and any may be away.
        return f"sentinel://127.0.0.1:1,127.0.0.1:{self.port}/0?master={MASTER}"

    def command(self) -> Sequence[str | Path]:
        return [self._program, self._config, "--sentinel"]

    def ready(self) -> bool:
        return answers(self.port, b"PING\r\n", b"+PONG")

    def replicas(self) -> int:
        """How many usable replicas it knows of."""
        with Redis(port=self.port, socket_timeout=2, decode_responses=True) as redis:
            return sum(not each["is_disconnected"] for each in redis.sentinel_slaves(MASTER))


@contextlib.contextmanager
def sentinel_group() -> Iterator[tuple[RedisServer, SentinelServer]]:
    """A primary with one replica, and a sentinel that knows both."""
    with (
        RedisServer() as primary, SentinelServer(primary) as sentinel,
        RedisServer(arguments=["--replicaof", "127.0.0.1", str(primary.port)]),
    ):
        eventually(lambda: sentinel.replicas() == 1, "the sentinel knows the replica")
        yield primary, sentinel


class RabbitMq(Server):
    """RabbitMQ with its default user, alone on ports of its own."""

    name = "rabbitmq"
    ready_s = 150.0  # it uses ten seconds of processor time to start

    def __init__(self) -> None:
        self._program = find_rabbitmq()
        super().__init__()
        self._others = {"RABBITMQ_DIST_PORT": free_port(), "ERL_EPMD_PORT": free_port()}

    @property
    def url(self) -> str:
        return f"amqp://guest:guest@127.0.0.1:{self.port}//"

    def user(self) -> str | None:
        with contextlib.suppress(KeyError):
            return pwd.getpwnam("rabbitmq").pw_name if os.getuid() == 0 else None
        return None

    def command(self) -> Sequence[str | Path]:
        return [self._program]

    def environment(self) -> Mapping[str, str]:
        return {
            "HOME": str(self.directory),  # of Erlang's cookie
            "RABBITMQ_NODENAME": f"faceline-{self.port}@localhost",
            "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODE_PORT": str(self.port),
            "RABBITMQ_MNESIA_BASE": str(self.directory / "data"),
            "RABBITMQ_LOG_BASE": str(self.directory),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(self.directory / "plugins"),
            "RABBITMQ_CONFIG_FILE": str(self.directory / "none"),
            "RABBITMQ_PID_FILE": str(self.directory / "pid"),
            # One core, and no waiting at full speed.
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "+S 1:1 +sbwt none",
            **{name: str(port) for name, port in self._others.items()},
        }

    def start(self) -> None:
        if (user := self.user()) is not None:
            shutil.chown(self.directory, user)
        super().start()

    def ready(self) -> bool:
        return answers(self.port, b"AMQP\x00\x00\x09\x01", b"\x01\x00\x00")

    def close(self) -> None:
        super().close()
        # Erlang starts a daemon that tells nodes of each other's ports.
        with contextlib.suppress(FileNotFoundError):
            subprocess.run(
                ["epmd", "-kill"], env={**os.environ, **self.environment()}, check=False,
                capture_output=True,
            )
