"""A server that behaves, and all the ways in which one may not."""

from __future__ import annotations

import logging
import random
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

import pytest

from pipeline.errors import DownloadRefused, DownloadTimedOut, MediaTooLarge
from pipeline.fetching.addresses import Address, AddressPolicy
from pipeline.fetching.base import Deadline, FetchRefused, FetchTooLarge
from pipeline.fetching.client import HEADERS, FetchLimits, WebFetcher
from pipeline.fetching.connections import Connector
from pipeline.fetching.exchange import MAX_HEAD_BYTES, MAX_INTERIM_RESPONSES, HttpExchange
from pipeline.fetching.resolver import Resolver
from pipeline.fetching.urls import FetchTarget
from tests.picture_server import (
    Answer,
    PictureServer,
    body,
    chunked,
    drip,
    raw,
    redirect,
    status,
)
from tests.unit.fetching.fetcher import DEADLINE_S, MOST, PICTURE, Names, fetcher_of

PLACE = FetchTarget("http", "a.example", 80, "/")


def test_a_picture(pictures: PictureServer) -> None:
    url = pictures.serve("/a.jpg?v=1&n=%E5%9B%BE", body(PICTURE, "Content-Type: image/jpeg"))
    assert fetcher_of(pictures).fetch(url) == PICTURE
    (asked,) = pictures.asked
    assert asked.line == "GET /a.jpg?v=1&n=%E5%9B%BE HTTP/1.1"
    assert asked.headers == {
        "host": f"127.0.0.1:{pictures.port}", "user-agent": "faceline", "accept": "image/*",
        "accept-encoding": "identity", "connection": "close",
    }


def test_what_a_path_cannot_have_is_encoded(pictures: PictureServer) -> None:
    pictures.serve("/%E5%9B%BE%7C%7B.jpg", body(PICTURE))
    assert fetcher_of(pictures).fetch(pictures.url("/图|{.jpg#top")) == PICTURE


def test_a_name_is_looked_up_once_and_sent_as_host(pictures: PictureServer) -> None:
    pictures.serve("/", body(PICTURE))
    fetcher = fetcher_of(pictures, {"xn--fiq228c.example": ["127.0.0.1"]})
    assert fetcher.fetch(f"http://中文.EXAMPLE.:{pictures.port}") == PICTURE
    assert pictures.asked[0].headers["host"] == f"xn--fiq228c.example:{pictures.port}"


def test_the_next_address_of_a_name_is_tried(pictures: PictureServer) -> None:
    """127.0.0.2 refuses the connection; the operator allows both."""
    pictures.serve("/", body(PICTURE))
    names: Names = {"two.example": ["127.0.0.2", "127.0.0.1"]}
    both = fetcher_of(pictures, names, network="127.0.0.0/30")
    assert both.fetch(pictures.url(host="two.example")) == PICTURE
    with pytest.raises(DownloadRefused):  # one that is not allowed is one too many
        fetcher_of(pictures, names).fetch(pictures.url(host="two.example"))


def test_both_families_are_tried() -> None:
    """Many addresses of the one that leads nowhere do not hide the other's."""
    names: Names = {"many.example": [*(f"127.0.0.{n}" for n in range(2, 12)), "::1"]}
    try:
        server = PictureServer("::1").start()
    except OSError:
        pytest.skip("this machine has no IPv6")
    with closing(server):
        server.serve("/", body(PICTURE))
        fetcher = fetcher_of(server, names, network="127.0.0.0/24")
        assert fetcher.fetch(server.url(host="many.example")) == PICTURE


@pytest.mark.parametrize(
    "answer",
    [
        chunked(PICTURE[:10], PICTURE[10:]),
        raw(b"HTTP/1.1 200 OK\r\n\r\n" + PICTURE),
        raw(b"HTTP/1.0 200 OK\r\n\r\n" + PICTURE),
        raw(b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 103 Early Hints\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % MOST, PICTURE),
        body(PICTURE, "Content-Encoding: identity"),
        body(PICTURE + b"more than was announced", length=MOST),
    ],
    ids=["chunked", "until the end", "HTTP/1.0", "interim", "identity", "longer than announced"],
)
def test_ways_of_sending(pictures: PictureServer, answer: Answer) -> None:
    assert fetcher_of(pictures).fetch(pictures.serve("/", answer)) == PICTURE


@pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
def test_three_redirects_are_followed(pictures: PictureServer, code: int) -> None:
    pictures.serve("/there/a.jpg", body(PICTURE))
    pictures.serve("/there/3", redirect("a.jpg", code))
    pictures.serve("/2", redirect("/there/3", code))
    url = pictures.serve("/1", redirect(pictures.url("/2"), code))
    assert fetcher_of(pictures).fetch(url) == PICTURE
    with pytest.raises(DownloadRefused):
        fetcher_of(pictures).fetch(pictures.serve("/0", redirect(url, code)))
    assert not [asked for asked in pictures.asked[4:] if "a.jpg" in asked.line]


