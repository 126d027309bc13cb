"""A client that puts a service under load and takes little of the machine itself.

One process with one event loop; the requests are bytes made before the clock starts, sent
over connections that stay open, and the answers are looked at after it has stopped.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib.util import find_spec
from urllib.parse import urlsplit

import psutil

ANSWER_S = 120.0


@dataclass(frozen=True, slots=True)
class Answer:
    """``seconds`` from the first byte sent to the last byte received."""

    status: int
    body: bytes
    seconds: float


@dataclass(frozen=True, slots=True)
class Load:
    """One measurement: the answers in the order of their end, and what they took.

    ``cpu_s`` is the processor time of the service, ``client_cpu_s`` that of this process.
    """

    answers: Sequence[Answer]
    wall_s: float
    cpu_s: float
    client_cpu_s: float

    @property
    def rate(self) -> float:
        return len(self.answers) / self.wall_s

    @property
    def cpu_ms(self) -> float:
        """Of one request."""
        return 1000 * self.cpu_s / len(self.answers)

    @property
    def client_cpu_ms(self) -> float:
        return 1000 * self.client_cpu_s / len(self.answers)

    def quantile_ms(self, share: float) -> float:
        """The time within which ``share`` of the requests are answered."""
        ordered = sorted(answer.seconds for answer in self.answers)
        return 1000 * ordered[min(int(share * len(ordered)), len(ordered) - 1)]


def post(url: str, path: str, body: bytes, headers: Mapping[str, str]) -> bytes:
    """A request, ready to be sent."""
    lines = [f"POST {path} HTTP/1.1", f"Host: {urlsplit(url).netloc}",
             f"Content-Length: {len(body)}", *(f"{name}: {v}" for name, v in headers.items())]
    return "\r\n".join([*lines, "", ""]).encode() + body


def load(
    url: str, requests: Sequence[bytes], clients: int, seconds: float, service: int
) -> Load:
    """Send ``requests`` from ``clients`` at once, each once, until all are sent or the time
    is over; ``service`` is the first process of the service."""
    loop_factory: Callable[[], asyncio.AbstractEventLoop] | None = None
    if find_spec("uvloop"):
        import uvloop

        loop_factory = uvloop.new_event_loop
    answers: list[Answer] = []
    work = _all_clients(url, iter(requests), clients, seconds, answers)
    cpu, own, began = tree_cpu_s(service), time.process_time(), time.perf_counter()
    with asyncio.Runner(loop_factory=loop_factory) as runner:
        runner.run(work)
    return Load(
        answers, time.perf_counter() - began, tree_cpu_s(service) - cpu,
        time.process_time() - own,
    )


def tree_cpu_s(pid: int) -> float:
    """Processor seconds so far of a process, its descendants, and the ended ones that their
    parents have waited for."""
    total, parent = 0.0, psutil.Process(pid)
    for process in [parent, *parent.children(recursive=True)]:
        with suppress(psutil.NoSuchProcess):
            total += sum(process.cpu_times()[:4])
    return total


async def _all_clients(
    url: str, requests: Iterator[bytes], clients: int, seconds: float, answers: list[Answer]
) -> None:
    until = time.perf_counter() + seconds
    async with asyncio.TaskGroup() as group:
        for _ in range(clients):
            group.create_task(_client(url, requests, until, answers))


async def _client(
    url: str, requests: Iterator[bytes], until: float, answers: list[Answer]
) -> None:
    address = urlsplit(url)
    reader, writer = await asyncio.open_connection(address.hostname, address.port)
    for request in requests:
        start = time.perf_counter()
        writer.write(request)
        async with asyncio.timeout(ANSWER_S):
            status, body = await _answer(reader)
        now = time.perf_counter()
        answers.append(Answer(status, body, now - start))
        if now > until:
            break
    writer.close()


async def _answer(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    length = head.split(b"content-length:")[1].split(b"\r\n", 1)[0]
    return int(head.split(b" ", 2)[1]), await reader.readexactly(int(length))
