"""A real S3 server that is stopped, frozen, cut off or wrong: every call ends in time,
with an error of the service, and the store works again when the server does."""

from __future__ import annotations

import contextlib
import hashlib
import inspect
import io
import time
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPException

import minio.error
import pytest
import urllib3.exceptions
from pydantic import SecretStr

from pipeline.config.settings import Settings
from pipeline.errors import FaceError, MediaCorrupt, MediaNotFound, MediaUnavailable
from pipeline.media.base import MediaStore
from pipeline.media.minio import MinioStore, map_minio_errors
from tests.proxy import Fault, Proxy
from tests.servers import MinioServer

DATA = bytes(range(256)) * 4000  # 1 MB
KEY = f"t1/x/{hashlib.sha256(DATA).hexdigest()}"

# Seconds: the limit on a submission with the store away (acceptance A10).
BOUND_S = 30.0

CALLS: dict[str, Callable[[MediaStore], object]] = {
    "put": lambda store: store.put(KEY, DATA),
    "put_many": lambda store: store.put_many([(KEY, DATA), (f"{KEY}0", b""), (f"{KEY}1", b"")]),
    "get": lambda store: store.get(KEY),
    "exists": lambda store: store.exists(KEY),
    "delete": lambda store: store.delete(KEY),
    "walk": lambda store: list(store.walk("t1/")),
    "ping": lambda store: store.ping(),
    "check_access": lambda store: store.check_access(),
}


def _store(port: int, bucket: str = "faults", secret: str = MinioServer.secret_key) -> MinioStore:
    settings = Settings(
        media_access_key=MinioServer.access_key, media_secret_key=SecretStr(secret)
    )
    return MinioStore(f"127.0.0.1:{port}", bucket, secure=False, settings=settings)


def _prepared(port: int) -> MinioStore:
    store = _store(port)
    store.prepare()
    return store


def _fails_in_time(work: Callable[[MediaStore], object], store: MediaStore) -> None:
    began = time.monotonic()
    with pytest.raises(MediaUnavailable):
        work(store)
    assert time.monotonic() - began < BOUND_S


def _all_fail_in_time(store: MediaStore) -> None:
    with ThreadPoolExecutor(len(CALLS)) as pool:
        list(pool.map(_fails_in_time, CALLS.values(), [store] * len(CALLS)))


@pytest.fixture
def proxy(shared_minio: MinioServer) -> Iterator[Proxy]:
    proxy = Proxy(shared_minio.port)
    yield proxy
    proxy.close()


@pytest.fixture
def store(proxy: Proxy) -> MinioStore:
    """A store behind the proxy that has been used and keeps a connection."""
    store = _prepared(proxy.port)
    store.put(KEY, DATA)
    return store


def test_stopped_and_started_again(minio_server: MinioServer) -> None:
    store = _prepared(minio_server.port)
    store.put(KEY, DATA)
    minio_server.kill()
    _all_fail_in_time(store)
    _fails_in_time(CALLS["put"], _store(minio_server.port))
    minio_server.start()
    assert store.get(KEY) == DATA


def test_a_restart_between_two_calls_is_not_noticed(minio_server: MinioServer) -> None:
    """The kept connection is dead: the call is made again on a new one."""
    store = _prepared(minio_server.port)
    store.put(KEY, DATA)
    minio_server.stop()
    minio_server.start()
    assert store.get(KEY) == DATA


def test_frozen_and_thawed(minio_server: MinioServer) -> None:
    store = _prepared(minio_server.port)
    store.put(KEY, DATA)
    minio_server.freeze()
    _all_fail_in_time(store)
    minio_server.thaw()
    assert store.get(KEY) == DATA


@pytest.mark.parametrize(
    ("fault", "after"),
    [(Fault.CUT, 0), (Fault.CUT, 100), (Fault.CUT, 100_000), (Fault.STALL, 0),
     (Fault.STALL, 100_000), (Fault.TRICKLE, 100_000)],
)
def test_an_answer_that_breaks_off(
    store: MinioStore, proxy: Proxy, fault: Fault, after: int
) -> None:
    proxy.after, proxy.fault = after, fault
    _fails_in_time(CALLS["get"], _store(proxy.port))
    proxy.fault = Fault.NONE
    assert store.get(KEY) == DATA


def test_an_upload_that_breaks_off_leaves_nothing(store: MinioStore, proxy: Proxy) -> None:
    store.delete(KEY)
    proxy.fault = Fault.SWALLOW
    _fails_in_time(CALLS["put"], store)
    proxy.fault = Fault.NONE
    assert not store.exists(KEY)
    store.put(KEY, DATA)
    assert store.get(KEY) == DATA


