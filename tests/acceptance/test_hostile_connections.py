"""Hostile traffic from the open network against a running shim: every dialect answers
in its envelope, and others are served meanwhile."""

from __future__ import annotations

import contextlib
import gzip
import json
import os
import re
import time
from collections.abc import Iterator

import psutil
import pytest

from tests.databases import ONE_DATABASE
from tests.face2_client import Json
from tests.parallel import free_port
from tests.raw_http import Answer, ask, connect
from tests.stack import Stack
from tests.waiting import TIMEOUT_S

MB = 1024 * 1024

# A path of each dialect that takes pictures.
LARGE = {
    "a": ("POST", "/api/detection"),
    "b": ("POST", "/api/faces"),
    "c": ("POST", "/identity/compare_faces_in_two_images"),
    "d": ("POST", "/v1/addface"),
    "e": ("POST", "/face2/locate"),
}

# ... and that takes none.
SMALL = {
    "a": ("DELETE", "/api/face"),
    "b": ("POST", "/api/faceGroups"),
    "d": ("POST", "/v1/delface"),
}

# The members of an error's answer.
ENVELOPES: dict[str, set[str]] = {
    "a": {"msg_code"},
    "b": {"code", "msg", "data"},
    "c": {"status", "request_id"},
    "d": {"status", "message"},
    "e": {"appId", "code", "data", "encType", "signType", "success", "timestamp"},
}


def refused(letter: str, answer: Answer) -> Json:
    """The envelope, which must be that of an error."""
    content = answer.json
    assert set(content) - {"reason"} == ENVELOPES[letter]
    assert answer.status < 500 or "retry-after" in answer.headers
    verdict = content.get("msg_code", content.get("code", content.get("status")))
    assert verdict not in (0, 1, "OK")
    assert re.fullmatch(r"[A-Za-z0-9._-]{8,64}", answer.headers["x-request-id"])
    assert answer.headers["x-content-type-options"] == "nosniff"
    return content


# The database has no part in this.
pytestmark = ONE_DATABASE


@pytest.fixture(scope="module")
def url(idle_stack: Stack) -> str:
    return idle_stack.url


@pytest.fixture(autouse=True)
def _others_are_served(idle_stack: Stack) -> Iterator[None]:
    yield
    serve_others(idle_stack)


def serve_others(stack: Stack) -> None:
    """A good client is answered, with and without a job."""
    key = {"X-API-Key": stack.credentials.api_key}
    assert ask(stack.url, "GET", "/api/faceGroups", key).json["code"] == 0
    assert ask(stack.url, "GET", "/health").status == 200


# Bodies ------------------------------------------------------------------------


@pytest.mark.parametrize("letter", LARGE)
def test_a_declared_excess_is_refused_before_it_is_sent(url: str, letter: str) -> None:
    with connect(url) as connection:
        answer = connection.request(*LARGE[letter], {"Content-Length": str(50 * MB)})
        refused(letter, answer)
        assert answer.headers["connection"] == "close"


@pytest.mark.parametrize("letter", LARGE)
def test_an_excess_in_pieces_is_refused(url: str, letter: str) -> None:
    with connect(url) as connection:
        method, path = LARGE[letter]
        connection.send(
            f"{method} {path} HTTP/1.1\r\nHost: shim\r\n"
            "Transfer-Encoding: chunked\r\n\r\n".encode()
        )
        piece = b"100000\r\n" + bytes(MB) + b"\r\n"
        for _ in range(20):
            connection.send(piece)
        connection.send(b"0\r\n\r\n")
        refused(letter, connection.answer())


@pytest.mark.parametrize("letter", SMALL)
def test_without_pictures_little_is_taken(url: str, letter: str) -> None:
    body = b'{"groupId":"' + b"x" * 70_000 + b'"}'
    refused(letter, ask(url, *SMALL[letter], {}, body))


