"""A client of dialect e that polls its jobs."""

from __future__ import annotations

import base64
import time
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

import requests

from api_shim.dialects.e.signing import sha256_signature, string_to_sign
from pipeline.accounts.credential_set import Credentials
from pipeline.errors import ConfigurationError, FaceError

Envelope = dict[str, Any]

# Seconds that the service may hold a poll (`?wait=`), and the timeout of a call.
WAIT_S = 10
CALL_S = 40.0


class ServiceUnreachable(FaceError):
    """The service does not answer."""


class FaceClient:
    """Calls one service as one application. Raises ``ServiceUnreachable``."""

    def __init__(self, url: str, credentials: Credentials) -> None:
        self.url = url.rstrip("/")
        self._credentials = credentials
        self._who = (credentials.app_id, credentials.app_secret)  # polls take HTTP Basic
        self._session = requests.Session()
        # The embedded stack is on this machine: no proxy.
        self._session.trust_env = False

    def call(self, operation: str, data: dict[str, Any]) -> Envelope:
        """Submits ``operation`` as a job, polls it until it ends, and returns its envelope."""
        response = self._send(
            "POST", f"/face2/{operation}", json=self.signed(data),
            headers={"Prefer": "respond-async"},
        )
        while response.status_code == 202:
            href = urljoin(response.url, response.json()["href"])
            response = self._send("GET", href, params={"wait": WAIT_S}, auth=self._who)
        envelope: Envelope = response.json()
        return envelope

    def signed(self, data: dict[str, Any]) -> dict[str, Any]:
        """The body of a call, signed with SHA256 and the current time."""
        request: dict[str, Any] = {
            "appId": self._credentials.app_id,
            "data": data,
            "encType": "plain",
            "signType": "SHA256",
            "timestamp": int(time.time()),
            "version": "1",
        }
        message = f"{string_to_sign(request)}&key={self._credentials.app_secret}"
        return {**request, "signData": sha256_signature(message.encode()).decode()}

    def _send(self, method: str, path: str, **options: Any) -> requests.Response:
        url = path if path.startswith("http") else self.url + path
        try:
            response = self._session.request(method, url, timeout=CALL_S, **options)
            response.json()
        except requests.RequestException as error:
            raise ServiceUnreachable(
                f"{self.url} does not answer as a face service: {error}"
            ) from error
        return response


def base64_file(path: Path) -> str:
    """A file's bytes in Base64. Raises ``ConfigurationError`` for an unreadable file."""
    try:
        return base64.b64encode(path.read_bytes()).decode()
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be read: {error.strerror}") from error