@pytest.mark.parametrize(
    ("status", "kind", "body"),
    [
        ("503 Slow Down", "application/xml", b"<Error><Code>SlowDown</Code></Error>"),
        ("500 Oops", "application/xml", b""),
        ("502 Bad Gateway", "text/html", b"<html>\xff\xfe</html>"),
        ("403 Forbidden", "application/xml", b"<not xml"),
        ("200 OK", "text/html", b"<html>log in first</html>"),
    ],
)
def test_an_answer_that_is_not_the_stores(
    proxy: Proxy, status: str, kind: str, body: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.media.minio.TRY_AGAIN_S", 0.0)
    head = f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n"
    proxy.answer = head.encode() + b"Connection: close\r\n\r\n" + body
    began = time.monotonic()
    for name in ("get", "walk"):
        with pytest.raises((MediaUnavailable, MediaCorrupt)):
            CALLS[name](_store(proxy.port))
    assert time.monotonic() - began < 2 * BOUND_S


def test_an_answer_that_is_not_http(proxy: Proxy) -> None:
    proxy.answer = b"-ERR unknown command\r\n"
    _fails_in_time(CALLS["get"], _store(proxy.port))


def test_other_bytes_put_behind_our_back(store: MinioStore, shared_minio: MinioServer) -> None:
    other = shared_minio.client()
    other.put_object("faults", KEY, io.BytesIO(DATA[:-1]), len(DATA) - 1)
    with pytest.raises(MediaCorrupt):
        store.get(KEY)
    store.put(KEY, DATA)
    assert store.get(KEY) == DATA


def test_only_preparing_makes_a_bucket(shared_minio: MinioServer) -> None:
    store = _store(shared_minio.port, "mistyped")
    assert not store.exists(KEY)
    for call in CALLS.keys() - {"exists"}:
        with pytest.raises(MediaUnavailable, match="no bucket mistyped: correct FACELINE_MEDIA"):
            CALLS[call](store)
    assert not shared_minio.client().bucket_exists("mistyped")

    assert store.prepare()
    assert not store.prepare()
    store.put(KEY, DATA)
    assert store.get(KEY) == DATA


def test_access_is_checked_without_an_object(shared_minio: MinioServer) -> None:
    store = _store(shared_minio.port, "checked")
    store.prepare()
    store.check_access()
    assert list(store.walk("")) == []


@pytest.mark.parametrize("call", CALLS)
def test_wrong_keys_are_named(shared_minio: MinioServer, call: str) -> None:
    _prepared(shared_minio.port)
    store = _store(shared_minio.port, secret="wrong-secret")
    wrong = "denies access" if call == "exists" else "SECRET_KEY. .SignatureDoesNotMatch"
    with pytest.raises(MediaUnavailable, match=wrong):
        CALLS[call](store)


def test_a_name_that_does_not_resolve() -> None:
    store = MinioStore("nowhere.invalid:9000", "faults", secure=False, settings=Settings())
    with pytest.raises(MediaUnavailable, match="its name does not resolve"):
        store.put(KEY, DATA)


def _vendor_errors() -> list[type[Exception]]:
    """Every exception that minio-py and urllib3 define, warnings aside."""
    found = []
    for module in (minio.error, urllib3.exceptions):
        for _, kind in inspect.getmembers(module, inspect.isclass):
            own = kind.__module__ == module.__name__
            if own and issubclass(kind, Exception) and not issubclass(kind, Warning):
                found.append(kind)
    return [*found, ConnectionResetError, TimeoutError, HTTPException, ET.ParseError]


@pytest.mark.parametrize("kind", _vendor_errors(), ids=lambda kind: kind.__name__)
def test_nothing_of_the_vendors_passes(kind: type[Exception]) -> None:
    error = kind.__new__(kind)
    for name in ("code", "expected", "length", "partial"):
        # their own str() needs these; the constructors' arguments are unknown
        with contextlib.suppress(AttributeError):
            object.__setattr__(error, name, 0)
    object.__setattr__(error, "response", urllib3.HTTPResponse(status=500))
    with pytest.raises(FaceError) as caught, map_minio_errors("bucket"):
        raise error
    assert caught.value.retryable
    assert caught.value.__cause__ is error


def test_a_missing_object_is_told_from_a_missing_store() -> None:
    error = minio.error.S3Error.__new__(minio.error.S3Error)
    object.__setattr__(error, "code", "NoSuchKey")
    with pytest.raises(MediaNotFound), map_minio_errors("bucket"):
        raise error
