"""The same two calls in every dialect: one that becomes a job, one on records alone."""

from __future__ import annotations

import base64
from dataclasses import dataclass

import requests

from tests.face2_client import CALL_S, Credentials, Face2Client, data_of

LETTERS = "abcde"


@dataclass(frozen=True)
class Caller:
    """One application's calls to the service at ``url`` in dialect ``letter``."""

    letter: str
    url: str
    credentials: Credentials

    @property
    def operation(self) -> str:
        """The neutral name of the operation that ``job`` asks for."""
        return {"a": "locate", "b": "enrol", "c": "matrix", "d": "enrol", "e": "locate"}[
            self.letter
        ]

    def job(self, picture: bytes, **headers: str) -> requests.Response:
        """A picture to work on, not awaited; headers as ``Idempotency_Key="..."``."""
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        sent = {"Prefer": "respond-async", "X-API-Key": self.credentials.api_key, **sent}
        match self.letter:
            case "a":
                fields = {**self._apid(), "Fimg": base64.b64encode(picture).decode()}
                return self._post("/api/detection", sent, data=fields)
            case "b":
                image = f"data:image/jpg;base64,{base64.b64encode(picture).decode()}"
                return self._post("/api/faces", sent, json={"image": image})
            case "c":
                known = {
                    "api_id": self.credentials.api_id, "api_secret": self.credentials.api_secret
                }
                files = {f"image_{name}_file": ("a.jpg", picture) for name in ("one", "two")}
                path = "/identity/compare_faces_in_two_images"
                return self._post(path, sent, data=known, files=files)
            case "d":
                fields = {"img": base64.b64encode(picture).decode()}
                return self._post("/v1/addface", sent, data=fields)
            case _:
                client = Face2Client(self.url, self.credentials)
                # The same signed request would be answered with the first one's answer.
                data = data_of("locate", base64.b64encode(picture).decode())
                return client.call("locate", data, **headers, Prefer="respond-async")

    def records(self) -> requests.Response:
        """A call that reads records; documents c and e have none."""
        if self.letter == "a":
            return requests.get(f"{self.url}/api/face", data=self._apid(), timeout=CALL_S)
        path = {"b": "/api/faces?pageSize=1", "d": "/v1/delface"}[self.letter]
        method = "GET" if self.letter == "b" else "POST"
        return requests.request(
            method, f"{self.url}{path}", timeout=CALL_S,
            headers={"X-API-Key": self.credentials.api_key},
            data={"person_id": "0"} if self.letter == "d" else None,
        )

    def answered(self, response: requests.Response) -> tuple[int, object]:
        """(HTTP status, the document's own code) of a response."""
        name = {"a": "msg_code", "b": "code", "c": "status", "d": "status", "e": "code"}
        return response.status_code, response.json().get(name[self.letter])

    def _apid(self) -> dict[str, str]:
        return {"Apid": str(self.credentials.apid), "Kvalue": self.credentials.kvalue}

    def _post(
        self, path: str, headers: dict[str, str], **body: object
    ) -> requests.Response:
        return requests.post(
            f"{self.url}{path}", headers=headers, timeout=CALL_S, **body  # type: ignore[arg-type]
        )
