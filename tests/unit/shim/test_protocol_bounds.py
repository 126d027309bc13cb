"""Malformed requests, requests ahead, too many connections, clients that do not read."""

from __future__ import annotations

import asyncio
import json
import re
from contextlib import suppress

import pytest
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.types import Receive, Scope, Send

from api_shim import protocol
from api_shim.protocol import MAX_HEADERS, MAX_PIPELINED, ConnectionSlots, check_connection_slot
from pipeline.errors import Overloaded
from tests.unit.shim.test_protocol import connected, listening
from tests.waiting import TIMEOUT_S

POST = b"POST / HTTP/1.1\r\nHost: x\r\n"
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"

# Bytes that two readers may cut into requests in two ways, and bytes that are not HTTP/1.1
# at all.
MALFORMED = {
    "both lengths": POST + b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "both, the other way": CHUNKED[:-2] + b"Content-Length: 4\r\n\r\n0\r\n\r\n",
    "two lengths": POST + b"Content-Length: 4\r\nContent-Length: 5\r\n\r\nabcde",
    "two equal lengths": POST + b"Content-Length: 4\r\nContent-Length: 4\r\n\r\nabcd",
    "a list of lengths": POST + b"Content-Length: 4, 4\r\n\r\nabcd",
    "a signed length": POST + b"Content-Length: +4\r\n\r\nabcd",
    "a negative length": POST + b"Content-Length: -4\r\n\r\nabcd",
    "a hexadecimal length": POST + b"Content-Length: 0x4\r\n\r\nabcd",
    "a length beyond numbers": POST + b"Content-Length: 99999999999999999999\r\n\r\nabcd",
    "a blank before the colon": POST + b"Content-Length : 4\r\n\r\nabcd",
    "an unknown encoding": POST + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "two encodings": POST + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "encodings in two lines": CHUNKED[:-2] + b"Transfer-Encoding: identity\r\n\r\n0\r\n\r\n",
    "an encoding in HTTP/1.0": CHUNKED.replace(b"1.1", b"1.0") + b"0\r\n\r\n",
    "a control before the encoding": POST + b"Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n",
    "line feeds alone": b"POST / HTTP/1.1\nHost: x\nContent-Length: 4\n\nabcd",
    "a folded header": POST + b"X-A: b\r\n Content-Length: 4\r\n\r\nabcd",
    "line feeds in chunks": CHUNKED + b"1\na\n0\n\n",
    "a hexadecimal chunk": CHUNKED + b"0x1\r\na\r\n0\r\n\r\n",
    "a negative chunk": CHUNKED + b"-1\r\na\r\n0\r\n\r\n",
    "a chunk beyond numbers": CHUNKED + b"fffffffffffffffff\r\na\r\n0\r\n\r\n",
    "HTTP/0.9": b"GET /\r\n\r\n",
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "HTTP/9": b"GET / HTTP/9.9\r\n\r\n",
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"x" * 200,
    "no target": b"GET  HTTP/1.1\r\n\r\n",
    "a NUL in the target": b"GET /\x00 HTTP/1.1\r\n\r\n",
    "no ASCII in the target": b"GET /\xff HTTP/1.1\r\n\r\n",
    "a NUL in a header": b"GET / HTTP/1.1\r\nX: a\x00b\r\n\r\n",
    "a target without a path": b"GET http://host HTTP/1.1\r\n\r\n",
    "a proxy's method": b"CONNECT a:443 HTTP/1.1\r\nHost: a\r\n\r\n",
    "too many headers": POST + b"X: y\r\n" * MAX_HEADERS + b"\r\n",
    "a long head": POST + b"X: " + b"y" * 70_000 + b"\r\n\r\n",
}


async def whole(reader: asyncio.StreamReader) -> bytes:
    try:
        return await reader.read(-1)
    except ConnectionError:
        return b""


@pytest.mark.parametrize("case", MALFORMED)
def test_malformed_requests_are_refused_once(case: str) -> None:
    async def scene() -> bytes:
        async with asyncio.timeout(TIMEOUT_S), connected() as (reader, writer):
            # Bytes that a second reader might take for another request.
            writer.write(MALFORMED[case] + b"GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n")
            return await whole(reader)

    head, _, body = asyncio.run(scene()).partition(b"\r\n\r\n")
    lines = head.lower().split(b"\r\n")
    assert re.fullmatch(rb"http/1.1 (400|431|501|505) [a-z -]+", lines[0])
    assert {b"connection: close", b"content-type: application/json"} <= set(lines)
    assert any(line.startswith(b"x-request-id: ") for line in lines)
    assert set(json.loads(body)) == {"code", "message"}


