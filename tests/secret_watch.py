"""No secret that any test uses is found in clear where it must not be.

Everything that makes or reads a secret in a test's process notes it here: issued credentials,
master keys, data keys, the pepper, operators' passwords, tokens and secrets of one-time codes.
The notes are searched for

- in every answer of a service, headers included, when it comes;
- in the logs, the database and the media directory of a ``Cluster`` and the Redis of a
  ``Stack``, when it is closed;
- in the output and the log of a test, when it ends;
- in every log file of the run and in the source, when the run ends.

A find fails the test, or the run. ``tests/architecture/test_secret_watch.py`` plants some.
"""

from __future__ import annotations

import base64
import contextlib
import functools
import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pytest
import requests
from numpy.typing import NDArray
from redis import Redis
from redis.exceptions import RedisError
from sqlalchemy import Engine, select

from api_shim.auth import sm2
from pipeline.accounts.credentials import CredentialStore
from pipeline.accounts.model import IssuedCredential
from pipeline.database.engine import reading
from pipeline.database.schema import METADATA
from pipeline.encryption.data_key import DataKey
from pipeline.encryption.key_fingerprints import KeyFingerprints
from pipeline.encryption.keyring import FixedKeys, KeyFile, encode_key
from pipeline.errors import DatabaseUnavailable
from pipeline.operators import sign_in
from pipeline.operators.model import Operator
from pipeline.operators.passwords import hash_password
from pipeline.operators.sessions import PROGRAM_PREFIX, SessionStore
from pipeline.webhooks.signing import SECRET_PREFIX
from pipeline.webhooks.store import WebhookStore

ROOT = Path(__file__).resolve().parents[1]

FIELDS = frozenset(
    {"app_secret", "api_key", "kvalue", "api_secret", "sm2_private_key"}
)
PUBLIC_CHARS = 12  # with which an API key begins

# Shorter secrets, and those of a few repeated bytes, would be found by chance.
SHORTEST, FEWEST_BYTES = 16, 8

BLOCK = 16 * 1024 * 1024
WORD = 8

# Of operators' links: the page of one carries its token back.
SHOWN = "a link's token"

# Made to hold secrets, for their owner only; and the console of `faceline up`, which shows
# those of the demonstration.
KEPT = frozenset({"master.key", "demo.json", "up.log"})

T = TypeVar("T")


