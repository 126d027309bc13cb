"""TLS: checked against the name, for every address."""

from __future__ import annotations

import socket
import ssl
import threading
from contextlib import suppress

import pytest

from pipeline.errors import DownloadRefused, DownloadTimedOut
from pipeline.fetching.connections import system_tls_context
from tests.authority import Authority
from tests.picture_server import PictureServer, body, drip, redirect
from tests.unit.fetching.fetcher import DEADLINE_S, PICTURE, fetcher_of


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


HOST = "pictures.example"


def over_tls(server: PictureServer, trusted: ssl.SSLContext, host: str = HOST) -> bytes:
    server.serve("/", body(PICTURE))
    fetcher = fetcher_of(server, {HOST: [server.host]}, tls=trusted, deadline_s=30.0)
    return fetcher.fetch(server.url(host=host))


def test_tls_is_checked_against_the_name(authority: Authority) -> None:
    named: list[str | None] = []
    serving = authority.serving(HOST)
    serving.set_servername_callback(lambda _, name, __: named.append(name))
    with PictureServer(tls=serving) as server:
        assert over_tls(server, authority.trusting()) == PICTURE
        assert server.asked[0].headers["host"] == f"{HOST}:{server.port}"
    assert named == [HOST]


def test_tls_to_an_address(authority: Authority) -> None:
    with PictureServer(tls=authority.serving("127.0.0.1")) as server:
        assert over_tls(server, authority.trusting(), host="127.0.0.1") == PICTURE


@pytest.mark.parametrize(
    ("hosts", "days"), [(("other.example", "127.0.0.1"), 1), ((HOST,), -1)],
    ids=["another name", "expired"],
)
def test_wrong_certificates(authority: Authority, hosts: tuple[str, ...], days: int) -> None:
    with PictureServer(tls=authority.serving(*hosts, days=days)) as server:
        with pytest.raises(DownloadRefused):
            over_tls(server, authority.trusting())
        assert server.asked == []


def test_an_authority_that_nobody_trusts(authority: Authority) -> None:
    with PictureServer(tls=authority.serving(HOST)) as server:
        with pytest.raises(DownloadRefused):
            over_tls(server, system_tls_context())
        assert server.asked == []


def test_no_tls_where_it_was_asked_for(authority: Authority, pictures: PictureServer) -> None:
    fetcher = fetcher_of(pictures, tls=authority.trusting())
    with pytest.raises(DownloadRefused):
        fetcher.fetch(pictures.url().replace("http:", "https:"))


def test_a_handshake_that_does_not_end() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        server = PictureServer()
        server.port = int(silent.getsockname()[1])
        with pytest.raises(DownloadTimedOut):
            fetcher_of(server, deadline_s=DEADLINE_S).fetch(f"https://127.0.0.1:{server.port}/")


def test_a_handshake_by_the_byte() -> None:
    """The beginning of a server's answer, so slowly that each read has something."""
    def answer(listener: socket.socket) -> None:
        connection, _ = listener.accept()
        with connection, suppress(OSError):
            drip(b"\x16\x03\x03\x10\x00\x02\x00\x0f\xfc" + bytes(200))(connection)

    with socket.create_server(("127.0.0.1", 0)) as slow:
        threading.Thread(target=answer, args=(slow,), daemon=True).start()
        server = PictureServer()
        server.port = int(slow.getsockname()[1])
        with pytest.raises(DownloadTimedOut):
            fetcher_of(server, deadline_s=DEADLINE_S).fetch(f"https://127.0.0.1:{server.port}/")


def test_https_does_not_lead_to_http(authority: Authority, pictures: PictureServer) -> None:
    pictures.serve("/", body(PICTURE))
    with PictureServer(tls=authority.serving("127.0.0.1")) as server:
        url = server.serve("/", redirect(pictures.url()))
        fetcher = fetcher_of(server, tls=authority.trusting(), others=[pictures.port])
        with pytest.raises(DownloadRefused):
            fetcher.fetch(url)
        back = pictures.serve("/up", redirect(server.serve("/a", body(PICTURE))))
        assert fetcher.fetch(back) == PICTURE
    assert [asked.line for asked in pictures.asked] == ["GET /up HTTP/1.1"]