@pytest.mark.parametrize("other", [b"h2c", b"websocket", b"TLS/1.0"])
def test_another_protocol_is_not_taken_up(other: bytes) -> None:
    """As Java's client asks: the body is read, the connection goes on."""
    ask = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: " + other + b"\r\n"

    async def scene() -> None:
        async with asyncio.timeout(TIMEOUT_S), connected() as (reader, writer):
            for pieces in ([b"body"], [b"", b"bo", b"dy"]):
                writer.write(POST + ask + b"Content-Length: 4\r\n\r\n" + pieces[0])
                for piece in pieces[1:]:
                    await asyncio.sleep(0.01)
                    writer.write(piece)
                head = await reader.readuntil(b"\r\n\r\n")
                assert head.startswith(b"HTTP/1.1 200")
                assert await reader.readexactly(1) == b"4"

    asyncio.run(scene())


def test_requests_ahead_are_answered_in_order_and_bounded() -> None:
    def requests(count: int) -> bytes:
        return b"".join(
            POST + b"Content-Length: %d\r\n\r\n" % size + b"x" * size for size in range(count)
        )

    async def scene(count: int) -> list[int]:
        async with asyncio.timeout(TIMEOUT_S), connected() as (reader, writer):
            writer.write(requests(count))
            got, answers = b"", []
            with suppress(ConnectionError):
                while (piece := await reader.read(1000)) and got.count(b"HTTP") <= MAX_PIPELINED:
                    got += piece
                    if len(answers := re.findall(rb"\r\n\r\n(\d+)", got)) == count:
                        break
            return [int(body) for body in answers]

    assert asyncio.run(scene(MAX_PIPELINED)) == list(range(MAX_PIPELINED))
    assert len(asyncio.run(scene(10_000))) <= MAX_PIPELINED


def test_trailers_are_no_headers() -> None:
    seen = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await Request(scope, receive).body()
        seen.extend(scope["headers"])
        await PlainTextResponse("")(scope, receive, send)

    async def scene() -> None:
        async with asyncio.timeout(TIMEOUT_S), listening(app) as address:
            reader, writer = await asyncio.open_connection(*address)
            writer.write(CHUNKED + b"1\r\na\r\n0\r\nX-API-Key: k\r\n\r\n")
            await reader.readuntil(b"\r\n\r\n")
            writer.close()

    asyncio.run(scene())
    assert [name for name, _ in seen] == [b"host", b"transfer-encoding"]


async def polite(scope: Scope, receive: Receive, send: Send) -> None:
    """Answers when the body is there; 503 on a connection that is one too many."""
    try:
        check_connection_slot(scope)
        status = 200
        await Request(scope, receive).body()
    except Overloaded:
        status = 503
    await PlainTextResponse("", status, {"Connection": "keep-alive"})(scope, receive, send)


async def status(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> int:
    writer.write(POST + b"Content-Length: 0\r\n\r\n")
    return int((await reader.readuntil(b"\r\n\r\n")).split()[1])


def test_the_longest_waiting_give_way() -> None:
    async def scene() -> None:
        async with asyncio.timeout(TIMEOUT_S), listening(polite, ConnectionSlots(4)) as address:
            used = await asyncio.open_connection(*address)
            assert await status(*used) == 200
            silent = [await asyncio.open_connection(*address) for _ in range(3)]
            assert await status(*used) == 200  # it now waits for a shorter time than they
            for _ in range(20):
                newcomer = await asyncio.open_connection(*address)
                newcomer[1].write(POST)  # half a head
                silent.append(newcomer)
                assert await status(*used) == 200
            last = await asyncio.open_connection(*address)
            assert await status(*last) == 200
            for reader, writer in silent[:-3]:
                assert await whole(reader) == b""
                writer.close()
            for _, writer in (used, last, *silent[-3:]):
                writer.close()

    asyncio.run(scene())


def test_one_too_many_is_told_to_come_back() -> None:
    async def scene() -> None:
        async with asyncio.timeout(TIMEOUT_S), listening(polite, ConnectionSlots(3)) as address:
            busy = [await asyncio.open_connection(*address) for _ in range(3)]
            for _, writer in busy:
                writer.write(POST + b"Content-Length: 1\r\n\r\n")
            await asyncio.sleep(0.05)
            late = await asyncio.open_connection(*address)
            assert await status(*late) == 503
            for reader, writer in busy:
                writer.write(b"x")
                assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200")
            for _, writer in (late, *busy):
                writer.close()

    asyncio.run(scene())


def test_who_does_not_read_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "READ_CHECK_S", 0.5)
    left = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await PlainTextResponse("x" * 20_000_000)(scope, receive, send)
        assert (await receive())["type"] == "http.disconnect"
        left.append(True)

    async def scene() -> None:
        async with asyncio.timeout(TIMEOUT_S), listening(app) as address:
            reader, writer = await asyncio.open_connection(*address, limit=1000)
            writer.write(POST + b"\r\n")
            # Both sides run in one loop: three checks were made by then, even on a slow machine.
            await asyncio.sleep(2.0)
            assert len(await whole(reader)) < 20_000_000
            writer.close()
            reader, writer = await asyncio.open_connection(*address)
            writer.write(POST + b"\r\n")
            head = await reader.readuntil(b"\r\n\r\n")
            size = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
            assert len(await reader.readexactly(size)) == 20_000_000
            writer.close()

    asyncio.run(scene())
    assert left
