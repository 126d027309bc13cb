"""What is wrong with a database, in the operator's terms: why it cannot be reached, what this
user may not do, and which limits do not hold."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Engine, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from pipeline.database.engine import reading
from pipeline.database.schema import METADATA
from pipeline.errors import DatabaseUnavailable

OLDEST_POSTGRES = 14

URL = "FACELINE_DATABASE_URL"

# Words of a driver's message, in lower case, and what to do. The first match counts.
CAUSES: tuple[tuple[str, str], ...] = (
    ("password authentication failed|no password supplied|authentication failed",
     f"the server rejects user or password: correct them in {URL}"),
    ("pg_hba.conf",
     ("the server admits no such connection (user, database, address, TLS): change its "
     f"pg_hba.conf, or add ?sslmode=require to {URL}")),
    ('no such database|database ".*" does not exist',
     f"create the database (`createdb NAME`), or correct its name in {URL}"),
    ('no such user|role ".*" does not exist', f"create the user, or correct it in {URL}"),
    ("failed to resolve host|could not translate host name|name or service not known",
     f"there is no such host: correct it in {URL}"),
    ("connection refused",
     f"nothing listens there: start PostgreSQL, or correct host and port in {URL}"),
    ("timeout expired|no route to host|network is unreachable",
     f"no way to the host: check firewall and address, and {URL}"),
    ("certificate|ssl|tls",
     (f"no TLS connection: sslmode and sslrootcert in {URL} must suit the server "
     "(sslrootcert=system trusts the system's authorities)")),
    ("too many clients|connection slots|no more connections allowed|too many connections",
     "the server has no connection left: raise max_connections, or put PgBouncer before it"),
    ("starting up|shutting down|not yet accepting", "wait until the server is ready"),
    ("statement pooling", "set pool_mode = session or transaction in the pooler"),
    ("permission denied", "grant this user the privileges on the tables"),
    ("not a database|malformed",
     "the file is damaged or no SQLite database: restore it, or correct its path"),
    ("unable to open|readonly", "let this user write to the file and its directory"),
    ("no space left|disk is full|disk full", "free space on the database's disk"),
)

NETWORK_FILE_SYSTEMS = frozenset({
    "nfs", "nfs4", "cifs", "smb3", "smbfs", "afs", "ceph", "lustre", "beegfs", "gpfs", "gfs2",
    "ocfs2", "9p", "virtiofs", "vboxsf", "davfs", "fuse.sshfs", "fuse.glusterfs", "fuse.ceph",
    "fuse.s3fs", "fuse.gcsfuse", "fuse.rclone", "fuse.juicefs", "fuse.mountpoint-s3",
})
"""Kinds of mounts on which several machines, or a guest and its host, see one file. SQLite's
log needs memory that all of its users share, and locks that they heed."""


def advice_on(error: DatabaseUnavailable) -> str:
    """What to do about a database that does not answer."""
    message = error.message.lower()
    for words, advice in CAUSES:
        if re.search(words, message):
            return advice
    return f"check {URL}, and the database's log"


def sqlite_file(url: str) -> Path | None:
    """The file of a SQLite database; None for another database, or for no URL."""
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        return None
    if parsed.get_backend_name() != "sqlite":
        return None
    return Path(parsed.database or "").absolute()


def file_system(path: Path, mounts: Path = Path("/proc/self/mountinfo")) -> str:
    """The kind of file system that ``path`` is on; empty where the kernel does not say."""
    try:
        lines = mounts.read_text("utf-8", "surrogateescape").splitlines()
    except OSError:
        return ""
    real = path.resolve()
    best, kind = -1, ""
    for line in lines:
        before, _, after = line.partition(" - ")
        point = before.split(" ")[4].replace("\\040", " ")
        # The last of several mounts on one point hides the others.
        if real.is_relative_to(point) and len(point) >= best:
            best, kind = len(point), after.split(" ")[0]
    return kind


def unwritable(file: Path) -> Path | None:
    """What this user may not write of a SQLite database: the file, or its directory, which
    holds the log; None: nothing."""
    for path in (file, file.parent):
        if not os.access(path, os.R_OK | os.W_OK):
            return path
    return None


@dataclass(frozen=True, slots=True)
class ServerState:
    """A PostgreSQL. ``denied`` are the tables whose rows this user may not read, insert, change
    and delete; ``limits`` the limits on waiting that hold in a transaction, in milliseconds by
    name; ``pooled``: it stands behind a pooler."""

    version: int
    read_only: bool
    standby: bool
    denied: tuple[str, ...]
    limits: dict[str, int]
    pooled: bool


_STATE = text(
    "SELECT current_setting('server_version_num')::int / 10000 AS version, "
    "current_setting('transaction_read_only') = 'on' AS read_only, "
    "pg_is_in_recovery() AS standby"
)
_LIMITS = text(
    "SELECT name, setting::int FROM pg_settings "
    "WHERE name IN ('statement_timeout', 'lock_timeout')"
)
_DENIED = text(
    "SELECT name FROM unnest(CAST(:names AS text[])) AS name "
    "WHERE NOT coalesce(has_table_privilege(to_regclass(name), 'SELECT') "
    "AND has_table_privilege(to_regclass(name), 'INSERT') "
    "AND has_table_privilege(to_regclass(name), 'UPDATE') "
    "AND has_table_privilege(to_regclass(name), 'DELETE'), true)"
)


def server_state(engine: Engine) -> ServerState:
    """The state of the PostgreSQL of ``engine``; changes nothing. Raises
    ``DatabaseUnavailable``."""
    with reading(engine) as connection:
        state = connection.execute(_STATE).one()
        names = [table.name for table in METADATA.sorted_tables]
        denied = tuple(connection.execute(_DENIED, {"names": names}).scalars())
        driver = connection.connection.dbapi_connection
        pooled = bool(getattr(driver, "pooled", False))
    # In a transaction of its own: what held in the first one need not hold any more.
    with reading(engine) as connection:
        limits = {row.name: row.setting for row in connection.execute(_LIMITS)}
    return ServerState(
        state.version, state.read_only, state.standby, denied, limits, pooled
    )