@pytest.mark.parametrize("letter", LARGE)
@pytest.mark.parametrize("encoding", ["gzip", "br", "gzip, identity"])
def test_compressed_bodies_are_refused(url: str, letter: str, encoding: str) -> None:
    bomb = gzip.compress(bytes(10 * MB))
    refused(letter, ask(url, *LARGE[letter], {"Content-Encoding": encoding}, bomb))


@pytest.mark.parametrize("letter", LARGE)
@pytest.mark.parametrize(
    "kind", ["", "text/plain", "application/xml", "multipart/form-data", "a/b;" * 100, "\xff"]
)
def test_wrong_kinds_of_bodies(url: str, letter: str, kind: str) -> None:
    refused(letter, ask(url, *LARGE[letter], {"Content-Type": kind}, b"<a/>"))


@pytest.mark.parametrize("letter", LARGE)
def test_leave_to_send_is_given_and_refused(url: str, letter: str) -> None:
    expect = {"Expect": "100-continue"}
    with connect(url) as connection:  # granted, and then the body is refused
        connection.send(b"")
        refused(letter, connection.request(*LARGE[letter], expect, b"{}"))
    answer = ask(url, *LARGE[letter], {**expect, "Content-Length": str(50 * MB)})
    refused(letter, answer)


@pytest.mark.parametrize("letter", LARGE)
def test_a_client_that_leaves_in_the_middle(url: str, letter: str) -> None:
    with connect(url) as connection:
        method, path = LARGE[letter]
        connection.send(
            f"{method} {path} HTTP/1.1\r\nHost: shim\r\nContent-Length: 1000\r\n\r\n{{".encode()
        )


# Requests ----------------------------------------------------------------------


@pytest.mark.parametrize(
    "head",
    [
        "Content-Length: 4\r\nTransfer-Encoding: chunked",
        "Content-Length: 4\r\nContent-Length: 30",
        "Transfer-Encoding: gzip, chunked",
        "Transfer-Encoding : chunked",
        "Content-Length: 4\r\n folded",
        "X: \x00",
    ],
)
def test_what_two_servers_may_read_in_two_ways(url: str, head: str) -> None:
    smuggled = "0\r\n\r\nGET /health HTTP/1.1\r\nHost: x\r\n\r\n"
    with connect(url) as connection:
        connection.send(f"POST /face2/locate HTTP/1.1\r\nHost: x\r\n{head}\r\n\r\n".encode())
        connection.send(smuggled.encode())
        answer = connection.answer()
        assert answer.status in (400, 501)
        assert set(answer.json) == {"code", "message"}
        assert connection.ended()


def test_what_is_no_http(url: str) -> None:
    for sent in (b"GET /\r\n\r\n", b"\x16\x03\x01" + bytes(300), os.urandom(2000) + b"\r\n\r\n",
                 b"SSH-2.0-x\r\n", b"*1\r\n$4\r\nPING\r\n"):
        with connect(url) as connection:
            connection.send(sent)
            assert connection.answer().status in (400, 505)
            assert connection.ended()


def test_many_headers_and_a_long_one(url: str) -> None:
    many = {f"X-{number}": "y" for number in range(1000)}
    assert ask(url, "GET", "/health", many).status == 431
    assert ask(url, "GET", "/health", {"X-Long": "y" * 100_000}).status == 431
    assert ask(url, "GET", "/" + "y" * 100_000).status == 431


def test_requests_ahead(url: str) -> None:
    with connect(url) as connection:
        connection.send(b"GET /docs HTTP/1.1\r\nHost: x\r\n\r\n" * 10)
        assert [connection.answer().status for _ in range(10)] == [200] * 10
        connection.send(b"GET /docs HTTP/1.1\r\nHost: x\r\n\r\n" * 5000)
        while not connection.ended():
            pass


# Crowds ------------------------------------------------------------------------


