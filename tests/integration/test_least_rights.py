"""What compose prepares gives the service what it needs and nothing more: its role in the database,
its user of the bucket, its proxy; and the query by which KEDA scales counts what waits."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from minio import MinioAdmin
from minio.credentials.providers import StaticProvider
from psycopg import errors as postgres_errors
from sqlalchemy import Engine, insert, update

from pipeline.config.settings import Settings
from pipeline.database import migrate
from pipeline.database.engine import open_engine, writing
from pipeline.database.schema import jobs, tenants
from pipeline.errors import MediaUnavailable
from pipeline.jobs.model import JobState
from pipeline.jobs.store import JobStore
from pipeline.media.base import MediaStore
from pipeline.media.open import open_media
from tests.chart import VALUES, Release
from tests.job_factory import new_job
from tests.programs import find_nginx
from tests.servers import MinioServer, PostgresServer

COMPOSE = Path(__file__).resolve().parents[2] / "infra" / "compose"
PASSWORD = "own-role-password"


@pytest.fixture(scope="module")
def prepared() -> Iterator[PostgresServer]:
    """A server on which compose's script has run."""
    with PostgresServer() as server:
        run = subprocess.run(
            [COMPOSE / "database.sh"], capture_output=True, text=True, check=False,
            env={
                **os.environ, "PGHOST": "127.0.0.1", "PGPORT": str(server.port),
                "POSTGRES_USER": "postgres", "FACELINE_DATABASE_PASSWORD": PASSWORD,
            },
        )
        assert run.returncode == 0, run.stderr
        yield server


def url(server: PostgresServer, user: str, database: str) -> str:
    return f"postgresql://{user}:{PASSWORD}@127.0.0.1:{server.port}/{database}"


def test_the_role_owns_its_database_and_migrates_it(prepared: PostgresServer) -> None:
    engine = open_engine(url(prepared, "faceline", "faceline"))
    migrate.upgrade(engine)
    with writing(engine) as connection:
        connection.execute(
            insert(tenants).values(name="a", settings={}, disabled=False, created_at=1.0)
        )
    engine.dispose()


def test_the_role_is_no_administrator(prepared: PostgresServer) -> None:
    with psycopg.connect(url(prepared, "faceline", "faceline"), autocommit=True) as connection:
        rights = connection.execute(
            "SELECT rolsuper, rolcreaterole, rolcreatedb, rolreplication, rolbypassrls "
            "FROM pg_roles WHERE rolname = current_user"
        ).fetchone()
        assert rights == (False,) * 5
        for refused in (
            "CREATE ROLE another", "CREATE DATABASE another", "COPY tenants TO PROGRAM 'cat'",
            "SELECT pg_read_file('/etc/passwd')", "ALTER SYSTEM SET fsync = off",
        ):
            with pytest.raises(postgres_errors.InsufficientPrivilege):
                connection.execute(refused)
    with pytest.raises(psycopg.OperationalError, match="permission denied for database"):
        psycopg.connect(url(prepared, "faceline", "postgres"))


def test_others_do_not_reach_the_database(prepared: PostgresServer) -> None:
    with psycopg.connect(prepared.url, autocommit=True) as connection:
        connection.execute("CREATE ROLE stranger LOGIN")
    with pytest.raises(psycopg.OperationalError, match="permission denied for database"):
        psycopg.connect(url(prepared, "stranger", "faceline"))


# -- the bucket ---------------------------------------------------------------------------


@pytest.fixture(scope="module")
def bucket_user(shared_minio: MinioServer) -> tuple[str, str]:
    """The user that compose makes, with its policy."""
    admin = MinioAdmin(
        endpoint=f"127.0.0.1:{shared_minio.port}", secure=False,
        credentials=StaticProvider(shared_minio.access_key, shared_minio.secret_key),
    )
    admin.policy_add("faceline", policy_file=COMPOSE / "bucket-policy.json")
    admin.user_add("faceline-user", PASSWORD)
    admin.attach_policy(["faceline"], user="faceline-user")
    for bucket in ("faceline", "imports", "others"):
        if not shared_minio.client().bucket_exists(bucket):
            shared_minio.client().make_bucket(bucket)
    return "faceline-user", PASSWORD


def store(server: MinioServer, user: tuple[str, str], bucket: str) -> MediaStore:
    return open_media(
        Settings.model_validate(
            {
                "media_url": f"{server.url}/{bucket}", "media_access_key": user[0],
                "media_secret_key": user[1],
            }
        )
    )


def test_the_user_does_all_that_the_store_does(
    shared_minio: MinioServer, bucket_user: tuple[str, str]
) -> None:
    media = store(shared_minio, bucket_user, "faceline")
    assert media.prepare() is False
    media.check_access()
    pictures = [b"x" * number for number in range(1, 40)]
    pairs = [(f"t1/transient/0/{media.name(1, data)}", data) for data in pictures]
    media.put_many(pairs)
    one = f"t1/{media.name(1, b'one')}"
    media.put(one, b"one")
    assert media.get(one) == b"one"
    assert {item.key for item in media.walk("t1/")} >= {key for key, _ in pairs}
    media.delete(one)
    assert not media.exists(one)


def test_the_user_does_nothing_else(
    shared_minio: MinioServer, bucket_user: tuple[str, str]
) -> None:
    for bucket in ("others", "imports"):
        with pytest.raises(MediaUnavailable):
            store(shared_minio, bucket_user, bucket).put("t1/one", b"one")
    with pytest.raises(MediaUnavailable):
        list(store(shared_minio, bucket_user, "others").walk("t1/"))
    assert list(store(shared_minio, bucket_user, "imports").walk("t1/")) == []


