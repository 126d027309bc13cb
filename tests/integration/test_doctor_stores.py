"""What `faceline doctor` says about stores that are away, wrong, or not to be used like this: each
fault by its name, with what to do, and nothing is created."""

from __future__ import annotations

import base64
import json
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from pydantic import SecretStr
from redis import Redis
from sqlalchemy import Engine, insert, update

from infra.cli import check_database as database_checks
from infra.cli.check_broker import check_broker
from infra.cli.check_database import check_database
from infra.cli.check_media import check_journal, check_media
from infra.cli.subjects import Asked, look
from pipeline.config.settings import Settings
from pipeline.database.clock import NOTABLE_S
from pipeline.database.diagnosis import file_system
from pipeline.database.engine import open_engine, writing
from pipeline.database.migrate import head, upgrade
from pipeline.database.schema import processes, webhooks
from pipeline.deployment.findings import WRONG_S, Check, Verdict, clock_check
from pipeline.deployment.processes import Heartbeat, Role
from pipeline.encryption.key_check import establish_master_key
from pipeline.encryption.vault import Vault, open_vault
from pipeline.operations import FUSED_STAGES, Stage
from pipeline.webhooks.store import WebhookStore
from tests.job_factory import Clock, Queue, add_tenant, new_job
from tests.pgbouncer import PgBouncer
from tests.servers import MinioServer, PostgresServer, RedisServer
from tests.waiting import eventually


def about(settings: Settings) -> list[Check]:
    return list(check_database(settings))


def only_bad(found: list[Check]) -> Check:
    (bad,) = [check for check in found if check.verdict is Verdict.BAD]
    return bad


@pytest.fixture
def silent() -> Iterator[int]:
    """The port of a server that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@pytest.fixture
def refused() -> int:
    """A port at which nothing listens."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        return int(unused.getsockname()[1])


# The database ----------------------------------------------------------------------


@pytest.fixture(scope="module")
def with_passwords(postgres_server: PostgresServer) -> PostgresServer:
    """The user `guarded` must name his password, `secret`."""
    rules = postgres_server.directory / "data" / "pg_hba.conf"
    rules.write_text("host all guarded 127.0.0.1/32 scram-sha-256\n" + rules.read_text())
    with psycopg.connect(postgres_server.url, autocommit=True) as connection:
        connection.execute("CREATE ROLE guarded LOGIN PASSWORD 'secret'")
        connection.execute("SELECT pg_reload_conf()")
    return postgres_server


@pytest.mark.parametrize(
    ("change", "found", "advice"),
    [
        (("postgres@", "guarded:wrong@"), "password authentication failed", "user or password"),
        (("postgres@", "guarded@"), "no password supplied", "user or password"),
        (("postgres@", "nobody-here@"), "nobody-here", "create the user"),
        (("/postgres", "/no-such-database"), "no-such-database", "createdb"),
        (("127.0.0.1", "nowhere.invalid"), "nowhere.invalid", "no such host"),
        (("/postgres", "/postgres?sslmode=require"), "SSL", "sslmode and sslrootcert"),
    ],
)
def test_each_error_of_the_database_is_said(
    with_passwords: PostgresServer, change: tuple[str, str], found: str, advice: str
) -> None:
    old, new = change
    before, _, after = with_passwords.url.rpartition(old)
    url = f"{before}{new}{after}"
    assert before
    bad = only_bad(about(Settings(database_url=url)))
    assert bad.name == "database"
    assert found in bad.found
    assert advice in bad.advice
    assert "wrong" not in bad.found + bad.advice


def test_a_port_where_nothing_listens(refused: int) -> None:
    bad = only_bad(about(Settings(database_url=f"postgresql://me@127.0.0.1:{refused}/face")))
    assert "refused" in bad.found
    assert "nothing listens there" in bad.advice


@pytest.mark.parametrize(
    "url",
    ["mysql://h/x", "postgres://h/x", "postgresql://h:port/x", "postgresql://me@[::1/x", "none"],
)
def test_a_url_that_is_none(url: str) -> None:
    (check,) = look(check_database, "database", Settings(database_url=url))
    assert check.verdict is Verdict.BAD
    assert "FACELINE_DATABASE_URL" in check.found