class Watch:
    """Secrets, and the places that are searched for them."""

    def __init__(self) -> None:
        self._needles: dict[bytes, str] = {}
        self._by_word: dict[int, list[bytes]] = {}
        self._words = np.empty(0, "<u8")
        self._pairs = np.zeros(1 << 16, np.bool_)  # of bytes with which one begins

    def __len__(self) -> int:
        return len(self._needles)

    # -- noting -------------------------------------------------------------------

    def note(self, what: str, secret: str | bytes) -> None:
        """Look for ``secret`` from now on, as text, as bytes, in hex and in Base64."""
        raw = secret if isinstance(secret, bytes) else secret.encode()
        forms = {raw, raw.hex().encode(), base64.b64encode(raw).rstrip(b"=")}
        if isinstance(secret, str):
            with contextlib.suppress(ValueError):
                forms.add(bytes.fromhex(secret))
        for form in forms:
            if len(form) >= SHORTEST and len(set(form)) >= FEWEST_BYTES:
                self._add(form, what)

    def _add(self, form: bytes, what: str) -> None:
        if form in self._needles:
            return
        self._needles[form] = what
        self._by_word.setdefault(int.from_bytes(form[:WORD], "little"), []).append(form)
        self._words = np.fromiter(self._by_word, "<u8")
        self._pairs[int.from_bytes(form[:2], "little")] = True

    def note_fields(self, issued: object) -> None:
        """Notes the secrets among the fields of issued credentials."""
        for name in FIELDS:
            value = issued.get(name) if isinstance(issued, dict) else getattr(issued, name, None)
            if value:
                self.note(name, value[PUBLIC_CHARS:] if name == "api_key" else value)

    # -- looking ------------------------------------------------------------------

    def leaks(self, data: bytes) -> set[str]:
        """The secrets in ``data``."""
        found: set[str] = set()
        if not len(self._words):
            return found
        for at, word in self._alike(np.frombuffer(data, np.uint8)):
            for needle in self._by_word[word]:
                if data[at : at + len(needle)] == needle:
                    found.add(self._needles[needle])
        return found

    def _alike(self, view: NDArray[np.uint8]) -> Iterator[tuple[int, int]]:
        """The places at which a secret's first word occurs, and that word."""
        if len(view) < WORD:
            return
        windows = np.lib.stride_tricks.sliding_window_view(view, WORD)
        for shift in (0, 1):
            pairs = view[shift : shift + (len(view) - shift) // 2 * 2].view("<u2")
            places = shift + 2 * np.flatnonzero(self._pairs[pairs])
            places = places[places < len(windows)]
            words = np.ascontiguousarray(windows[places]).view("<u8").ravel()
            right = np.isin(words, self._words)
            yield from zip(places[right].tolist(), words[right].tolist(), strict=True)

    def leaks_in_file(self, path: Path) -> set[str]:
        longest = max(map(len, self._needles), default=0)
        found: set[str] = set()
        rest = b""
        with contextlib.suppress(FileNotFoundError), path.open("rb") as file:
            while block := file.read(BLOCK):
                found |= self.leaks(rest + block)
                rest = block[-longest:]
        return found

    def check(self, where: str, data: bytes) -> None:
        """Raises ``AssertionError`` for a secret in ``data``."""
        found = self.leaks(data)
        assert not found, f"{sorted(found)} in clear in {where}"

    def check_folder(self, folder: Path, pattern: str = "*") -> None:
        """The same for the files below ``folder``, but those made to hold secrets."""
        for path in sorted(folder.rglob(pattern)):
            if path.is_file() and path.name not in KEPT:
                found = self.leaks_in_file(path)
                assert not found, f"{sorted(found)} in clear in {path}"

    def check_database(self, engine: Engine) -> None:
        """The same for every row of every table, when the database is there."""
        with contextlib.suppress(DatabaseUnavailable), reading(engine) as connection:
            for table in METADATA.tables.values():
                rows = connection.execute(select(*table.c)).all()
                self.check(f"the table {table.name}", b"\n".join(_plain(rows)))

    def check_redis(self, url: str) -> None:
        """The same for every value in a Redis, when it is there."""
        with contextlib.suppress(RedisError), Redis.from_url(url, socket_timeout=5) as redis:
            for key in redis.scan_iter():
                self.check(f"Redis {key!r}", bytes(key) + b"\n" + (redis.dump(key) or b""))


def _plain(rows: Iterable[Any]) -> Iterator[bytes]:
    for row in rows:
        for value in row:
            if isinstance(value, bytes | memoryview):
                yield bytes(value)
            elif isinstance(value, str | dict | list):
                yield str(value).encode(errors="replace")


WATCH = Watch()


# Sources of secrets --------------------------------------------------------------------


def _noting(work: Callable[..., T], note: Callable[[T], None]) -> Callable[..., T]:
    @functools.wraps(work)
    def watched(*args: Any, **kwargs: Any) -> T:
        made = work(*args, **kwargs)
        note(made)
        return made

    return watched


def _note_keys(keys: tuple[bytes, ...]) -> None:
    for key in keys:
        WATCH.note("a master key", encode_key(key))
        WATCH.note("a master key", key)


def _note_key_pair(pair: tuple[str, str]) -> None:
    WATCH.note("an SM2 private key", pair[0])


def _note_credential(issued: IssuedCredential) -> None:
    WATCH.note("a secret", issued.secret.removeprefix(issued.public_id))


def _note_webhook_secret(made: str | tuple[object, str]) -> None:
    secret = made if isinstance(made, str) else made[1]
    encoded = secret.removeprefix(SECRET_PREFIX)
    WATCH.note("a webhook's secret", encoded)
    WATCH.note("a webhook's secret", base64.b64decode(encoded))


def _note_token(token: str) -> None:
    WATCH.note("an operator's token", token.removeprefix(PROGRAM_PREFIX))


def _note_password(hash_one: Callable[..., str]) -> Callable[..., str]:
    @functools.wraps(hash_one)
    def watched(password: str, name: str) -> str:
        WATCH.note("an operator's password", password)
        return hash_one(password, name)

    return watched


def _note_codes(start: Callable[..., None]) -> Callable[..., None]:
    @functools.wraps(start)
    def watched(
        self: sign_in.SignIn, operator: Operator, present: str, secret: str, code: str
    ) -> None:
        WATCH.note("the secret of one-time codes", secret)
        start(self, operator, present, secret, code)

    return watched


def _checked(answer: requests.Response) -> None:
    # A streamed answer can be read only once, by the caller.
    if vars(answer)["_content_consumed"]:
        found = WATCH.leaks(str(answer.headers).encode() + answer.content) - {SHOWN}
        assert not found, f"{sorted(found)} in clear in the answer of {_address(answer)}"


def _address(answer: requests.Response) -> str:
    return str(answer.url).partition("?")[0]


@pytest.fixture(scope="session", autouse=True)
def _watch_secrets(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watch]:
    """Notes secrets during the run, and searches its remains."""
    with pytest.MonkeyPatch.context() as patch:
        for owner, name, note in (
            (CredentialStore, "issue", _note_credential),
            (CredentialStore, "rotate", _note_credential),
            (WebhookStore, "add", _note_webhook_secret),
            (WebhookStore, "rotate", _note_webhook_secret),
            (FixedKeys, "keys", _note_keys),
            (KeyFile, "keys", _note_keys),
            (KeyFingerprints, "_pepper", functools.partial(WATCH.note, "the pepper")),
            (sm2, "generate_key_pair", _note_key_pair),
            (SessionStore, "open", _note_token),
            (SessionStore, "issue_token", _note_token),
            (SessionStore, "make_link", functools.partial(WATCH.note, SHOWN)),
            (requests.Session, "request", _checked),
        ):
            patch.setattr(owner, name, _noting(getattr(owner, name), note))
        patch.setattr(sign_in, "hash_password", _note_password(hash_password))
        patch.setattr(sign_in.SignIn, "start_codes", _note_codes(sign_in.SignIn.start_codes))
        made = DataKey.__init__

        def note_data_key(self: DataKey, tenant_id: int, key: bytes) -> None:
            made(self, tenant_id, key)
            WATCH.note("a data key", key)

        patch.setattr(DataKey, "__init__", note_data_key)
        yield WATCH
    folder = tmp_path_factory.getbasetemp()
    for path in folder.rglob("master.key"):
        for line in path.read_text().splitlines():
            WATCH.note("a master key", line)
    for path in folder.rglob("demo.json"):
        WATCH.note_fields(json.loads(path.read_text()))
    WATCH.check_folder(folder, "*.log")
    for floor in ("pipeline", "workers", "api_shim", "infra", "docs"):
        WATCH.check_folder(ROOT / floor)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Iterator[None]:
    """Checks the output and the log of a test, unless it failed: a failure's message may
    show its arguments."""
    outcome: Any = yield
    report = outcome.get_result()
    if report.outcome != "passed":
        return
    for title, text in report.sections:
        if not title.endswith(report.when):
            continue  # reported with an earlier phase
        found = WATCH.leaks(text.encode(errors="replace"))
        if found:
            report.outcome = "failed"
            report.longrepr = f"{sorted(found)} in clear in: {title}"
