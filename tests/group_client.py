"""A client of document b, written from the document alone.

Only the host and the API key, which the document does not have, come from the service.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import requests

from tests.contract_clients import ContractClient, checked
from tests.face2_client import Json, base64_of

Sent = Path | bytes | str


class FaceGroupClient(ContractClient):
    """One application's calls: JSON bodies, ``{"code", "msg", "data"}`` back."""

    def call(
        self, method: str, path: str, body: Json | None = None, **headers: str
    ) -> requests.Response:
        """One call; headers as ``Prefer="wait=1"``."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.send(
            method, path, json=body,
            headers={"X-API-Key": self.credentials.api_key, **named},
        )

    def ask(self, method: str, path: str, body: Json | None = None) -> Json:
        """The ``data`` of a call that succeeds."""
        return succeeded(self.call(method, path, body))

    def refused(
        self, method: str, path: str, body: Json | None = None, *, status: int = 400
    ) -> tuple[int, str]:
        """(code, msg) of a call that is refused."""
        return failed(self.call(method, path, body), status)

    def enrol(self, picture: Sent, *groups: str, **fields: str) -> Json:
        """The data of a new face, which is then bound to groups."""
        data = self.ask("POST", "/api/faces", {"image": png(picture), **fields})
        if groups:
            path = f"/api/faceGroups/binding/{data['faceToken']}"
            assert self.ask("POST", path, {"faceGroupList": list(groups)})["failCnt"] == 0
        return data

    def add_group(self, key: str, score: int = 80) -> str:
        group = {"groupId": key, "groupName": f"name of {key}", "groupScore": score}
        self.ask("POST", "/api/faceGroups", group)
        return key

    def search(self, picture: Sent, *groups: str, **fields: Any) -> Json:
        """The data of a search."""
        body = {"image": png(picture), "group": list(groups), **fields}
        return self.ask("POST", "/api/face/search", body)

    def found(self, picture: Sent, *groups: str, **fields: Any) -> list[str]:
        """The face tokens of a search's hits, best first."""
        data = self.search(picture, *groups, **fields)
        hits = [data[f"top{place}"] for place in range(1, 6)]
        return [hit["faceToken"] for hit in hits if hit]


def png(picture: Sent) -> str:
    """A picture, or its Base64, as the document's samples send it; its bytes tell the real
    format."""
    encoded = picture if isinstance(picture, str) else base64_of(picture)
    return f"data:image/png;base64,{encoded}"


def succeeded(response: requests.Response) -> Json:
    """The ``data`` of an envelope that is exactly as documented."""
    answer = checked(response)
    assert list(answer) == ["code", "msg", "data"]
    assert (answer["code"], answer["msg"]) == (0, "SUCCESS")
    data: Json = answer["data"]
    return data


def failed(response: requests.Response, status: int = 400) -> tuple[int, str]:
    """(code, msg) of an error's envelope."""
    answer = checked(response, status)
    assert list(answer) == ["code", "msg", "data"]
    assert answer["data"] == {}
    return answer["code"], answer["msg"]
