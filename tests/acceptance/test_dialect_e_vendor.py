"""Document e as the vendor's published server answers: the profile ``face2-vendor``."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import requests

from tests.databases import ONE_DATABASE
from tests.face2_client import Face2Client, Json
from tests.stack import Stack

pytestmark = ONE_DATABASE


@pytest.fixture
def vendor(stack: Stack) -> Face2Client:
    """A client of an application that the command has made; but for the service's unknown
    appIds, which other tests ask for."""
    name = f"vendor-{len(stack.tenants.all())}"
    issued = json.loads(stack.cluster.command(
        "apps", "create", name, "--json", "--profile", "face2-vendor",
        "--set", "e_unknown_app=9800",
    ))
    credentials = stack.add_credentials(stack.tenants.by_name(name))
    assert issued["app_id"] != credentials.app_id
    return stack.client(credentials)


def data_of_answer(response: requests.Response) -> Json:
    envelope: Json = response.json()
    assert (envelope["code"], envelope["success"]) == (0, True)
    assert envelope["data"].pop("msg") == "success"
    assert envelope["data"].pop("requestId")
    return dict(envelope["data"])


def test_locations_are_left_top_right_bottom(
    stack: Stack, vendor: Face2Client, obama: str
) -> None:
    (theirs,) = data_of_answer(vendor.call("locate", {"image": obama}))["locations"]
    (usual,) = data_of_answer(stack.client().call("locate", {"image": obama}))["locations"]
    top, right, bottom, left = usual
    assert theirs == [left, top, right, bottom]


def test_the_score_is_half_of_one_minus_the_cosine(
    vendor: Face2Client, photos: Path, obama: str, biden: str
) -> None:
    vectors = [
        np.array(data_of_answer(vendor.call("features", {"image": each}))["features"])
        for each in (obama, biden)
    ]
    for other, same in ((obama, True), (biden, False)):
        answer = data_of_answer(vendor.call("verify", {"image1": obama, "image2": other}))
        expected = 0.0 if same else (1 - float(vectors[0] @ vectors[1])) / 2
        assert answer == {"is_match": same, "score": pytest.approx(expected, abs=1e-5)}


def test_a_picture_without_a_face_is_no_match(
    vendor: Face2Client, obama: str, nobody: str
) -> None:
    for pair in ({"image1": obama, "image2": nobody}, {"image1": nobody, "image2": obama}):
        answer = data_of_answer(vendor.call("verify", pair))
        assert answer == {"is_match": False, "score": 0.0}
    assert vendor.call("features", {"image": nobody}).json()["code"] == 9903


def test_nothing_is_refused_as_a_repeat(vendor: Face2Client, obama: str) -> None:
    parameters = vendor.signed({"image": obama}, version=2)
    for _ in range(2):
        assert "locations" in data_of_answer(vendor.send("locate", parameters))
        assert "features" in data_of_answer(vendor.send("features", parameters))


def test_9805_unknown_application(
    tmp_path: Path, edge_models: Path, new_database: dict[str, object]
) -> None:
    """An appId that nobody has belongs to no application: one that chooses the code chooses it
    for the service."""
    with Stack(tmp_path, edge_models, **new_database) as stack:
        client = stack.start_shim().client()
        stranger = client.signed({"image": "aGk="}, appId="0" * 32)
        assert client.send("locate", stranger).json()["code"] == 9800
        stack.add_tenant("vendor", {"e_unknown_app": "9805"})
        answer = client.send("locate", stranger).json()
        assert (answer["code"], answer["data"]["msg"]) == (9805, "unknown appId")
        wrong = {**client.signed({"image": "aGk="}), "signData": "wrong"}
        assert client.send("locate", wrong).json()["code"] == 9800