REFUSED: dict[str, Answer] = {
    "no such picture": status(404),
    "forbidden": status(403),
    "a fault": status(500),
    "nothing": status(204),
    "a part": status(206),
    "not modified": status(304),
    "compressed": body(PICTURE, "Content-Encoding: gzip"),
    "compressed twice": body(PICTURE, "Content-Encoding: identity", "Content-Encoding: br"),
    "a compressed transfer": raw(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n"),
    "shorter than announced": body(PICTURE[:-1], length=MOST),
    "no end of chunks": chunked(PICTURE, end=False),
    "a bad chunk": raw(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"),
    "two lengths": body(PICTURE, "Content-Length: 1"),
    "a negative length": raw(b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n"),
    "no number": raw(b"HTTP/1.1 200 OK\r\nContent-Length: ten\r\n\r\n"),
    "an endless head": raw(b"HTTP/1.1 200 OK\r\n", b"X: y\r\n" * MAX_HEAD_BYTES),
    "a long header": raw(b"HTTP/1.1 200 OK\r\nX: " + b"y" * 2 * MAX_HEAD_BYTES),
    "interim for ever": raw(b"HTTP/1.1 100 Continue\r\n\r\n" * (MAX_INTERIM_RESPONSES + 2)),
    "another protocol": raw(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n" + PICTURE),
    "no head": raw(PICTURE),
    "HTTP/0.9": raw(b"<html></html>"),
    "Redis": raw(b"-ERR unknown command 'GET'\r\n"),
    "silence": raw(),
    "half a head": raw(b"HTTP/1.1 200 OK\r\nContent-"),
    "a redirect to nowhere": raw(b"HTTP/1.1 302 Found\r\nContent-Length: 0\r\n\r\n"),
    "two redirects": raw(b"HTTP/1.1 302 Found\r\nLocation: /a\r\nLocation: /b\r\n\r\n"),
    "a redirect in Latin-1": raw(b"HTTP/1.1 302 Found\r\nLocation: /\xe9\r\n\r\n"),
    "a redirect with a line break": raw(b"HTTP/1.1 302 Found\r\nLocation: /a\tb\r\n\r\n"),
    "a redirect to itself": redirect("/"),
}


@pytest.mark.parametrize("answer", REFUSED.values(), ids=REFUSED)
def test_one_error_whatever_went_wrong(pictures: PictureServer, answer: Answer) -> None:
    with pytest.raises(DownloadRefused) as failed:
        fetcher_of(pictures).fetch(pictures.serve("/", answer))
    assert failed.value.message == DownloadRefused().message
    assert failed.value.__cause__ is None


def endless(connection: socket.socket) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    while True:
        connection.sendall(b"1000\r\n" + bytes(0x1000) + b"\r\n")


@pytest.mark.parametrize(
    "answer",
    [
        body(PICTURE + b"x"), body(b"", length=10**15), chunked(PICTURE, b"x"), endless,
        raw(b"HTTP/1.1 200 OK\r\n\r\n" + PICTURE + b"x"),
    ],
    ids=["by a byte", "announced", "chunked", "endless", "until the end"],
)
def test_too_large(pictures: PictureServer, answer: Answer) -> None:
    with pytest.raises(MediaTooLarge):
        fetcher_of(pictures).fetch(pictures.serve("/", answer))


def test_chunks_of_a_byte_are_not_read_for_long(pictures: PictureServer) -> None:
    frames = b"1\r\nx\r\n" * MOST
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    with pytest.raises(DownloadRefused):
        fetcher_of(pictures).fetch(pictures.serve("/", raw(head + frames + b"0\r\n\r\n")))
    few = raw(head + b"1\r\nx\r\n" * 1000 + b"0\r\n\r\n")
    assert fetcher_of(pictures).fetch(pictures.serve("/", few)) == b"x" * 1000


def hang(connection: socket.socket) -> None:
    connection.recv(1)


SLOW: dict[str, Answer] = {
    "no answer": hang,
    "a head by the byte": drip(b"HTTP/1.1 200 OK\r\nX: " + b"y" * 100),
    "a body by the byte": lambda c: (body(b"", length=100)(c), drip(bytes(100))(c))[0],
    "chunks by the byte": chunked(*[b"x"] * 100, pause_s=0.05),
    "interim by the second": raw(*[b"HTTP/1.1 100 Continue\r\n\r\n"] * 8, pause_s=0.2),
}


@pytest.mark.parametrize("answer", SLOW.values(), ids=SLOW)
def test_the_deadline_is_over_everything(pictures: PictureServer, answer: Answer) -> None:
    url = pictures.serve("/", answer)
    start = time.monotonic()
    with pytest.raises(DownloadTimedOut):
        fetcher_of(pictures, deadline_s=DEADLINE_S).fetch(url)
    # Read to its end, each of these would have been a picture or another error.
    assert time.monotonic() - start > DEADLINE_S * 0.9


def test_redirects_share_the_deadline(pictures: PictureServer) -> None:
    slow = DEADLINE_S / 2.5
    for number in range(4):
        to = f"HTTP/1.1 302 Found\r\nLocation: /{number + 1}\r\n".encode()
        pictures.serve(f"/{number}", raw(to, b"\r\n", pause_s=slow))
    with pytest.raises(DownloadTimedOut):
        fetcher_of(pictures, deadline_s=DEADLINE_S).fetch(pictures.url("/0"))
    assert len(pictures.asked) <= 3


@contextmanager
def full() -> Iterator[int]:
    """The port of a listener that never accepts and whose backlog is full."""
    with ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        for _ in range(4):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(listener.getsockname())
        yield int(listener.getsockname()[1])


def test_a_server_that_does_not_accept() -> None:
    """The handshake of TCP never ends."""
    server = PictureServer()
    with full() as server.port, pytest.raises(DownloadTimedOut):
        fetcher_of(server, deadline_s=DEADLINE_S).fetch(server.url())


def test_a_closed_port(pictures: PictureServer) -> None:
    pictures.close()
    with pytest.raises(DownloadRefused):
        fetcher_of(pictures).fetch(pictures.url())
    pictures.start()


def test_nothing_comes_from_the_environment(
    pictures: PictureServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with PictureServer() as proxy:
        for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY", "https_proxy"):
            monkeypatch.setenv(name, proxy.url())
        monkeypatch.setenv("HOME", str(tmp_path))
        (tmp_path / ".netrc").write_text("machine 127.0.0.1 login someone password secret")
        pictures.serve("/b", body(PICTURE))
        there = raw(b"HTTP/1.1 302 Found\r\nSet-Cookie: a=b\r\nLocation: /b\r\n\r\n")
        assert fetcher_of(pictures).fetch(pictures.serve("/a", there)) == PICTURE
        assert proxy.asked == []
    for asked in pictures.asked:
        assert not {"authorization", "cookie", "referer"} & set(asked.headers)


def test_the_log_has_the_reason_and_no_secret(
    pictures: PictureServer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    url = pictures.serve("/a?token=hunter2", status(403))
    with pytest.raises(DownloadRefused):
        fetcher_of(pictures).fetch(url)
    assert "127.0.0.1: status 403" in caplog.text
    assert "hunter2" not in caplog.text


MUTATED = 600
SEEDS = (
    b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nA: b\r\n\r\n",
    b"HTTP/1.1 302 Found\r\nLocation: http://b.example/\r\n\r\n",
    b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.0 200 OK\r\nContent-Encoding: identity\r\n\r\nabc",
)


def test_mutated_responses() -> None:
    """Any response gives a body, a redirect or a failure."""
    chosen = random.Random(3)
    outcomes = set[type]()
    for _ in range(MUTATED):
        sent = bytearray(chosen.choice(SEEDS))
        for _ in range(chosen.randint(0, 3)):
            at = chosen.randrange(len(sent))
            sent[at : at + chosen.randint(0, 4)] = chosen.randbytes(chosen.randint(0, 4))
        ours, theirs = socket.socketpair()
        with ours, theirs:
            theirs.sendall(sent)
            theirs.shutdown(socket.SHUT_WR)
            try:
                outcome = HttpExchange(ours, Deadline(30)).get(PLACE, HEADERS, 4)
            except (FetchRefused, FetchTooLarge) as failure:
                outcomes.add(type(failure))
            else:
                outcomes.add(type(outcome))
                assert len(outcome) <= (4 if isinstance(outcome, bytes) else 100)
    assert outcomes == {bytes, str, FetchRefused, FetchTooLarge}


# Looking names up -----------------------------------------------------------------


def test_a_slow_name_server_costs_the_deadline_and_few_threads(
    pictures: PictureServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Threads that hang hold their places; the next lookups wait for one and time out."""
    monkeypatch.setattr("pipeline.fetching.resolver.MAX_LOOKUPS", 2)
    asked: list[str] = []
    release = threading.Event()

    def look_up(host: str) -> list[Address]:
        asked.append(host)
        release.wait(30)
        return []

    fetcher = WebFetcher(
        Connector(AddressPolicy(), Resolver(look_up)), FetchLimits(1, 0.1, frozenset({80}))
    )
    try:
        for number in range(5):
            with pytest.raises(DownloadTimedOut):
                fetcher.fetch(f"http://host-{number}.example/")
        assert len(asked) == 2
    finally:
        release.set()


@pytest.mark.parametrize("error", [OSError("no such name"), ValueError("too long"), None])
def test_names_that_lead_nowhere(error: Exception | None) -> None:
    def look_up(host: str) -> list[Address]:
        if error is not None:
            raise error
        return []

    fetcher = WebFetcher(
        Connector(AddressPolicy(), Resolver(look_up)), FetchLimits(1, 5.0, frozenset({80}))
    )
    with pytest.raises(DownloadRefused):
        fetcher.fetch("http://host.example/")