def test_others_are_served_meanwhile(idle_stack: Stack) -> None:
    """Slow heads, slow bodies, readers of nothing, in hundreds."""
    key = f"X-API-Key: {idle_stack.credentials.api_key}\r\n"
    post = "POST /face2/locate HTTP/1.1\r\nHost: x\r\n"
    kinds = [
        post, post + "X: ", post + "Content-Length: 9000000\r\n\r\n{",
        post + "Transfer-Encoding: chunked\r\n\r\n1\r\n{",
        "", "GET /docs HTTP/1.1\r\nHost: x\r\n\r\n" * 16,
        f"GET /jobs/{'0' * 32}?wait=30 HTTP/1.1\r\nHost: x\r\n{key}\r\n",
    ]
    with contextlib.ExitStack() as crowd:
        for number in range(350):
            connection = crowd.enter_context(connect(idle_stack.url))
            connection.send(kinds[number % len(kinds)].encode())
        for _ in range(20):
            serve_others(idle_stack)


def test_bodies_without_end_do_not_keep_others_out(idle_stack: Stack) -> None:
    """Ten unfinished bodies fill the memory for bodies; the process stays small."""
    assert idle_stack.shim is not None
    process = psutil.Process(idle_stack.shim.pid)
    before = process.memory_info().rss
    with contextlib.ExitStack() as crowd:
        for _ in range(14):
            connection = crowd.enter_context(connect(idle_stack.url))
            connection.send(
                b"POST /face2/locate HTTP/1.1\r\nHost: x\r\nContent-Length: 12000000\r\n\r\n"
                + bytes(11_900_000)
            )
        assert process.memory_info().rss - before < 400 * MB
        until = time.monotonic() + TIMEOUT_S
        picture = json.dumps({"appId": "x" * 5 * MB}).encode()
        while ask(idle_stack.url, "POST", "/face2/locate", {}, picture).json["code"] == 9904:
            assert time.monotonic() < until
            time.sleep(0.5)


@pytest.mark.heavy
def test_the_slow_are_cut_off(idle_stack: Stack) -> None:
    """A head that never ends, a body of a byte a second, nothing at all: each has its time,
    which is not that of the others."""
    post = b"POST /face2/locate HTTP/1.1\r\nHost: x\r\n"
    with contextlib.ExitStack() as crowd:
        silent, head, body = (crowd.enter_context(connect(idle_stack.url)) for _ in range(3))
        head.send(post + b"X: ")
        body.send(post + b"Content-Length: 1000\r\n\r\n")
        until = time.monotonic() + TIMEOUT_S
        while not body.has_answer():
            assert time.monotonic() < until
            body.send(b" ")
            serve_others(idle_stack)
            time.sleep(1)
        assert refused("e", body.answer())["code"] == 9801
        assert head.ended()
        assert silent.ended()


def test_one_connection_too_many(idle_stack: Stack) -> None:
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    shim = idle_stack.cluster.shim(port=port, max_connections=8)
    with shim, contextlib.ExitStack() as crowd:
        until = time.monotonic() + TIMEOUT_S
        while True:
            with contextlib.suppress(ConnectionError):
                if ask(url, "GET", "/health").status == 200:
                    break
            assert shim.alive, idle_stack.cluster.logs()
            assert time.monotonic() < until
            time.sleep(0.1)
        silent = [crowd.enter_context(connect(url)) for _ in range(30)]
        assert ask(url, "GET", "/health").status == 200  # silent connections are closed
        assert silent[0].ended()
        for _ in range(8):
            busy = crowd.enter_context(connect(url))
            busy.send(b"POST /face2/locate HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n")
        while "retry-after" not in ask(url, *LARGE["a"]).headers:
            assert time.monotonic() < until  # the eight have come through
            time.sleep(0.05)
        for letter, (method, path) in LARGE.items():
            answer = ask(url, method, path)
            refused(letter, answer)
            assert answer.headers["retry-after"]