def test_tables_of_another_version(postgres_url: str) -> None:
    settings = Settings(database_url=postgres_url)
    empty = only_bad(about(settings))
    assert "revision none" in empty.found
    assert "faceline init" in empty.advice
    engine = open_engine(postgres_url)
    upgrade(engine)
    for revision, advice in (("0001", "run `faceline init`"), ("9999", "a later version")):
        with psycopg.connect(postgres_url) as connection:
            connection.execute("UPDATE alembic_version SET version_num = %s", [revision])
        bad = only_bad(about(settings))
        assert f"revision {revision}" in bad.found
        assert head() in bad.advice
        assert advice in bad.advice
    engine.dispose()


@pytest.fixture
def prepared(postgres_url: str) -> Settings:
    engine = open_engine(postgres_url)
    upgrade(engine)
    engine.dispose()
    return Settings(database_url=postgres_url)


def test_rights_that_are_missing_are_found_without_a_write(
    prepared: Settings, with_passwords: PostgresServer
) -> None:
    guest = prepared.database_url.replace("postgres@", "guarded:secret@")
    with psycopg.connect(prepared.database_url, autocommit=True) as connection:
        connection.execute("GRANT SELECT ON ALL TABLES IN SCHEMA public TO guarded")
    bad = only_bad(about(Settings(database_url=guest)))
    assert "may not change" in bad.found
    assert "grant SELECT, INSERT, UPDATE and DELETE" in bad.advice

    with psycopg.connect(prepared.database_url, autocommit=True) as connection:
        connection.execute(
            "GRANT INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO guarded"
        )
        connection.execute("ALTER ROLE guarded SET default_transaction_read_only = on")
    bad = only_bad(about(Settings(database_url=guest)))
    assert "read-only" in bad.found
    assert "default_transaction_read_only" in bad.advice
    with psycopg.connect(prepared.database_url, autocommit=True) as connection:
        connection.execute("ALTER ROLE guarded RESET ALL")
        connection.execute("DROP OWNED BY guarded")


def limits_of(found: list[Check]) -> Check:
    (limits,) = [check for check in found if check.name == "limits"]
    return limits


