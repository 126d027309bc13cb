"""The service under a path of a real nginx, with the example of ``infra/nginx``."""

from __future__ import annotations

import base64
import contextlib
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from infra.local.client import FaceClient
from pipeline.accounts.credential_set import Credentials as LocalCredentials
from tests.contract_clients import ApidClient, ContractClient
from tests.dialect_callers import LETTERS, Caller
from tests.face2_client import CALL_S, Face2Client, data_of
from tests.group_client import FaceGroupClient, png
from tests.linkface_client import PATH, LinkfaceClient
from tests.nginx_server import NginxServer
from tests.stack import Stack
from tests.waiting import eventually

MB = 1024 * 1024


@pytest.fixture(scope="module")
def shim(tmp_path_factory: pytest.TempPathFactory, edge_models: Path) -> Iterator[Stack]:
    """A service without workers, which believes nginx."""
    settings = {"hold_s": 0.2, "trusted_proxies": "127.0.0.1", "b_tenant": "chosen"}
    with Stack(tmp_path_factory.mktemp("shim"), edge_models, **settings) as service:
        service.add_tenant("chosen")
        yield service.start_shim()


@pytest.fixture(scope="module")
def nginx(shim: Stack) -> Iterator[NginxServer]:
    with NginxServer(shim.url) as server:
        yield server


@pytest.fixture
def ca(nginx: NginxServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets requests trust nginx's certificate."""
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(nginx.authority.file))


def through(nginx: NginxServer, client: Any) -> Any:
    """``client``, which calls nginx from now on."""
    client.url = f"{nginx.url}/face"
    if isinstance(client, ContractClient | Face2Client):
        client.session.verify = str(nginx.authority.file)
    return client


def send(nginx: NginxServer, method: str, path: str, **options: Any) -> requests.Response:
    return requests.request(
        method, nginx.url + path, verify=str(nginx.authority.file), timeout=CALL_S, **options
    )


@contextlib.contextmanager
def connected(nginx: NginxServer) -> Iterator[ssl.SSLSocket]:
    """A connection with TLS."""
    with (
        socket.create_connection(("127.0.0.1", nginx.port), CALL_S) as plain,
        nginx.authority.trusting().wrap_socket(plain, server_hostname="localhost") as connection,
    ):
        yield connection


def head_of(target: str, length: int, more: str = "") -> bytes:
    """The head of a POST."""
    return (
        f"POST {target} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n{more}\r\n"
    ).encode()


@pytest.mark.parametrize("letter", LETTERS)
def test_a_job_in_every_document(
    shim: Stack, nginx: NginxServer, ca: None, obama: str, letter: str
) -> None:
    caller = Caller(letter, f"{nginx.url}/face", shim.add_tenant(f"nginx-{letter}"))
    if letter == "e":  # its client takes no certificates from the environment
        client = through(nginx, shim.client(caller.credentials))
        submitted = client.call("locate", data_of("locate", obama), Prefer="respond-async")
    else:
        submitted = caller.job(base64.b64decode(obama))
    href = submitted.json()["href"]
    assert (submitted.status_code, submitted.headers["location"]) == (202, href)
    assert href == f"/face/jobs/{submitted.json()['job_id']}"
    key = {"X-API-Key": caller.credentials.api_key}
    assert send(nginx, "GET", href, headers=key).json()["href"] == href
    assert send(nginx, "DELETE", href, headers=key).status_code == 200
    # the answer is the dialect's own, with its status
    assert send(nginx, "GET", href, headers=key).json()


def test_the_reference_leads_through_the_path(nginx: NginxServer) -> None:
    assert send(nginx, "GET", "/face/openapi.json").json()["servers"][0]["url"] == "/face"
    for path in ("/face/docs", "/face/docs/", "//face//docs"):
        assert 'href="/face/openapi.json"' in send(nginx, "GET", path).text
    assert send(nginx, "GET", "/elsewhere").status_code == 404


def test_nobody_but_the_proxy_names_the_path(shim: Stack, nginx: NginxServer) -> None:
    forged = {"X-Forwarded-Prefix": "/forged"}
    answer = send(nginx, "GET", "/face/openapi.json", headers=forged)
    assert answer.json()["servers"][0]["url"] == "/face"


def test_ids_arrive_as_they_were_written(shim: Stack, nginx: NginxServer) -> None:
    client = through(nginx, FaceGroupClient(shim))
    for path, code in [
        ("/api/faces/image/a%2F%2Fb%20c", 104904),
        ("/api/faceGroups/%E7%BB%84?pageOffset=0&pageSize=1", 104311),
        ("//api//faces/image/none/", 104904),
    ]:
        assert client.call("GET", path).json()["code"] == code


def test_the_services_own_client_follows_links(
    shim: Stack, nginx: NginxServer, monkeypatch: pytest.MonkeyPatch, obama: str
) -> None:
    known = shim.add_tenant("local client")
    client = FaceClient(f"{nginx.url}/face/", LocalCredentials(known.app_id, known.app_secret))
    client._session.verify = str(nginx.authority.file)
    paths: list[str] = []
    send_request = client._session.request

    def cancelling(method: str, url: str, **options: Any) -> requests.Response:
        if method == "GET":
            paths.append(url)
            send_request("DELETE", url, auth=options["auth"], timeout=CALL_S)
        return send_request(method, url, **options)

    monkeypatch.setattr(client._session, "request", cancelling)
    assert client.call("locate", {"image": obama})["success"] is False  # cancelled
    assert paths[0].startswith(f"{nginx.url}/face/jobs/")


