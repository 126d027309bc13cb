"""Nothing that a stranger sends leads to this machine or to its neighbours."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial

import pytest

from pipeline.errors import DownloadRefused, FaceError
from pipeline.fetching import connections
from pipeline.fetching.addresses import Address, AddressPolicy
from pipeline.fetching.base import FetchRefused
from pipeline.fetching.client import FetchLimits, WebFetcher
from pipeline.fetching.connections import Connector, system_tls_context
from pipeline.fetching.post import WebPoster
from pipeline.fetching.resolver import Resolver
from tests.picture_server import PictureServer, body, redirect
from tests.unit.fetching.canary import Canary, careless_fetch
from tests.unit.fetching.targets import ALL, ON_LOOPBACK, REBINDING, REDIRECTOR, Target

# A machine without IPv6 counts some fewer of the last two (83 and 42 with it).
FEWEST_TARGETS = 100
FEWEST_DANGEROUS = 60
FEWEST_UNCHECKED = 30
UNCHECKED_S = 1.0

# Made once: reading the system's certificates takes longer than a test.
TLS = system_tls_context()


@pytest.fixture(scope="module")
def redirector() -> Iterator[PictureServer]:
    with PictureServer(REDIRECTOR) as server:
        yield server


@pytest.fixture(scope="module")
def canary(redirector: PictureServer) -> Iterator[Canary]:
    with Canary() as listening:
        # Where a name that is rebound would lead: the same port, another address.
        listening.join("127.0.0.1", redirector.port)
        with suppress(OSError):
            listening.join("::1", redirector.port)
        yield listening


@dataclass
class NameServer:
    """Answers a name of the target by its script, and other names like the system."""

    target: Target
    asked: dict[str, int] = field(default_factory=dict)

    def texts(self, host: str) -> list[str]:
        answers = self.target.names.get(host)
        if answers is None:
            if host.endswith("example"):
                raise OSError("no such name")
            found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
            return [str(answer[4][0]) for answer in found]
        number = self.asked.get(host, 0)
        self.asked[host] = number + 1
        return answers[min(number, len(answers) - 1)]

    def addresses(self, host: str) -> list[Address]:
        return [ipaddress.ip_address(text) for text in self.texts(host)]


def prepare(target: Target, canary: Canary, redirector: PictureServer) -> str:
    """The target's URL, with the ports of this run."""
    def filled(text: str) -> str:
        public = redirector.url(host="b.example" if "b.example" in target.names else None)
        places = {"{p}": canary.ports[0], "{q}": canary.ports[1], "{public}": public[:-1]}
        for place, value in places.items():
            text = text.replace(place, str(value))
        return text

    redirector.serve("/", body(b"the public server"))
    for path, location in target.redirects.items():
        redirector.serve(path, redirect(filled(location)))
    return filled(target.url)


def careful(
    target: Target, canary: Canary, redirector: PictureServer, deadline_s: float = 30.0
) -> WebFetcher:
    """The real fetcher. It may use every port that plays a part, and the redirector."""
    policy = AddressPolicy(allow=(ipaddress.ip_network(REDIRECTOR),))
    ports = frozenset({80, 443, redirector.port, *canary.ports})
    resolver = Resolver(NameServer(target).addresses)
    return WebFetcher(Connector(policy, resolver, TLS), FetchLimits(100, deadline_s, ports))


@pytest.mark.parametrize("target", ALL.values(), ids=ALL)
def test_no_connection_reaches_the_canary(
    target: Target, canary: Canary, redirector: PictureServer
) -> None:
    url = prepare(target, canary, redirector)
    canary.visits()
    fetcher = careful(target, canary, redirector)
    if target in (REBINDING["rebinding"], REBINDING["rebinding to IPv6"]):
        # Looked up once: the address that passed is the one that is connected to.
        assert fetcher.fetch(url) == b"the public server"
    else:
        with pytest.raises(DownloadRefused):
            fetcher.fetch(url)
    assert canary.visits() == 0
    # Webhooks go the same way, and follow no redirect at all.
    poster = WebPoster(fetcher._connector, 30.0, fetcher._limits.ports)
    with suppress(FetchRefused):
        answer = poster.post(url, {}, b"{}")
        assert answer.status == 302 or target in REBINDING.values()
    assert canary.visits() == 0


def test_the_targets_are_dangerous(canary: Canary, redirector: PictureServer) -> None:
    """Careless code does reach the canary: the suite would see it."""
    reached = set()
    for name, target in ON_LOOPBACK.items():
        url = prepare(target, canary, redirector)
        if canary.reached_by(partial(careless_fetch, url, NameServer(target).texts)):
            reached.add(name)
    assert len(ALL) >= FEWEST_TARGETS
    assert len(reached) >= FEWEST_DANGEROUS, sorted(ON_LOOPBACK.keys() - reached)


def fetched(fetcher: WebFetcher, url: str) -> bytes | None:
    with suppress(FaceError):
        return fetcher.fetch(url)
    return None


def test_with_the_check_off_the_fetcher_gets_there(
    canary: Canary, redirector: PictureServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is the check of addresses that keeps it away, not an accident before it."""
    monkeypatch.setattr(AddressPolicy, "permits", lambda policy, address: True)
    monkeypatch.setattr(connections, "_is_own", lambda address: False)
    reached = set()
    for name, target in ON_LOOPBACK.items():
        url = prepare(target, canary, redirector)
        fetcher = careful(target, canary, redirector, UNCHECKED_S)
        if canary.reached_by(partial(fetched, fetcher, url)):
            reached.add(name)
    assert len(reached) >= FEWEST_UNCHECKED, sorted(ON_LOOPBACK.keys() - reached)


def test_an_address_of_this_machine_is_refused_even_if_it_is_public(
    canary: Canary, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server on the internet has one, and its local services may trust the machine."""
    monkeypatch.setattr("pipeline.fetching.addresses.is_public", lambda address: True)
    canary.visits()
    for host in ("127.0.0.1", "[::1]", "0.0.0.0", "[::]"):
        target = Target("")
        with PictureServer() as nobody, pytest.raises(DownloadRefused):
            careful(target, canary, nobody).fetch(f"http://{host}:{canary.ports[0]}/")
    assert canary.visits() == 0


def test_ports(canary: Canary) -> None:
    """Only ports that the operator named are allowed, for every address."""
    policy = AddressPolicy(allow=(ipaddress.ip_network("0.0.0.0/0"),))
    fetcher = WebFetcher(Connector(policy), FetchLimits(100, 5.0, frozenset({80, 443})))
    canary.visits()
    for port in (canary.ports[0], 0, 22, 6379, 65536, 99999):
        with pytest.raises(DownloadRefused):
            fetcher.fetch(f"http://127.0.0.1:{port}/")
    assert canary.visits() == 0
