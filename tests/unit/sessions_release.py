"""A stand-in for the InsightFace release: a tiny pack, and a server that misbehaves."""

from __future__ import annotations

import hashlib
import io
import re
import threading
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np

from pipeline.sessions.base import ModelTask, PackFile
from pipeline.sessions.catalogue import Release

_RNG = np.random.default_rng(20)

DETECTOR, RECOGNIZER = (_RNG.bytes(60_000) for _ in range(2))


def archive(members: dict[str, bytes]) -> bytes:
    """A zip with ``members``."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        for name, data in members.items():
            file.writestr(name, data)
    return buffer.getvalue()


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


FILES = (
    PackFile("det_500m.onnx", ModelTask.DETECTION, sha256(DETECTOR), "non-commercial research"),
    PackFile(
        "w600k_mbf.onnx", ModelTask.RECOGNITION, sha256(RECOGNIZER), "non-commercial research"
    ),
)
ARCHIVE = archive({"det_500m.onnx": DETECTOR, "w600k_mbf.onnx": RECOGNIZER})


def release(data: bytes) -> Release:
    """The entry of the catalogue for an archive with these bytes."""
    return Release("buffalo_sc.zip", len(data), sha256(data))


@dataclass
class Behaviour:
    """How the server answers. ``breaks`` are the bytes after which it hangs up, one for
    each answer in turn; ``statuses`` are sent first, one for each answer."""

    body: bytes
    breaks: list[int] = field(default_factory=list)
    statuses: list[int] = field(default_factory=list)
    ranges: bool = True
    requests: list[str | None] = field(default_factory=list)


@contextmanager
def serve(behaviour: Behaviour) -> Iterator[str]:
    """The address of a server that behaves so."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked = self.headers.get("Range")
            behaviour.requests.append(asked)
            if behaviour.statuses:
                self.send_error(behaviour.statuses.pop(0))
                return
            self._send(self._start(asked))

        def _start(self, asked: str | None) -> int:
            found = re.fullmatch(r"bytes=(\d+)-", asked or "")
            return int(found[1]) if found and behaviour.ranges else 0

        def _send(self, start: int) -> None:
            size = len(behaviour.body)
            if start >= size:
                self.send_error(416)
                return
            self.send_response(206 if start else 200)
            if start:
                self.send_header("Content-Range", f"bytes {start}-{size - 1}/{size}")
            self.send_header("Content-Length", str(size - start))
            self.end_headers()
            end = start + behaviour.breaks.pop(0) if behaviour.breaks else size
            self.wfile.write(behaviour.body[start:end])

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            """Silence."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/release"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