def test_sizes_of_bodies(shim: Stack, nginx: NginxServer) -> None:
    client = through(nginx, ApidClient(shim))
    # above the shim's limit and below nginx's: the document's own answer
    assert client.call("POST", "detection", Fimg="A" * (13 * MB)).json() == {"msg_code": 4}
    refused = client.call("POST", "detection", Fimg="A" * (17 * MB))
    assert (refused.status_code, refused.json()["code"]) == (413, "media_too_large")
    # a clip of 20 MB in a form of 27 MB reaches the shim, which finds no clip in it
    clip = client.call("POST", "living", Fid=1, Fvideo="A" * (27 * MB)).json()
    assert clip["msg_code"] in (7, 8)
    assert client.call("POST", "living", Fid=1, Fvideo="A" * (33 * MB)).status_code == 413


def test_slow_clients_do_not_reach_the_shim(shim: Stack, nginx: NginxServer) -> None:
    """nginx reads the whole body before it opens a request of the shim."""
    body = b"Apid=1&Kvalue=x&Fimg=" + b"A" * MB
    form = "Content-Type: application/x-www-form-urlencoded\r\nConnection: close\r\n"
    with connected(nginx) as connection:
        connection.sendall(head_of("/face/api/detection", len(body), form))
        connection.sendall(body[: MB // 2])
        before = send(nginx, "GET", "/face/health").status_code
        connection.sendall(body[MB // 2 :])
        answer = b"".join(iter(lambda: connection.recv(65536), b""))
    assert before == 200
    assert answer.endswith(b'{"msg_code":3}')
    assert not list((nginx.directory / "bodies").rglob("*.*")), "a picture was written to disk"


def test_it_speaks_tls_only(nginx: NginxServer) -> None:
    with connected(nginx) as connection:
        assert connection.version() == "TLSv1.3"
    with pytest.raises(requests.exceptions.SSLError):  # an authority that nobody else trusts
        requests.get(f"{nginx.url}/face/health", timeout=CALL_S)
    plain = requests.get(nginx.url.replace("https", "http"), timeout=CALL_S)
    assert plain.status_code == 400


def test_pages_of_the_same_host(nginx: NginxServer) -> None:
    """nginx passes the host with its port on, so that it equals the origin of its pages."""
    for origin in (nginx.url, "https://127.0.0.1", "https://evil.example"):
        answer = send(nginx, "GET", "/face/api/faces", headers={"Origin": origin})
        assert answer.status_code == (200 if origin == nginx.url else 401), origin


def test_no_query_is_logged(shim: Stack) -> None:
    """Whatever goes wrong: a body too large, a client that leaves, a shim that is away."""
    marker = "marked-secret-in-a-query"
    query = f"api_id=x&api_secret={marker}"
    path = f"/face{PATH}?{query}"
    with NginxServer(shim.url) as nginx:
        client = through(nginx, LinkfaceClient(shim))
        known = client.known
        assert client.send("POST", f"{PATH}?{query}", data={"x": "y"}).status_code in (400, 401)
        assert client.send("POST", PATH, params=known, data={"x": "y"}).status_code == 400
        assert send(nginx, "POST", path, data=b"A" * (17 * MB)).status_code == 413
        with connected(nginx) as left:
            left.sendall(head_of(path, 9) + b"A")
        assert send(nginx, "GET", f"/face/docs?{query}&x={'y' * 70_000}").status_code == 414
        # with the request that waited for nginx
        eventually(lambda: len(nginx.logs()["faceline.access.log"].splitlines()) == 6)
        logs = nginx.logs()
    nobody = "http://127.0.0.1:9"  # nothing listens there
    with NginxServer(nobody, {"error.log emerg": "error.log error"}) as nginx:
        send(nginx, "POST", path, data={"x": "y"})
        assert marker in nginx.logs()["faceline.error.log"], "the level is not needed"
    with NginxServer(nobody) as nginx:
        away = send(nginx, "POST", path, data={"x": "y"})
        assert (away.status_code, away.json()["code"]) == (503, "unavailable")
        assert int(away.headers["retry-after"]) > 0
        logs |= {f"away {name}": text for name, text in nginx.logs().items()}
    assert f'"POST /face{PATH}" 413 ' in logs["faceline.access.log"]
    assert f'"POST /face{PATH}" 503 ' in logs["away faceline.access.log"]
    for name, text in logs.items():
        assert marker not in text, name


def test_requests_of_one_address_at_a_time(shim: Stack) -> None:
    with (
        NginxServer(shim.url, {"faceline_clients 100": "faceline_clients 2"}) as nginx,
        connected(nginx) as one, connected(nginx) as two,
    ):
        for connection in (one, two):
            connection.sendall(head_of("/face/api/detection", 9))
        answers = []

        def refused() -> bool:
            answers.append(send(nginx, "GET", "/face/health"))
            return answers[-1].status_code == 429

        eventually(refused)
        assert answers[-1].json()["code"] == "rate_limited"
        assert int(answers[-1].headers["retry-after"]) > 0


def test_a_host_of_its_own(shim: Stack, obama: str) -> None:
    changed = {"/face/": "/", "    proxy_set_header X-Forwarded-Prefix /face;\n": ""}
    with NginxServer(shim.url, changed) as nginx:
        assert send(nginx, "GET", "/openapi.json").json()["servers"][0]["url"] == "/"
        submitted = send(nginx, "POST", "/api/faces/", json={"image": png(obama)})
        assert submitted.headers["location"] == f"/jobs/{submitted.json()['job_id']}"
