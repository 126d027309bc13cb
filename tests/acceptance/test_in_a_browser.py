"""Scripts of web pages, in a real Chromium: pages that may call the service, and others."""

from __future__ import annotations

import contextlib
import json
import queue
import subprocess
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from tests.face2_client import TIMEOUT_S, Json
from tests.group_client import FaceGroupClient, png, succeeded
from tests.processes import start
from tests.programs import find_chromium
from tests.stack import Stack

# What the page tries; each result is an HTTP status, a text, or the name of the error.
SCRIPT = """
const results = {}, shim = SHIM, key = {"X-API-Key": KEY};
async function attempt(name, work) {
  try { results[name] = await work(); } catch (error) { results[name] = error.name; }
}
const enrol = () => fetch(`${shim}/api/faces`, {
  method: "POST", body: JSON.stringify({image: PICTURE}),
  headers: {...key, "Content-Type": "application/json", "Prefer": "respond-async"},
});
const plant = (name, options) => fetch(`${shim}/api/faceGroups`, {
  method: "POST", headers: {"Content-Type": "text/plain"}, ...options,
  body: JSON.stringify({groupId: name, groupName: name, groupScore: 1}),
});
async function run() {
  let href = "/jobs/none";
  await attempt("submit", async () => {
    const response = await enrol();
    href = response.headers.get("Location");
    results.wait = response.headers.get("Retry-After");
    return response.status;
  });
  await attempt("poll", async () => (await fetch(shim + href, {headers: key})).status);
  await attempt("cancel", async () =>
    (await fetch(shim + href, {method: "DELETE", headers: key})).status);
  await attempt("list", async () => (await fetch(`${shim}/api/faces`)).status);
  await attempt("simple", async () => (await plant("simple", {})).status);
  await attempt("blind", async () => (await plant("blind", {mode: "no-cors"})).type);
  await fetch("/results", {method: "POST", body: JSON.stringify(results)});
}
run();
"""


class Pages(ThreadingHTTPServer):
    """A web server with one page, which posts its results back."""

    def __init__(self) -> None:
        self.page = ""
        self.results: queue.Queue[Json] = queue.Queue()
        super().__init__(("127.0.0.1", 0), _Handler)

    def __enter__(self) -> Pages:
        Thread(target=self.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self.server_close()


class _Handler(BaseHTTPRequestHandler):
    server: Pages

    def do_GET(self) -> None:
        self._answer(self.server.page.encode())

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self._answer(b"")
        self.server.results.put(json.loads(body))

    def _answer(self, body: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def pages() -> Iterator[Pages]:
    with Pages() as server:
        yield server


@pytest.fixture(scope="module")
def shim(
    tmp_path_factory: pytest.TempPathFactory, edge_models: Path, pages: Pages
) -> Iterator[Stack]:
    """A service that pages of `localhost` may call, and that serves document b without a key."""
    settings: dict[str, Any] = {
        "b_tenant": "chosen", "hold_s": 0.2,
        "cors_origins": f"https://app.example,http://localhost:{pages.server_port}",
    }
    with Stack(tmp_path_factory.mktemp("shim"), edge_models, **settings) as service:
        yield service.start_shim()


@pytest.fixture(scope="module")
def client(shim: Stack) -> FaceGroupClient:
    return FaceGroupClient(shim, shim.add_tenant("chosen"))


@contextlib.contextmanager
def shown(address: str, folder: Path) -> Iterator[None]:
    """A browser that shows a page."""
    command: list[str | Path] = [
        find_chromium(), "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic",
        "--no-first-run", "--disable-background-networking", "--disable-component-update",
        "--disable-sync", "--disable-dev-shm-usage", "--remote-debugging-port=0",
        f"--user-data-dir={folder}", address,
    ]
    log = (folder / "chromium.log").open("wb")
    with log:
        process = start(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        try:
            yield
        finally:
            process.kill()
            process.wait(30)


def results_of(
    host: str, pages: Pages, client: FaceGroupClient, picture: str, folder: Path
) -> Json:
    """What a page of ``host`` found out."""
    given = {"SHIM": client.url, "KEY": client.credentials.api_key, "PICTURE": png(picture)}
    script = SCRIPT
    for name, value in given.items():
        script = script.replace(name, json.dumps(value))
    pages.page = f"<!doctype html><title>{host}</title><script>{script}</script>"
    with shown(f"http://{host}:{pages.server_port}/", folder):
        return pages.results.get(timeout=TIMEOUT_S)


def groups(client: FaceGroupClient) -> set[str]:
    """The groups beside the one that always exists."""
    found = succeeded(client.call("GET", "/api/faceGroups"))["faceGroupList"]
    return {group["groupId"] for group in found} - {"default"}


# The service is at 127.0.0.1: its own host at another port is another origin of the same site.
@pytest.mark.parametrize("host", ["127.0.0.1", "elsewhere.localhost"])
def test_other_pages_read_nothing_and_change_nothing(
    pages: Pages, client: FaceGroupClient, obama: str, tmp_path: Path, host: str
) -> None:
    results = results_of(host, pages, client, obama, tmp_path)
    assert results.pop("blind") == "opaque"  # it was sent, and the page learns nothing
    assert set(results.values()) == {"TypeError"}, results
    assert groups(client) == set()


def test_a_listed_page_calls_and_polls(
    pages: Pages, client: FaceGroupClient, obama: str, tmp_path: Path
) -> None:
    results = results_of("localhost", pages, client, obama, tmp_path)
    assert results == {
        "submit": 202, "wait": "1", "poll": 202, "cancel": 200, "list": 200, "simple": 200,
        "blind": "opaque",
    }
    assert groups(client) == {"simple", "blind"}
