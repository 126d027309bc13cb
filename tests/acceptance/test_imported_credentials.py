"""Clients that bring the credentials of another service: only the URL changes."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import requests

from tests.databases import ONE_DATABASE
from tests.face2_client import CALL_S
from tests.stack import Stack

pytestmark = ONE_DATABASE

SECRETS = {
    "appId": "OLD-APP_1", "appSecret": "7C1E93B05DA24F868E02C9D7416FBA35",
    "Apid": "4711", "Kvalue": "q8Wz-3nTfK_1mB7xVd",
    "api_id": "client_1", "api_secret": "b3a1f09c52de47768e1d04ca95fb6283",
    "X-API-Key": "eyJhbGciOiJI.9aKx72mQpR4tVb8ZcY/+==",
}


def test_each_dialect_takes_what_was_imported(
    stack: Stack, tmp_path: Path, photos: Path, obama: str
) -> None:
    file = tmp_path / "old.env"
    file.write_text("".join(f"{name}={value}\n" for name, value in SECRETS.items()))
    stack.cluster.command("apps", "import", "brought", str(file))
    url, key = stack.url, {"X-API-Key": SECRETS["X-API-Key"]}

    mine = dataclasses.replace(
        stack.credentials, app_id=SECRETS["appId"], app_secret=SECRETS["appSecret"]
    )
    assert stack.client(mine).call("locate", {"image": obama}).json()["code"] == 0

    a = {"Apid": SECRETS["Apid"], "Kvalue": SECRETS["Kvalue"]}
    listed = requests.get(f"{url}/api/face", data=a, timeout=CALL_S).json()
    assert (listed["msg_code"], listed["faces"]) == (1, [])
    assert requests.get(f"{url}/api/faces", headers=key, timeout=CALL_S).json()["code"] == 0
    found = requests.post(
        f"{url}/v1/searchface", data={"img": obama}, headers=key, timeout=CALL_S
    ).json()
    assert found["status"] == "NO_SIMILAR_FACE"
    c = {"api_id": SECRETS["api_id"], "api_secret": SECRETS["api_secret"]}
    photo = (photos / "obama.jpg").read_bytes()
    files = {"image_one_file": photo, "image_two_file": photo}
    compared = requests.post(
        f"{url}/identity/compare_faces_in_two_images", params=c, files=files, timeout=CALL_S
    ).json()
    assert compared["status"] == "OK"
    other = {**key, "X-API-Key": SECRETS["X-API-Key"][:-1]}
    assert requests.get(f"{url}/api/faces", headers=other, timeout=CALL_S).status_code == 401
