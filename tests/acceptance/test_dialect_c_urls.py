"""Document c's pictures by URL: fetched by a worker of their own."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.databases import ONE_DATABASE
from tests.face2_client import TIMEOUT_S
from tests.linkface_client import LinkfaceClient, failed
from tests.stack import Stack

DEADLINE_S = 2.0


class Site:
    """A web server on this machine; ``pages`` are its pages, by path."""

    def __init__(self, pages: dict[str, bytes]) -> None:
        site = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                site.answer(self)

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
                pass

        self.pages = pages
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.port}{path}"

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        if handler.path == "/moved":
            handler.send_response(302)
            handler.send_header("Location", "/face")
            handler.end_headers()
            return
        if handler.path == "/slow":
            time.sleep(DEADLINE_S + 1)
        page = self.pages.get(handler.path)
        handler.send_response(200 if page is not None else 404)
        handler.send_header("Content-Length", str(len(page or b"")))
        handler.end_headers()
        with contextlib.suppress(ConnectionError):  # a client that has read enough leaves
            handler.wfile.write(page or b"")

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture(scope="module")
def site(test_data: Path) -> Iterator[Site]:
    photos = test_data / "photos"
    site = Site(
        {
            "/face": (photos / "obama.jpg").read_bytes(),
            "/same": (photos / "obama-1080p.jpg").read_bytes(),
            "/nobody": (test_data / "bad" / "no_face.png").read_bytes(),
            "/text": b"<html>no picture</html>",
            "/webp": b"RIFF\x24\x00\x00\x00WEBPVP8 " + b"\x18\x00\x00\x00" + WEBP,
            "/large": b"\xff\xd8".ljust(5 * 1024 * 1024 + 1, b"\0"),
        }
    )
    yield site
    site.close()


# A key frame of 16 x 16 pixels: the part that a header reader needs.
WEBP = b"\x30\x01\x00\x9d\x01\x2a\x10\x00\x10\x00" + bytes(14)


@pytest.fixture(scope="module")
def fetching(
    site: Site, tmp_path_factory: pytest.TempPathFactory, edge_models: Path
) -> Iterator[Stack]:
    """A service that fetches from this machine, and from nowhere else. On one database:
    fetching does not know which."""
    with Stack(
        tmp_path_factory.mktemp("fetching"), edge_models, fetch_urls=True,
        fetch_allow_networks="127.0.0.1/32", fetch_ports=str(site.port),
        fetch_deadline_s=DEADLINE_S, fetch_concurrency=1,
    ) as stack:
        stack.start_worker(stages="fetch", concurrency=1)
        yield stack.start(concurrency=1)


@pytest.fixture(scope="module")
def c(fetching: Stack) -> LinkfaceClient:
    return LinkfaceClient(fetching)


def test_pictures_by_url(c: LinkfaceClient, site: Site, photos: Path) -> None:
    """In every combination; fetched pictures are stored like uploaded ones."""
    sent = c.compare(photos / "obama.jpg", photos / "obama-1080p.jpg")
    one, two = sent["image_one"]["image_one_id"], sent["image_two"]["image_two_id"]
    urls = {"image_one_url": site.url("/moved"), "image_two_url": site.url("/same")}
    fetched = c.compare(**urls)
    assert fetched["confidences"] == sent["confidences"]
    assert (fetched["image_one"], fetched["image_two"]) == (sent["image_one"], sent["image_two"])
    mixed = c.compare(None, photos / "obama-1080p.jpg", image_one_url=site.url("/face"))
    named = c.compare(image_one_url=site.url("/face"), image_two_id=two)
    assert mixed["confidences"] == named["confidences"] == sent["confidences"]
    assert (named["image_one"], "image_two" in named) == ({"image_one_id": one}, False)


def test_nothing_that_was_fetched_is_left(c: LinkfaceClient, site: Site, fetching: Stack) -> None:
    urls = {"image_one_url": site.url("/face"), "image_two_url": site.url("/face")}
    c.compare(**urls)
    assert c.refused(**{**urls, "image_two_url": site.url("/nobody")}) == (
        "NO_FACE_DETECTED", "image_two",
    )
    until = time.monotonic() + TIMEOUT_S
    while list(fetching.cluster.media.walk(f"t{c.credentials.tenant_id}/transient/")):
        assert time.monotonic() < until, "an upload is left"


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/none", "DOWNLOAD_ERROR"),
        ("/text", "CORRUPT_IMAGE"),
        ("/webp", "INVALID_IMAGE_FORMAT_OR_SIZE"),
        ("/large", "IMAGE_FILE_SIZE_TOO_BIG"),
    ],
)
def test_what_cannot_be_used(
    c: LinkfaceClient, site: Site, photos: Path, path: str, status: str
) -> None:
    url, face = site.url(path), photos / "obama.jpg"
    assert c.refused(face, image_two_url=url) == (status, "image_two")
    assert c.refused(None, face, image_one_url=url) == (status, "image_one")


@pytest.mark.parametrize(
    "url", ["file:///etc/passwd", "http://localhost:1/", "http://10.0.0.1/", "http://[::1]/", "x"]
)
def test_download_error(c: LinkfaceClient, photos: Path, url: str) -> None:
    assert c.refused(photos / "obama.jpg", image_two_url=url) == ("DOWNLOAD_ERROR", "image_two")


def test_download_timeout(c: LinkfaceClient, site: Site, photos: Path) -> None:
    asked = {"image_two_url": site.url("/slow")}
    assert c.refused(photos / "obama.jpg", **asked) == ("DOWNLOAD_TIMEOUT", "image_two")


@ONE_DATABASE
def test_without_fetching_urls_are_refused(stack: Stack, site: Site, photos: Path) -> None:
    client = LinkfaceClient(stack)
    response = client.call(photos / "obama.jpg", image_two_url=site.url("/face"))
    assert failed(response) == ("INVALID_ARGUMENT", "image_two")
    assert "fetches no URLs" in response.json()["reason"]
