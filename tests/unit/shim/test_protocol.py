"""Heads of requests: bounded in size and time; bodies untouched by that."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
import uvicorn
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.server import ServerState

from api_shim import protocol
from api_shim.protocol import MAX_HEAD_BYTES, ConnectionSlots, bounded_protocol
from tests.waiting import TIMEOUT_S

HEAD = b"POST / HTTP/1.1\r\nHost: x\r\n"

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def length(scope: Scope, receive: Receive, send: Send) -> None:
    """Answers with the length of the body."""
    body = await Request(scope, receive).body()
    await PlainTextResponse(str(len(body)))(scope, receive, send)


@asynccontextmanager
async def listening(
    app: ASGIApp, places: ConnectionSlots | None = None
) -> AsyncIterator[tuple[str, int]]:
    """The address of a server."""
    kind = bounded_protocol(places or ConnectionSlots())
    config = uvicorn.Config(app, http=kind, lifespan="off", log_config=None)
    config.load()
    state = ServerState()
    server = await asyncio.get_running_loop().create_server(
        lambda: kind(config=config, server_state=state, app_state={}), "127.0.0.1", 0
    )
    try:
        yield server.sockets[0].getsockname()
    finally:
        server.close()


@asynccontextmanager
async def connected() -> AsyncIterator[Streams]:
    async with listening(length) as address:
        reader, writer = await asyncio.open_connection(*address)
        try:
            yield reader, writer
        finally:
            writer.close()


def converse(talk: Callable[[Streams], Awaitable[None]]) -> None:
    async def scene() -> None:
        async with asyncio.timeout(TIMEOUT_S), connected() as streams:
            await talk(streams)

    asyncio.run(scene())


async def answer(streams: Streams, *pieces: bytes) -> bytes:
    """The body of the answer to a request; empty when the connection was cut."""
    reader, writer = streams
    try:
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
        head = await reader.readuntil(b"\r\n\r\n")
        size = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
        return await reader.readexactly(size)
    except (ConnectionError, asyncio.IncompleteReadError):
        return b""


def test_requests_on_one_connection() -> None:
    big = 5_000_000
    cookie = b"Cookie: " + b"c" * (MAX_HEAD_BYTES // 2) + b"\r\n"

    async def talk(streams: Streams) -> None:
        for _ in range(3):  # the bound is on each head, not on the connection
            whole = HEAD + cookie + b"Content-Length: 4\r\n\r\nbody"
            assert await answer(streams, whole) == b"4"
        head = HEAD + f"Content-Length: {big}\r\n\r\n".encode()
        assert await answer(streams, head, *[b"x" * 1000] * (big // 1000)) == b"5000000"
        chunks = [b"3e8\r\n" + b"x" * 1000 + b"\r\n"] * 1000
        chunked = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
        assert await answer(streams, chunked, *chunks, b"0\r\n\r\n") == b"1000000"

    converse(talk)


@pytest.mark.parametrize(
    ("start", "more"),
    [
        (HEAD + b"X-Long: ", b"a" * 1000),
        (HEAD, b"X-Many: " + b"a" * 1000 + b"\r\n"),
        (b"GET /", b"a" * 1000),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\nX-Trailer: ", b"a" * 1000),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\n1;", b"a" * 1000),
    ],
    ids=["header", "headers", "url", "trailer", "chunk extension"],
)
def test_an_endless_head_is_cut(start: bytes, more: bytes) -> None:
    async def talk(streams: Streams) -> None:
        # A client that keeps sending may miss the answer: the connection is closed by then.
        got = await answer(streams, start, *[more] * 100_000)
        assert got in (b"", b'{"code":"bad_request","message":"The request\'s head is too long."}')

    converse(talk)


@pytest.mark.parametrize("sent", [b"", HEAD, HEAD + b"\r\n" + HEAD])
def test_a_slow_head_is_cut(monkeypatch: pytest.MonkeyPatch, sent: bytes) -> None:
    monkeypatch.setattr(protocol, "HEAD_TIMEOUT_S", 0.05)

    async def talk(streams: Streams) -> None:
        reader, writer = streams
        writer.write(sent)
        while await reader.read(1000):
            pass

    converse(talk)


def test_a_slow_body_is_not_cut_by_that(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "HEAD_TIMEOUT_S", 1.0)  # a busy machine needs some

    async def talk(streams: Streams) -> None:
        _, writer = streams
        writer.write(HEAD + b"Content-Length: 4\r\n\r\n")
        await asyncio.sleep(1.5)
        assert await answer(streams, b"body") == b"4"

    converse(talk)


async def key_length(scope: Scope, receive: Receive, send: Send) -> None:
    """Answers with the length of the value of `X-API-Key`."""
    key = dict(scope["headers"])[b"x-api-key"]
    await PlainTextResponse(str(len(key)))(scope, receive, send)


@pytest.mark.parametrize("blanks", [("", ""), (" ", " "), ("\t", "\t"), (" \t ", "\t  \t")])
def test_blanks_around_a_value_are_no_part_of_it(blanks: tuple[str, str]) -> None:
    async def scene() -> None:
        async with asyncio.timeout(TIMEOUT_S), listening(key_length) as address:
            streams = await asyncio.open_connection(*address)
            line = f"X-API-Key:{blanks[0]}a b{blanks[1]}\r\n".encode()
            head = b"GET / HTTP/1.1\r\nHost: x\r\n" + line + b"\r\n"
            # in pieces, too: the parser may hand a value over in several
            for pieces in ([head], [head[:-3], head[-3:]], [bytes([each]) for each in head]):
                assert await answer(streams, *pieces) == b"3"
            streams[1].close()

    asyncio.run(scene())


@pytest.mark.parametrize(
    ("start", "accepted"),
    [
        ("POST / HTTP/1.1\r\n", False),
        ("POST / HTTP/1.1\r\nX-Host: x\r\n", False),
        ("POST / HTTP/1.1\r\nHost: x\r\nHost: x\r\n", False),
        ("POST / HTTP/1.1\r\nHost: x y\r\n", False),
        ("POST / HTTP/1.1\r\nHost: x/y\r\n", False),
        ("POST / HTTP/1.1\r\nHost: user@x\r\n", False),
        ("POST / HTTP/1.1\r\nHost: x, y\r\n", False),
        ("POST / HTTP/1.0\r\nHost: x\r\nHost: y\r\n", False),
        ("POST / HTTP/1.1\r\nHost:\r\n", True),
        ("POST / HTTP/1.1\r\nHost: face_1.example:8600\r\n", True),
        ("POST / HTTP/1.1\r\nHost: [::1]:8600\r\n", True),
        ("POST / HTTP/1.0\r\n", True),
    ],
)
def test_a_request_names_one_host(start: str, accepted: bool) -> None:
    async def talk(streams: Streams) -> None:
        whole = f"{start}Content-Length: 4\r\n\r\nbody".encode()
        got = await answer(streams, whole)
        assert got == b"4" if accepted else got.startswith(b'{"code":"bad_request","message":"The')

    converse(talk)