def test_limits_hold_directly_and_behind_poolers(
    prepared: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert limits_of(about(prepared)).found == "every statement and lock has its limit"
    for mode in ("session", "transaction"):
        with PgBouncer(prepared.database_url, mode) as bouncer:
            limits = limits_of(about(Settings(database_url=bouncer.url)))
            assert limits.verdict is Verdict.GOOD
            assert "behind a pooler" in limits.found
            with monkeypatch.context() as patched:
                # as a pooler that this service does not notice
                patched.setattr("pipeline.database.postgres.BoundedConnection.find_pooler", _blind)
                patched.setattr("pipeline.database.postgres._set_limits", lambda *_, **__: "")
                dropped = limits_of(about(Settings(database_url=bouncer.url)))
            assert dropped.verdict is Verdict.BAD
            assert "lock_timeout" in dropped.found
            assert "PgBouncer" in dropped.advice


def _blind(_: object) -> None:
    pass


def test_a_pooler_without_transactions(prepared: Settings) -> None:
    with PgBouncer(prepared.database_url, "statement") as bouncer:
        bad = only_bad(about(Settings(database_url=bouncer.url)))
    assert "pool_mode = session or transaction" in bad.advice


def test_a_sqlite_file_is_not_made_by_asking(tmp_path: Path) -> None:
    file = tmp_path / "new" / "face.db"
    (check,) = about(Settings(database_url=f"sqlite:///{file}"))
    assert check.verdict is Verdict.NOTE
    assert str(file) in check.found
    assert not file.parent.exists()


def test_sqlite_over_a_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = Settings(data_dir=tmp_path)
    engine = open_engine(settings.sql_url)
    upgrade(engine)
    engine.dispose()
    assert not [check for check in about(settings) if check.verdict is Verdict.BAD]
    monkeypatch.setattr(database_checks, "file_system", lambda _: "nfs4")

    bad = only_bad(about(settings))

    assert "network file system (nfs4)" in bad.found
    assert "PostgreSQL" in bad.advice


def test_the_file_system_of_a_path_is_that_of_its_longest_mount(tmp_path: Path) -> None:
    mounts = tmp_path / "mounts"
    folder = tmp_path / "a folder"
    inside = str(folder).replace(" ", "\\040")
    mounts.write_text(
        "21 1 8:1 / / rw - ext4 /dev/sda1 rw\n"
        f"30 21 0:40 / {inside} rw shared:5 - tmpfs tmpfs rw\n"
        f"31 21 0:41 / {inside} rw,relatime shared:6 - nfs4 server:/export rw,vers=4.2\n"
        f"32 21 0:42 / {inside}er rw - xfs /dev/sdb rw\n"
    )
    assert file_system(folder / "face.db", mounts) == "nfs4"
    assert file_system(tmp_path / "face.db", mounts) == "ext4"
    assert file_system(folder, tmp_path / "none") == ""
    assert file_system(Path("/proc/self/status")) == "proc"


# The master key and the processes ------------------------------------------------------


def test_the_master_key_of_another_deployment(engine: Engine, database_url: str) -> None:
    def key(letter: bytes) -> SecretStr:
        return SecretStr(base64.b64encode(letter * 32).decode())

    mine = Settings(database_url=database_url, master_key=key(b"a"))
    establish_master_key(engine, open_vault(mine))
    (good,) = [check for check in about(mine) if check.name == "master key"]
    assert good.verdict is Verdict.GOOD

    bad = only_bad(about(Settings(database_url=database_url, master_key=key(b"b"))))

    assert bad.name == "master key"
    assert "FACELINE_MASTER_KEY" in bad.advice


def running(found: list[Check]) -> list[Check]:
    return [check for check in found if check.name == "processes"]


@pytest.fixture
def fleet(engine: Engine) -> list[Heartbeat]:
    """A heartbeat of every process that is needed."""
    beats = [
        Heartbeat(engine, Role.SHIM), Heartbeat(engine, Role.UPKEEP),
        Heartbeat(engine, Role.INDEX, [Stage.INDEX]), Heartbeat(engine, Role.WORKER, FUSED_STAGES),
    ]
    for beat in beats:
        beat.beat()
    return beats


def test_every_process_runs(fleet: list[Heartbeat], database_url: str) -> None:
    (check,) = running(about(Settings(database_url=database_url)))
    assert check.verdict is Verdict.GOOD
    assert check.found == "1 shim, 1 worker, 1 index, 1 upkeep run"


def test_webhooks_need_a_sender(
    engine: Engine, database_url: str, fleet: list[Heartbeat]
) -> None:
    def check() -> Check:
        found = about(Settings(database_url=database_url))
        return next(each for each in found if each.name == "webhooks")

    store = WebhookStore(engine, Vault(bytes(range(32))))
    hook, _ = store.add(add_tenant(engine, "shop"), "https://shop.example/hooks")
    assert check().verdict is Verdict.BAD
    assert "faceline webhooks send" in check().advice
    Heartbeat(engine, Role.WEBHOOKS).beat()
    assert check().verdict is Verdict.GOOD
    with writing(engine) as connection:
        connection.execute(update(webhooks).values(failing_since=1.0))
    assert check().verdict is Verdict.NOTE
    store.set_disabled(hook.tenant_id, hook.id, True)
    with pytest.raises(StopIteration):
        check()


def test_nothing_runs(engine: Engine, database_url: str, fleet: list[Heartbeat]) -> None:
    with writing(engine) as connection:
        connection.execute(update(processes).values(seen_at=processes.c.seen_at - 60))
    (check,) = running(about(Settings(database_url=database_url)))
    assert check.verdict is Verdict.BAD
    assert "none runs; the last one" in check.found
    for beat in fleet:
        beat.close()
    (check,) = running(about(Settings(database_url=database_url)))
    assert check.verdict is Verdict.NOTE
    assert check.found == "none runs yet"


@pytest.mark.parametrize(
    ("silent_role", "found", "advice"),
    [
        (Role.WORKER, "none serves decode, detect, embed, liveness", "worker --stages decode,det"),
        (Role.INDEX, "none serves index", "worker --stages index"),
        (Role.UPKEEP, "no upkeep runs", "faceline upkeep"),
    ],
)
def test_what_no_process_does(
    engine: Engine, database_url: str, fleet: list[Heartbeat], silent_role: Role, found: str,
    advice: str,
) -> None:
    with writing(engine) as connection:
        connection.execute(
            update(processes).where(processes.c.role == silent_role)
            .values(seen_at=processes.c.seen_at - 60)
        )
    bad = only_bad(about(Settings(database_url=database_url)))
    assert found in bad.found
    assert advice in bad.advice


def test_a_process_in_trouble_serves_nothing(
    engine: Engine, database_url: str, fleet: list[Heartbeat]
) -> None:
    fleet[2].close()
    looks = [lambda: "the galleries cannot be read"]
    Heartbeat(engine, Role.INDEX, [Stage.INDEX], looks=looks).beat()
    bad = [check for check in about(Settings(database_url=database_url))
           if check.verdict is Verdict.BAD]
    assert any("none serves index" in check.found for check in bad)
    assert any("the galleries cannot be read" in check.found for check in bad)


def test_processes_that_differ(
    engine: Engine, database_url: str, fleet: list[Heartbeat]
) -> None:
    fast = {"clock_offset": 60.0, "pack": "dlib", "pack_digest": "d" * 64, "version": "0.0.1"}
    with writing(engine) as connection:
        row = dict(connection.execute(processes.select().limit(1)).one()._mapping)
        connection.execute(
            insert(processes),
            [{**row, **fast, "id": "1" * 32}, {**row, "pack_digest": "e" * 64, "pack": "edge",
                                               "id": "2" * 32}],
        )
    found = about(Settings(database_url=database_url))
    assert any(c.name == "clock" and "60 s ahead" in c.found for c in found)
    assert any("2 packs" in c.found and c.verdict is Verdict.BAD for c in found)
    assert any("2 versions" in c.found and c.verdict is Verdict.NOTE for c in found)


def test_jobs_that_wait_where_nobody_looks(
    engine: Engine, database_url: str, fleet: list[Heartbeat]
) -> None:
    tenant = add_tenant(engine, "tenant")
    Queue(engine, tenant, Clock()).submit(new_job(tenant, stage="bulk"))
    bad = only_bad(about(Settings(database_url=database_url)))
    assert "none serves bulk" in bad.found


@pytest.mark.parametrize(
    ("ahead", "verdict"),
    [(0.3, Verdict.GOOD), (-NOTABLE_S, Verdict.NOTE), (WRONG_S, Verdict.BAD),
     (-3600.0, Verdict.BAD)],
)
def test_clocks(ahead: float, verdict: Verdict) -> None:
    check = clock_check(ahead, "Redis")
    assert check.verdict is verdict
    assert ("behind" in check.found) == (ahead <= -NOTABLE_S)


# Redis -----------------------------------------------------------------------------------


def test_each_error_of_redis_is_said(redis_server: RedisServer, refused: int) -> None:
    port = redis_server.port
    with Redis.from_url(redis_server.url) as redis:
        redis.config_set("requirepass", "right")
    for url, found, advice in (
        (f"redis://127.0.0.1:{refused}/0", "refused", "nothing listens there"),
        ("redis://nowhere.invalid:6379/0", "nowhere.invalid", "no such host"),
        (f"redis://:wrong@127.0.0.1:{port}/0", "", "correct the password"),
        (f"redis://127.0.0.1:{port}/0", "", "correct the password"),
        (f"rediss://127.0.0.1:{port}/0", "", "redis://"),
    ):
        bad = only_bad(list(check_broker(Settings(broker_url=url))))
        assert found in bad.found
        assert advice in bad.advice, bad
        assert "wrong" not in bad.found + bad.advice


def test_a_replica_is_no_broker(redis_server: RedisServer) -> None:
    with RedisServer(arguments=["--replicaof", "127.0.0.1", str(redis_server.port)]) as replica:
        bad = only_bad(list(check_broker(Settings(broker_url=replica.url))))
    assert "replica" in bad.found
    assert "sentinel://" in bad.advice


# The media store -----------------------------------------------------------------------


def test_a_mistyped_bucket_is_said_and_not_made(shared_minio: MinioServer) -> None:
    settings = Settings.model_validate(shared_minio.settings(f"{shared_minio.url}/mistipt"))
    (check,) = look(check_media, "media", settings)
    assert check.verdict is Verdict.BAD
    assert "no bucket mistipt" in check.found
    assert not shared_minio.client().bucket_exists("mistipt")


def test_a_store_that_refuses_connections(refused: int) -> None:
    (check,) = look(
        check_media, "media", Settings(media_url=f"s3+http://127.0.0.1:{refused}/faces")
    )
    assert "refused" in check.found
    assert "FACELINE_MEDIA_URL" in check.advice


def test_a_store_that_is_right(shared_minio: MinioServer) -> None:
    settings = Settings.model_validate(shared_minio.settings(shared_minio.bucket("right")))
    media, clock = look(check_media, "media", settings)
    assert media.verdict is clock.verdict is Verdict.GOOD
    assert "clock of the media store" in clock.found
    assert not list(shared_minio.client().list_objects("right", recursive=True))


def test_a_directory_is_not_made_by_asking(tmp_path: Path) -> None:
    settings = Settings(media_url=f"file://{tmp_path}/new/media")
    (check,) = look(check_media, "media", settings)
    assert check.verdict is Verdict.GOOD
    assert not (tmp_path / "new").exists()


def test_a_journal_beside_the_pictures_is_told(shared_minio: MinioServer) -> None:
    url = shared_minio.bucket("pictures")
    (beside,) = look(
        check_journal, "journal", Settings.model_validate(shared_minio.settings(url))
    )
    assert beside.verdict is Verdict.NOTE
    assert "FACELINE_JOURNAL_URL" in beside.advice
    apart = shared_minio.settings(url) | {"journal_url": shared_minio.bucket("deletions")}
    (good,) = look(check_journal, "journal", Settings.model_validate(apart))
    assert good.verdict is Verdict.GOOD
    (missing,) = look(
        check_journal, "journal",
        Settings.model_validate(apart | {"journal_url": f"{shared_minio.url}/mistipt"}),
    )
    assert missing.verdict is Verdict.BAD


# All of it ---------------------------------------------------------------------------------


def test_what_does_not_answer_in_time_is_said() -> None:
    hanging = threading.Event()

    def subject(_: Settings) -> Iterator[Check]:
        yield Check("first", Verdict.GOOD, "is there")
        hanging.wait()

    asked = Asked("database", subject, "look at the firewall")
    asked.begin(Settings())
    eventually(lambda: asked.found != [])
    first, late = asked.result(time.monotonic())
    hanging.set()
    assert first.name == "first"
    assert (late.name, late.verdict) == ("database", Verdict.BAD)
    assert late.advice == "look at the firewall"


def test_the_report_comes_while_every_store_is_silent(tmp_path: Path, silent: int) -> None:
    environment = {
        "FACELINE_DATA_DIR": str(tmp_path), "FACELINE_MODELS": str(tmp_path),
        "FACELINE_DATABASE_URL": f"postgresql://me@127.0.0.1:{silent}/face",
        "FACELINE_BROKER_URL": f"redis://127.0.0.1:{silent}/0",
        "FACELINE_MEDIA_URL": f"s3+http://127.0.0.1:{silent}/faces",
        "FACELINE_MEDIA_ACCESS_KEY": "a", "FACELINE_MEDIA_SECRET_KEY": "b" * 8,
    }
    ended = subprocess.run(
        [sys.executable, "-m", "infra.cli", "doctor", "--json"], env=environment,
        capture_output=True, text=True, timeout=120, check=False,
    )
    assert ended.returncode == 1, ended.stderr
    bad = {c["name"]: c for c in json.loads(ended.stdout)["checks"] if c["verdict"] == "bad"}
    assert {"database", "redis", "media"} <= bad.keys()
    assert all(check["found"] and check["advice"] for name, check in bad.items() if name != "media")
    assert "Traceback" not in ended.stderr
