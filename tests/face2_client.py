"""A client of document e, written from the document alone.

Only the URL and the credentials come from the service. Nothing of the service's own
reading or signing is used here, but for the private half of an SM2 key pair.
"""

from __future__ import annotations

import base64
import hashlib
import itertools
import json
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import requests

from api_shim.auth import sm2

Json = dict[str, Any]

PICTURES = {"locate": ["image"], "verify": ["image1", "image2"], "features": ["image"]}

CALL_S = 120.0

# Far more than any job of a test needs on a busy machine.
TIMEOUT_S = 180.0

_SERIAL = itertools.count()


@dataclass(frozen=True)
class Credentials:
    """The credentials of an application, and its tenant's number."""

    tenant_id: int
    app_id: str
    app_secret: str = field(repr=False)
    sm2_private_key: str = field(repr=False)
    api_key: str = field(repr=False)
    apid: int
    kvalue: str = field(repr=False)
    api_id: str
    api_secret: str = field(repr=False)


class Face2Client:
    """Calls ``/face2/...`` of one service as one application."""

    def __init__(self, url: str, credentials: Credentials) -> None:
        self.url = url
        self.credentials = credentials
        self.session = requests.Session()
        self.session.trust_env = False

    def call(
        self, operation: str, data: Any, *, sign_type: str = "SHA256", **headers: str
    ) -> requests.Response:
        """Sign and send; headers as ``Prefer="wait=1"``."""
        return self.send(operation, self.signed(data, sign_type), **headers)

    def send(self, operation: str, parameters: Any, **headers: str) -> requests.Response:
        """Send parameters as they are."""
        return self.session.post(
            f"{self.url}/face2/{operation}", json=parameters, timeout=CALL_S,
            headers={name.replace("_", "-"): value for name, value in headers.items()},
        )

    def signed(self, data: Any, sign_type: str = "SHA256", **changed: Any) -> Json:
        """The parameters of a call; ``changed`` ones are signed as well."""
        parameters = {
            "appId": self.credentials.app_id, "version": "1", "signType": sign_type,
            "encType": "plain", "timestamp": int(time.time()), "data": data, **changed,
        }
        return {**parameters, "signData": self.signature(parameters)}

    def signature(self, parameters: Json) -> str:
        string = string_to_sign(parameters, self.credentials.app_secret)
        if parameters.get("signType") == "SM2":
            return base64.b64encode(sm2.sign(self.credentials.sm2_private_key, string)).decode()
        return base64.b64encode(hashlib.sha256(string).hexdigest().encode()).decode()

    def poll(self, job_id: str, **query: str) -> requests.Response:
        """Polls a job once, by API key."""
        return self.session.get(
            f"{self.url}/jobs/{job_id}", params=query, timeout=CALL_S,
            headers={"X-API-Key": self.credentials.api_key},
        )

    def submit(self, operation: str, data: Json, **headers: str) -> str:
        """Submit without waiting; the job's id."""
        response = self.call(operation, data, Prefer="respond-async", **headers)
        assert response.status_code == 202, response.text
        return str(response.json()["job_id"])

    def finished(self, job_id: str) -> requests.Response:
        """The answer of a job, long-polled to its end."""
        until = time.monotonic() + TIMEOUT_S
        while (response := self.poll(job_id, wait="10")).status_code == 202:
            assert time.monotonic() < until, "the job has not ended"
        return response

    def cancel(self, job_id: str) -> requests.Response:
        return self.session.delete(
            f"{self.url}/jobs/{job_id}", timeout=CALL_S,
            headers={"X-API-Key": self.credentials.api_key},
        )


def data_of(operation: str, picture: Any) -> Json:
    """The data of a call that no other makes in the same second: its signature would be
    the same, and the answer the other's."""
    return {**dict.fromkeys(PICTURES[operation], picture), "serial": next(_SERIAL)}


def string_to_sign(parameters: Json, secret: str) -> bytes:
    """The document's steps 1 to 3."""
    pairs = []
    for name in sorted(parameters):
        if name in ("signData", "encData", "extra"):
            continue
        value = parameters[name]
        if not isinstance(value, str):
            value = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        pairs.append(f"{name}={value}")
    return "&".join([*pairs, f"key={secret}"]).encode()


def base64_of(picture: Path | bytes) -> str:
    """A picture as the document wants it."""
    raw = picture if isinstance(picture, bytes) else picture.read_bytes()
    return base64.b64encode(raw).decode()