def test_the_script_names_what_the_policy_allows() -> None:
    script = (COMPOSE / "bucket.sh").read_text()
    policy = json.loads((COMPOSE / "bucket-policy.json").read_text())
    named = {
        arn.removeprefix("arn:aws:s3:::").partition("/")[0]
        for statement in policy["Statement"] for arn in statement["Resource"]
    }
    assert named == set(re.findall(r"store/(\w+)", script))


@pytest.mark.parametrize(("attached", "told", "code"), [
    (0, "", 0), (1, "faceline", 0), (1, "somebody", 1),
])
def test_the_script_runs_again_and_again(
    tmp_path: Path, attached: int, told: str, code: int
) -> None:
    """With no other program than ``mc``, as the image has it."""
    client = tmp_path / "mc"
    client.write_text(
        "#!/bin/sh\n"
        f'case "$*" in *attach*) exit {attached} ;; *entities*) echo "{told}" ;; esac\n'
    )
    client.chmod(0o755)
    done = subprocess.run(
        ["/bin/sh", COMPOSE / "bucket.sh"], capture_output=True, text=True, check=False,
        env={
            "PATH": str(tmp_path), "S3_ADMIN_USER": "a", "S3_ADMIN_PASSWORD": "b",
            "FACELINE_MEDIA_ACCESS_KEY": "faceline", "FACELINE_MEDIA_SECRET_KEY": "c",
        },
    )
    assert (done.returncode, done.stderr) == (code, "")


# -- the proxy ----------------------------------------------------------------------------


def test_the_proxy_serves_the_example(tmp_path: Path) -> None:
    made = tmp_path / "faceline.conf"
    certificate = tmp_path / "certificate"
    certificate.mkdir()
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
         "-nodes", "-keyout", certificate / "tls.key", "-out", certificate / "tls.crt",
         "-subj", "/CN=face.test"],
        check=True, capture_output=True,
    )
    script = (COMPOSE / "proxy.sh").read_text()
    for word, replacement in {
        "/faceline.conf >/etc/nginx/conf.d/default.conf":
            f"{COMPOSE.parent / 'nginx' / 'faceline.conf'} >{made}",
        "exec nginx -g 'daemon off;'": "",
    }.items():
        assert word in script
        script = script.replace(word, replacement)
    subprocess.run(
        ["sh", "-c", script], check=True, env={**os.environ, "SERVER_NAME": "face.test"}
    )
    text = made.read_text()
    assert "face.example" not in text.partition("upstream")[2]
    assert "server shim:8600;" in text
    assert "listen 8443 ssl;" in text
    frame = tmp_path / "nginx.conf"
    frame.write_text(
        f"pid {tmp_path}/pid; error_log stderr; events {{}} http {{ "
        f"client_body_temp_path {tmp_path}/b; proxy_temp_path {tmp_path}/p; "
        f"fastcgi_temp_path {tmp_path}/f; uwsgi_temp_path {tmp_path}/u; scgi_temp_path "
        f"{tmp_path}/s; include {made}; }}"
    )
    made.write_text(
        text.replace("shim:8600", "127.0.0.1:8600").replace("/certificate/", f"{certificate}/")
    )
    tested = subprocess.run(
        [find_nginx(), "-t", "-p", tmp_path, "-c", frame], capture_output=True, text=True,
        check=False,
    )
    assert tested.returncode == 0, tested.stderr
    shutil.rmtree(certificate)


# -- the scaler ---------------------------------------------------------------------------


@pytest.fixture
def engine(postgres_url: str) -> Iterator[Engine]:
    found = open_engine(postgres_url)
    migrate.upgrade(found)
    yield found
    found.dispose()


def query_of(group: str) -> str:
    release = Release.of(VALUES["everything"])
    (found,) = (
        each for each in release.kind("ScaledObject")
        if each["metadata"]["name"] == f"face-faceline-worker-{group}"
    )
    return str(found["spec"]["triggers"][0]["metadata"]["query"])


def test_keda_counts_the_jobs_that_a_worker_would_take(
    engine: Engine, postgres_url: str
) -> None:
    with writing(engine) as connection:
        tenant = connection.execute(
            insert(tenants).values(name="a", settings={}, disabled=False, created_at=1.0)
            .returning(tenants.c.id)
        ).scalar_one()
    store_ = JobStore(engine)
    made = [
        store_.submit(new_job(tenant, stage=stage))[0]
        for stage in ("decode", "decode", "embed", "bulk", "index", "liveness", "detect")
    ]

    def counted(group: str) -> int:
        with psycopg.connect(postgres_url) as connection:
            row = connection.execute(query_of(group).encode()).fetchone()
        assert row is not None
        return int(row[0])

    assert (counted("main"), counted("bulk"), counted("fetch")) == (5, 1, 0)
    # A running job keeps its worker, a pausing one waits for its time, an ended one is gone.
    assert store_.claim(made[0].id, "decode", "w", 15.0, 3) is not None
    later = {"not_before": time.time() + 3600}
    with writing(engine) as connection:
        connection.execute(update(jobs).where(jobs.c.id == made[1].id).values(later))
        connection.execute(
            update(jobs).where(jobs.c.id == made[2].id).values(state=JobState.DONE.value)
        )
    assert counted("main") == 3
