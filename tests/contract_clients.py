"""Clients of documents a and d, written as their samples are.

Only the host and the credentials come from the service.
"""

from __future__ import annotations

import itertools
import time
import uuid
from typing import Any

import requests

from tests.face2_client import CALL_S, TIMEOUT_S, Credentials, Json
from tests.stack import Stack

SERIAL = itertools.count()


class ContractClient:
    """One application's calls. ``credentials`` are its own."""

    def __init__(self, stack: Stack, credentials: Credentials | None = None) -> None:
        unique = f"{type(self).__name__}-{next(SERIAL)}-{uuid.uuid4().hex[:8]}"
        self.credentials = credentials or stack.add_tenant(unique)
        self.url = stack.url
        self.session = requests.Session()
        self.session.trust_env = False

    def send(self, method: str, path: str, **options: Any) -> requests.Response:
        return self.session.request(method, f"{self.url}{path}", timeout=CALL_S, **options)

    def finished(self, job_id: str) -> requests.Response:
        """The answer of a job, long-polled to its end."""
        until = time.monotonic() + TIMEOUT_S
        while (response := self.poll(job_id)).status_code == 202:
            assert time.monotonic() < until, "the job has not ended"
        return response

    def poll(self, job_id: str, method: str = "GET") -> requests.Response:
        return self.send(
            method, f"/jobs/{job_id}", params={"wait": "10"} if method == "GET" else None,
            headers={"X-API-Key": self.credentials.api_key},
        )


class ApidClient(ContractClient):
    """Document a: a form body with every method, also with GET."""

    def call(self, method: str, path: str, **fields: Any) -> requests.Response:
        """One call with Apid and Kvalue; a field that is None is left out."""
        known = {"Apid": self.credentials.apid, "Kvalue": self.credentials.kvalue}
        return self.send(method, f"/api/{path}", data={**known, **fields})

    def code(self, method: str, path: str, **fields: Any) -> int:
        """The ``msg_code`` of a refusal, which must hold nothing else."""
        response = self.call(method, path, **fields)
        answer: Json = checked(response)
        assert set(answer) == {"msg_code"}, answer
        return int(answer["msg_code"])

    def enrol(self, picture: str, name: str = "") -> int:
        """The Fid of a new face."""
        answer = checked(self.call("POST", "face", Fimg=picture, Fname=name))
        assert answer["msg_code"] == 1, answer
        return int(answer["Fid"])

    def faces(self) -> list[Json]:
        found: list[Json] = checked(self.call("GET", "face"))["faces"]
        return found


class SearchClient(ContractClient):
    """Document d: forms, and the key in a header."""

    def call(self, operation: str, **fields: Any) -> requests.Response:
        """A field that is None is left out."""
        return self.send(
            "POST", f"/v1/{operation}", data=fields,
            headers={"X-API-Key": self.credentials.api_key},
        )

    def status(self, operation: str, **fields: Any) -> str:
        """The ``status`` of a refusal; its ``message`` is a text."""
        answer = checked(self.call(operation, **fields))
        assert set(answer) == {"status", "message"}
        assert isinstance(answer["message"], str)
        return str(answer["status"])

    def add(self, picture: str, **fields: str) -> list[Json]:
        """The added people."""
        return self._people("addface", picture, fields)

    def search(self, picture: str, **fields: str) -> list[Json]:
        """The people found; empty when none is similar."""
        return self._people("searchface", picture, fields)

    def _people(self, operation: str, picture: str, fields: dict[str, str]) -> list[Json]:
        answer = checked(self.call(operation, img=picture, **fields))
        if answer["status"] == "NO_SIMILAR_FACE":
            return []
        assert answer["status"] == "OK", answer
        found: list[Json] = answer["message"]
        return found


def checked(response: requests.Response, status: int = 200) -> Json:
    """The JSON of a response with this HTTP status."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/json"
    assert response.headers["x-request-id"]
    answer: Json = response.json()
    return answer
