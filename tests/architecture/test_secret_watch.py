"""The search for secrets finds planted ones."""

from __future__ import annotations

import base64
import os
import secrets
from pathlib import Path

import pyotp
import pytest
from sqlalchemy import Engine, insert

from pipeline.accounts.kinds import API_KEY, ID_AND_SECRET, NUMBER_AND_KEY, SIGNING
from pipeline.accounts.tenants import TenantStore
from pipeline.database.clock import database_time
from pipeline.database.engine import writing
from pipeline.database.schema import tenants
from pipeline.encryption.keyring import KEY_BYTES
from pipeline.encryption.vault import Vault
from pipeline.operators.model import OperatorRole
from pipeline.operators.passwords import new_secret
from pipeline.operators.sessions import PROGRAM_PREFIX, SessionStore
from pipeline.operators.sign_in import SignIn
from pipeline.operators.store import OperatorStore
from tests.secret_watch import BLOCK, WATCH, Watch
from tests.servers import RedisServer

pytest_plugins = ["pytester"]


@pytest.fixture
def watch() -> Watch:
    """A watch of this test's own: its planted secrets do not fail the run."""
    return Watch()


@pytest.fixture
def secret(watch: Watch) -> str:
    made = secrets.token_hex(32)
    watch.note("a planted one", made)
    return made


@pytest.mark.parametrize("offset", [0, 1, 7, 8, 1000])
def test_every_form_is_found_at_every_place(watch: Watch, secret: str, offset: int) -> None:
    for form in (
        secret.encode(), bytes.fromhex(secret), base64.b64encode(secret.encode()),
        secret.encode().hex().encode(),
    ):
        planted = os.urandom(offset) + form + os.urandom(offset % 5)
        assert watch.leaks(planted) == {"a planted one"}
        assert watch.leaks(planted.replace(form, form[:-20])) == set()
    for innocent in (b"", b"x", secret[1:].encode(), os.urandom(100_000)):
        assert watch.leaks(innocent) == set()


def test_it_is_found_in_a_file_over_the_border_of_a_block(
    watch: Watch, secret: str, tmp_path: Path
) -> None:
    (tmp_path / "deep").mkdir()
    path = tmp_path / "deep" / "a.log"
    path.write_bytes(bytes(BLOCK - 10) + secret.encode() + bytes(100))
    with pytest.raises(AssertionError, match="a planted one"):
        watch.check_folder(tmp_path)
    watch.check_folder(tmp_path, "*.txt")
    path.rename(path.with_name("master.key"))
    watch.check_folder(tmp_path)


def test_it_is_found_in_a_database_and_in_redis(
    watch: Watch, secret: str, engine: Engine, redis_server: RedisServer
) -> None:
    import redis

    watch.check_database(engine)
    watch.check_redis(redis_server.url)
    with writing(engine) as connection:
        connection.execute(
            insert(tenants).values(
                name="t", settings={"deep": [secret]}, disabled=False, created_at=0.0
            )
        )
    with redis.Redis.from_url(redis_server.url) as client:
        client.lpush("queue", f"a message with {secret}")
    with pytest.raises(AssertionError, match="the table tenants"):
        watch.check_database(engine)
    with pytest.raises(AssertionError, match="queue"):
        watch.check_redis(redis_server.url)


def test_what_a_store_issues_is_noted(engine: Engine) -> None:
    store = TenantStore(engine, Vault(os.urandom(KEY_BYTES)))
    tenant = store.create("t", encrypted=True)
    signed = store.credentials.issue(tenant.id, SIGNING)
    key = store.credentials.issue(tenant.id, API_KEY).secret
    numbered = store.credentials.issue(tenant.id, NUMBER_AND_KEY)
    linkface = store.credentials.issue(tenant.id, ID_AND_SECRET)
    again = store.credentials.rotate(tenant.id, NUMBER_AND_KEY, numbered.public_id, 1.0)
    for secret in (
        signed.secret, key, numbered.secret, again.secret, linkface.secret
    ):
        assert WATCH.leaks(secret.encode())
    for public in (signed.public_id, key[:12], numbered.public_id, linkface.public_id):
        assert not WATCH.leaks(public.encode())


def test_what_operators_have_is_noted(engine: Engine) -> None:
    password = secrets.token_urlsafe(16)
    codes = new_secret()
    operator = OperatorStore(engine).create("ann", OperatorRole.VIEWER, sees_faces=False)
    sign_in, sessions = SignIn(engine, Vault(os.urandom(KEY_BYTES))), SessionStore(engine)
    sign_in.set_password(operator, "", password)
    sign_in.start_codes(
        operator, "", codes, pyotp.TOTP(codes).at(int(database_time(engine)))
    )
    tokens = [
        sessions.open(operator.id), sessions.make_link(operator.id),
        sessions.issue_token(operator.id, "nightly", 1).removeprefix(PROGRAM_PREFIX),
    ]
    for secret in (password, codes, *tokens):
        assert WATCH.leaks(f"a line with {secret} in it".encode())
    WATCH.check_database(engine)


def test_a_secret_that_a_test_logs_fails_it(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytester.makeconftest('pytest_plugins = ["tests.secret_watch"]')
    pytester.makepyfile(
        """
        import logging
        from tests.secret_watch import WATCH

        def test_silent():
            WATCH.note("planted", "0123456789abcdefghijklmnop")

        def test_loud():
            logging.getLogger("x").warning("it is 0123456789abcdefghijklmnop")

        def test_printing(capsys):
            print("0123456789abcdefghijklmnop")
            capsys.readouterr()
        """
    )
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).resolve().parents[2]))
    outcome = pytester.runpytest_subprocess("-p", "no:cacheprovider")
    outcome.assert_outcomes(passed=2, failed=1)
    outcome.stdout.fnmatch_lines(["*planted*in clear in: Captured log call*"])
