"""A real PgBouncer before a PostgreSQL."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

import psycopg
from sqlalchemy.engine import make_url

from tests.programs import find_pgbouncer, postgres_account
from tests.servers import Server

# One server connection for all clients in transaction mode: what one of them leaves behind, the
# next one finds.
CONFIG = """\
[databases]
{name} = host=127.0.0.1 port={server_port} dbname={name} user=postgres
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = any
pool_mode = {mode}
default_pool_size = {size}
max_client_conn = 100
{more}
"""


class PgBouncer(Server):
    """A pooler before the database of ``server_url``, with Debian's defaults but for ``mode``,
    the ``size`` of its pool and ``more`` lines of its configuration."""

    name = "pgbouncer"

    def __init__(self, server_url: str, mode: str, *, size: int = 20, more: str = "") -> None:
        self._program = find_pgbouncer()
        super().__init__()
        parsed = make_url(server_url)
        self._database = str(parsed.database)
        self._config = self.directory / "pgbouncer.ini"
        self._config.write_text(
            CONFIG.format(
                name=self._database, server_port=parsed.port, port=self.port, mode=mode,
                size=size, more=more,
            )
        )

    @property
    def url(self) -> str:
        return f"postgresql://postgres@127.0.0.1:{self.port}/{self._database}"

    def user(self) -> str | None:
        return postgres_account() if os.getuid() == 0 else None

    def command(self) -> Sequence[str | Path]:
        return [self._program, self._config]

    def start(self) -> None:
        if (user := self.user()) is not None:
            shutil.chown(self.directory, user)
        super().start()

    def ready(self) -> bool:
        try:
            psycopg.connect(self.url, connect_timeout=2).close()
        except psycopg.OperationalError:
            return False
        return True
