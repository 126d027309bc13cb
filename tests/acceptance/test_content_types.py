"""Requests as clients really send them: JSON under any Content-Type, forms of both kinds, Base64
that went through a form, an e-mail or a URL."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.contract_clients import ApidClient, SearchClient, checked
from tests.databases import ONE_DATABASE
from tests.face2_client import Face2Client, Json, data_of
from tests.group_client import FaceGroupClient
from tests.linkface_client import PATH, LinkfaceClient, succeeded
from tests.stack import Stack

pytestmark = ONE_DATABASE

FORM = "application/x-www-form-urlencoded"

# What curl, PHP, urllib and Java send of themselves, what browsers do, and nothing.
TYPES = [FORM, "application/json;charset=UTF-8", "text/plain;charset=UTF-8", "image/jpeg", ""]


@pytest.fixture(scope="module")
def photo(photos: Path) -> bytes:
    """A picture of one face whose Base64 has every letter."""
    picture = min((photos / "George_W_Bush").iterdir()).read_bytes()
    assert {"+", "/"} < set(base64.b64encode(picture).decode())
    return picture


@pytest.fixture(scope="module")
def image(photo: bytes) -> str:
    return base64.b64encode(photo).decode()


def as_sent(image: str) -> dict[str, str]:
    """Base64 in the ways that clients send it."""
    lines = "\n".join(image[at : at + 76] for at in range(0, len(image), 76))
    return {
        "lost plus signs": image.replace("+", " "),
        "lost plus signs in lines": lines.replace("+", " ") + "\n",
        "line breaks and tabs": lines.replace("\n", "\r\n\t"),
        "URL-safe": image.replace("+", "-").replace("/", "_"),
        "without padding": image.rstrip("="),
        "a data URI": f"data:image/jpeg;base64,{image}",
        "a data URI of something else": f"data:application/pdf;name=a; base64, {image}",
    }


# e ------------------------------------------------------------------------------


def face_num(response: requests.Response) -> int:
    """Of a locate that succeeds."""
    answer: Json = response.json()
    assert answer["code"] == 0, answer
    return int(answer["data"]["face_num"])


@pytest.mark.parametrize("media_type", TYPES)
def test_e_takes_json_whatever_the_type_says(stack: Stack, image: str, media_type: str) -> None:
    client = stack.client()
    for start in (b"", b"\xef\xbb\xbf", b"\r\n "):
        body = start + json.dumps(client.signed(data_of("locate", image))).encode()
        assert face_num(post(client, body, media_type)) == 1


def post(client: Face2Client, body: bytes, media_type: str) -> requests.Response:
    return client.session.post(
        f"{client.url}/face2/locate", data=body, headers={"Content-Type": media_type}
    )


def test_e_in_a_multipart_form(stack: Stack, image: str) -> None:
    client = stack.client()
    sent = client.signed(data_of("locate", image))
    fields = {**sent, "data": json.dumps(sent["data"])}
    parts = {name: (None, str(value)) for name, value in fields.items()}
    assert face_num(client.session.post(f"{client.url}/face2/locate", files=parts)) == 1


@pytest.mark.parametrize(
    "absent", [{"version"}, {"encType"}, {"signType"}, {"version", "encType", "signType"}]
)
def test_e_may_leave_parameters_out(stack: Stack, image: str, absent: set[str]) -> None:
    client = stack.client()
    sent = client.signed(data_of("locate", image))
    sent = {name: value for name, value in sent.items() if name not in {*absent, "signData"}}
    signed = {**sent, "signData": client.signature(sent)}
    assert face_num(client.send("locate", signed)) == 1
    # The signed string lacks them, too: sent but not signed they are a wrong signature.
    added = {**client.signed(data_of("locate", image)), "signData": client.signature(sent)}
    assert client.send("locate", added).json()["code"] == 9800


@pytest.mark.parametrize(
    "written",
    [{"timestamp": str}, {"timestamp": float}, {"version": int}, {"version": lambda _: 1.0}],
)
def test_e_numbers_are_integers_or_texts(stack: Stack, image: str, written: Json) -> None:
    client = stack.client()
    sent = client.signed(data_of("locate", image))
    changed = {name: write(sent[name]) for name, write in written.items()}
    assert face_num(client.send("locate", client.signed(sent["data"], **changed))) == 1


@pytest.mark.parametrize("most", [5, 5.0, "5", "5.0"])
def test_e_face_limits_as_languages_write_them(
    stack: Stack, photos: Path, most: int | float | str
) -> None:
    client = stack.client()
    group = base64.b64encode((photos / "group_t1.jpg").read_bytes()).decode()
    data = {**data_of("locate", group), "max_face_num": most}
    assert face_num(client.call("locate", data)) == 5


@pytest.mark.parametrize(
    "value", ["text", 1, 5.0, True, None, [], [1, {"b": 2, "a": "中"}], {"b": {"d": 1, "c": []}}]
)
@pytest.mark.parametrize("name", ["deviceId", "设备", "x" * 100])
def test_e_signs_over_parameters_that_it_does_not_know(
    stack: Stack, image: str, name: str, value: Any
) -> None:
    client = stack.client()
    sent = client.signed(data_of("locate", image), **{name: value})
    assert face_num(client.send("locate", sent)) == 1
    changed = {**client.signed(data_of("locate", image), **{name: value}), name: "other"}
    assert client.send("locate", changed).json()["code"] == 9800


def test_e_takes_base64_as_it_was_sent(stack: Stack, image: str) -> None:
    client = stack.client()
    for kind, text in as_sent(image).items():
        assert face_num(client.call("locate", data_of("locate", text))) == 1, kind


# a ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def a(stack: Stack) -> ApidClient:
    return ApidClient(stack)


def located(client: ApidClient, **options: Any) -> list[list[int]]:
    """The faces that a detection finds."""
    answer = checked(client.send("POST", "/api/detection", **options))
    assert answer["msg_code"] == 1, answer
    found: list[list[int]] = answer["location"]
    return found


def known(client: ApidClient) -> Json:
    return {"Apid": client.credentials.apid, "Kvalue": client.credentials.kvalue}


@pytest.mark.parametrize("media_type", TYPES)
def test_a_takes_json_and_forms_whatever_the_type_says(
    a: ApidClient, image: str, media_type: str
) -> None:
    header = {"Content-Type": media_type}
    sent = {**known(a), "Fimg": image}
    bodies = [
        json.dumps(sent), json.dumps({**sent, "Apid": str(sent["Apid"])}),
        requests.Request("POST", a.url, data=sent).prepare().body,
    ]
    for body in bodies:
        assert len(located(a, data=body, headers=header)) == 1


@pytest.mark.parametrize("media_type", [None, "multipart/form-data", "application/json"])
def test_a_takes_multipart_fields(a: ApidClient, image: str, media_type: str | None) -> None:
    """As PHP sends an array and Postman its form-data, also under a type set by hand."""
    parts = {name: (None, str(value)) for name, value in {**known(a), "Fimg": image}.items()}
    header = {} if media_type is None else {"Content-Type": media_type}
    assert len(located(a, files=parts, headers=header)) == 1


def test_a_takes_the_multipart_form_of_curl_under_another_type(
    a: ApidClient, photo: bytes
) -> None:
    """libcurl, and so PHP, adds the boundary to the caller's own type, and names the parts
    attachments."""
    parts = {**{name: str(value).encode() for name, value in known(a).items()}, "Fimg": photo}
    body = b"".join(
        f'--b\r\nContent-Disposition: attachment; name="{name}"'.encode()
        + (b'; filename="a.jpg"' if name == "Fimg" else b"") + b"\r\n\r\n" + value + b"\r\n"
        for name, value in parts.items()
    ) + b"--b--\r\n"
    assert len(located(a, data=body, headers={"Content-Type": f"{FORM}; boundary=b"})) == 1


def test_a_takes_a_file_as_it_is_or_in_base64(a: ApidClient, photo: bytes, image: str) -> None:
    for file in (photo, image.encode(), f"data:image/jpeg;base64,{image}".encode()):
        assert len(located(a, data=known(a), files={"Fimg": ("a.jpg", file)})) == 1


def test_a_takes_fifty_pictures_in_a_multipart_form(a: ApidClient, image: str) -> None:
    parts = {f"Fimg{number}": (None, image) for number in range(1, 51)}
    answer = checked(a.send("POST", "/api/similarity", data=known(a), files=parts))
    assert (answer["msg_code"], len(answer["similarity"])) == (1, 49)


def test_a_multipart_form_with_get_and_delete(a: ApidClient, image: str) -> None:
    face = a.enrol(image, "A")
    for method, path in (("GET", "singleface"), ("DELETE", "face")):
        parts = {name: (None, str(value)) for name, value in {**known(a), "Fid": face}.items()}
        assert checked(a.send(method, f"/api/{path}", files=parts))["Fname"] == "A"


def test_a_takes_base64_as_it_was_sent(a: ApidClient, image: str) -> None:
    for kind, text in as_sent(image).items():
        assert len(located(a, data={**known(a), "Fimg": text})) == 1, kind


@pytest.mark.parametrize("lines", [False, True])
def test_a_form_that_encodes_nothing(a: ApidClient, image: str, lines: bool) -> None:
    """``curl -d "Fimg=$(base64 photo.jpg)"``."""
    text = image
    if lines:
        text = "\n".join(image[at : at + 76] for at in range(0, len(image), 76))
    credentials = "&".join(f"{name}={value}" for name, value in known(a).items())
    body = f"{credentials}&Fname=张三&Fimg={text}".encode()
    assert len(located(a, data=body, headers={"Content-Type": FORM})) == 1


# b ------------------------------------------------------------------------------


def test_b_names_the_form_that_it_was_sent(stack: Stack, photo: bytes, image: str) -> None:
    b = FaceGroupClient(stack)
    key = {"X-API-Key": b.credentials.api_key}
    for options, kind in (
        ({"files": {"image": ("a.jpg", photo * 5)}}, "multipart/form-data"),
        ({"files": {"image": (None, image)}}, "multipart/form-data"),
        ({"data": {"image": image}}, FORM),
    ):
        answer = checked(b.send("POST", "/api/faces", headers=key, **options), 400)
        assert answer["code"] == 104900
        assert answer["msg"].endswith(f"the body must be a JSON object, not a form ({kind})")


def test_b_takes_base64_as_it_was_sent(stack: Stack, image: str) -> None:
    b = FaceGroupClient(stack)
    for kind, text in as_sent(image).items():
        pair = {"image1": image, "image2": text, "livenessEnabled": False}
        assert b.ask("POST", "/api/face/compare", pair)["compareScore"] > 99, kind


# c ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def c(stack: Stack) -> LinkfaceClient:
    return LinkfaceClient(stack)


@pytest.mark.parametrize("media_type", TYPES)
def test_c_takes_json_and_forms_whatever_the_type_says(
    c: LinkfaceClient, photo: bytes, media_type: str
) -> None:
    stored = c.compare(photo, photo)["image_one"]["image_one_id"]
    sent = {**c.known, "image_one_id": stored, "image_two_id": stored}
    header = {"Content-Type": media_type}
    for body in (json.dumps(sent), requests.Request("POST", c.url, data=sent).prepare().body):
        succeeded(c.send("POST", PATH, data=body, headers=header))


def test_c_takes_more_fields_than_it_knows(c: LinkfaceClient, photo: bytes) -> None:
    many: list[tuple[str, Any]] = [(f"field{number}", (None, "x")) for number in range(60)]
    many += [("tags", (None, "a")), ("tags", (None, "b")), ("thumbnail", ("t.png", photo))]
    many += [("base64", (None, base64.b64encode(photo).decode()))]
    files = [(f"image_{name}_file", ("a.jpg", photo)) for name in ("one", "two")]
    succeeded(c.send("POST", PATH, data=c.known, files=[*many, *files]))
    refused = c.send("POST", PATH, data=c.known, files=[*files, files[0]])
    assert checked(refused, 400)["status"] == "INVALID_ARGUMENT"


def test_c_takes_http_basic(c: LinkfaceClient, stack: Stack, photo: bytes) -> None:
    files = {f"image_{name}_file": ("a.jpg", photo) for name in ("one", "two")}
    right = (c.credentials.api_id, c.credentials.api_secret)
    succeeded(c.send("POST", PATH, files=files, auth=right))
    for wrong in ((right[0], "x"), ("x", right[1]), (right[0], "")):
        answer = checked(c.send("POST", PATH, files=files, auth=wrong), 401)
        assert answer["status"] == "UNAUTHORIZED"
    # Parameters count before the header, which a proxy may have set.
    both = c.send("POST", PATH, data=c.known, files=files, auth=("proxy", "password"))
    succeeded(both)


# d ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def d(stack: Stack) -> SearchClient:
    return SearchClient(stack)


def added(client: SearchClient, **options: Any) -> str:
    """The name of the one person that a call adds."""
    key = {"X-API-Key": client.credentials.api_key}
    options["headers"] = {**options.get("headers", {}), **key}
    answer = checked(client.send("POST", "/v1/addface", **options))
    assert answer["status"] == "OK", answer
    [person] = answer["message"]
    return str(person["name"])


@pytest.mark.parametrize("media_type", TYPES)
def test_d_takes_json_and_forms_whatever_the_type_says(
    stack: Stack, image: str, media_type: str
) -> None:
    header = {"Content-Type": media_type}
    sent: Json = {"img": image, "name": 4711}
    bodies = [json.dumps(sent), requests.Request("POST", stack.url, data=sent).prepare().body]
    for body in bodies:
        assert added(SearchClient(stack), data=body, headers=header) == "4711"


def test_d_takes_multipart_fields_and_files(stack: Stack, photo: bytes, image: str) -> None:
    for part in ((None, image), ("a.jpg", photo), ("a.txt", image.encode())):
        assert added(SearchClient(stack), files={"img": part, "name": (None, "Ada")}) == "Ada"


def test_d_deletes_by_a_multipart_field_and_by_json(d: SearchClient, image: str) -> None:
    key = {"X-API-Key": d.credentials.api_key}
    for send in ("json", "files"):
        person = d.add(image)[0]["person_id"]
        body: Json = {"person_id": person if send == "json" else (None, person)}
        answer = checked(d.send("POST", "/v1/delface", headers=key, **{send: body}))
        assert answer["status"] == "OK"


def test_d_takes_base64_as_it_was_sent(d: SearchClient, image: str) -> None:
    people = {d.add(text)[0]["person_id"] for text in as_sent(image).values()}
    assert len(people) == 1  # the same bytes are the same picture
