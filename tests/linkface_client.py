"""A client of document c, written as its Python sample is.

Only the host and the credentials come from the service.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import requests

from tests.contract_clients import ContractClient
from tests.face2_client import Json

PATH = "/identity/compare_faces_in_two_images"

Sent = Path | bytes


class LinkfaceClient(ContractClient):
    """One application's calls."""

    @property
    def known(self) -> dict[str, str]:
        return {"api_id": self.credentials.api_id, "api_secret": self.credentials.api_secret}

    def call(
        self, one: Sent | None = None, two: Sent | None = None, /, *, headers: Any = None,
        **fields: str,
    ) -> requests.Response:
        """One call: the pictures as files, every other parameter a field of the form."""
        sent = {"image_one_file": one, "image_two_file": two}
        files = {
            name: (f"{name}.jpg", picture if isinstance(picture, bytes) else picture.read_bytes())
            for name, picture in sent.items() if picture is not None
        }
        # requests makes a multipart form only of files.
        parts: Any = files or {"ignored": (None, "")}
        return self.send("POST", PATH, files=parts, data={**self.known, **fields}, headers=headers)

    def compare(self, one: Sent | None = None, two: Sent | None = None, /, **fields: str) -> Json:
        """The answer of a call that succeeds."""
        return succeeded(self.call(one, two, **fields))

    def refused(
        self, one: Sent | None = None, two: Sent | None = None, /, *, http: Any = 400,
        **fields: str,
    ) -> tuple[str, str | None]:
        """(status, image) of a call that is refused."""
        return failed(self.call(one, two, **fields), http)

    def poll(self, job_id: str, method: str = "GET") -> requests.Response:
        wait = {"wait": "10"} if method == "GET" else {}
        return self.send(method, f"/jobs/{job_id}", params={**wait, **self.known})


def succeeded(response: requests.Response) -> Json:
    """The answer, which must hold only members of the document."""
    answer = _checked(response, 200)
    assert answer["status"] == "OK", answer
    expected = ["request_id", "status", "confidences", "max_confidence"]
    assert [name for name in answer if name not in ("image_one", "image_two")] == expected
    assert answer["max_confidence"] == max(map(max, answer["confidences"]))
    return answer


def failed(response: requests.Response, http: int = 400) -> tuple[str, str | None]:
    """(status, image) of an error's envelope."""
    answer = _checked(response, http)
    assert set(answer) <= {"status", "request_id", "image", "reason"}, answer
    return answer["status"], answer.get("image")


def _checked(response: requests.Response, http: int) -> Json:
    assert response.status_code == http, response.text
    assert response.headers["content-type"] == "application/json"
    answer: Json = response.json()
    name = answer["request_id"]
    assert name.startswith("TID")
    assert len(bytes.fromhex(name[3:])) == 16
    return answer
