"""Dialect e's signatures, by the document's own example and by clients' requests."""

from __future__ import annotations

import base64
import hashlib
import json
from typing import Any

import pytest

from api_shim import parsing
from api_shim.auth import sm2
from api_shim.dialects.e import signing
from pipeline.accounts.model import SharedSecret, SigningCredential, Tenant
from pipeline.errors import BadSignature, InvalidParameter, StaleRequest

APP_ID = "19E179E5DC29C05E65B90CDE57A1C7E5"
SECRET = "D91CEB11EE62219CD91CEB11EE62219C"

# The document's example; its printed digest signed signType=SM2.
EXAMPLE = b"""{
"appId":"19E179E5DC29C05E65B90CDE57A1C7E5",
"version": "1",
"signType": "SM2",
"signData": "...",
"encType": "plain",
"timestamp":1591943910,
"data": {
"user_id":"gt",
"face_id":"5ed21b1c262daabe314048f5"
}
}"""
EXAMPLE_DIGEST = "2072bd8afb678c03ce9be14202e47b12031aa42a0a8c8593723d7027007ef804"
EXAMPLE_SIGN_DATA = (
    "MjA3MmJkOGFmYjY3OGMwM2NlOWJlMTQyMDJlNDdiMTIwMzFhYTQyYTBhOGM4NTkzNzIzZDcwMjcwMDdlZjgwNA=="
)


def credential(sm2_public_key: str | None = None) -> SigningCredential:
    tenant = Tenant(id=1, name="t", settings={}, disabled=False)
    return SigningCredential(tenant, APP_ID, (SharedSecret(SECRET, sm2_public_key),))


def parameters(**changed: Any) -> dict[str, Any]:
    body = {
        "appId": APP_ID, "version": "1", "signType": "SHA256", "signData": "x",
        "encType": "plain", "timestamp": 1591943910, "data": {"image": "aGk="}, **changed,
    }
    return parsing.read_object(json.dumps(body).encode())


def signed(**changed: Any) -> signing.SignedParameters:
    return signing.read_parameters(parameters(**changed))


def sha256_of(string: str) -> str:
    hexadecimal = hashlib.sha256(f"{string}&key={SECRET}".encode()).hexdigest()
    return base64.b64encode(hexadecimal.encode()).decode()


def test_the_string_of_the_document() -> None:
    string = signing.string_to_sign(parsing.read_object(EXAMPLE))
    assert string == (
        f"appId={APP_ID}&data="
        '{"face_id":"5ed21b1c262daabe314048f5","user_id":"gt"}'
        "&encType=plain&signType=SM2&timestamp=1591943910&version=1"
    )
    message = f"{string}&key={SECRET}".encode()
    assert hashlib.sha256(message).hexdigest() == EXAMPLE_DIGEST
    assert signing.sha256_signature(message).decode() == EXAMPLE_SIGN_DATA


def test_a_right_signature_passes_and_others_do_not() -> None:
    right = sha256_of(signed().signed)
    signing.check_signature(signed(signData=right), credential())
    for wrong in (right[:-4] + "AAA=", right.lower(), right + "\n", "é", "\ud800"):
        with pytest.raises((BadSignature, InvalidParameter)):
            signing.check_signature(signed(signData=wrong), credential())


def test_an_unknown_application_is_a_bad_signature() -> None:
    with pytest.raises(BadSignature):
        signing.check_signature(signed(signData=sha256_of(signed().signed)), None)


@pytest.mark.parametrize(
    "changed",
    [{"data": {"image": "aGk"}}, {"timestamp": 1591943911}, {"version": "2"}, {"more": "1"}],
)
def test_the_signature_covers_every_parameter(changed: dict[str, Any]) -> None:
    right = sha256_of(signed().signed)
    with pytest.raises(BadSignature):
        signing.check_signature(signed(signData=right, **changed), credential())


@pytest.mark.parametrize("name", ["encData", "extra"])
def test_three_parameters_are_not_signed(name: str) -> None:
    right = sha256_of(signed().signed)
    signing.check_signature(signed(signData=right, **{name: {"any": 1}}), credential())


@pytest.mark.parametrize("as_hex", [False, True])
def test_sm2_signatures_come_raw_or_as_hex(as_hex: bool) -> None:
    private_key, public_key = sm2.generate_key_pair()
    string = signed(signType="SM2").signed
    raw = sm2.sign(private_key, f"{string}&key={SECRET}".encode())
    sent = base64.b64encode(raw.hex().encode() if as_hex else raw).decode()
    signing.check_signature(signed(signType="SM2", signData=sent), credential(public_key))
    with pytest.raises(BadSignature):
        signing.check_signature(signed(signType="SM2", signData=sent), credential(None))


@pytest.mark.parametrize("sent", ["", "!", "AAAA", "A" * 88, base64.b64encode(b"z" * 128).decode()])
def test_sm2_nonsense_is_a_bad_signature(sent: str) -> None:
    _, public_key = sm2.generate_key_pair()
    with pytest.raises((BadSignature, InvalidParameter)):
        signing.check_signature(signed(signType="SM2", signData=sent), credential(public_key))


@pytest.mark.parametrize(
    "name", ["appId", "signType", "signData", "encType", "timestamp", "data"]
)
@pytest.mark.parametrize("value", [None, True, [], ["x"], "", "1.5"])
def test_wrong_types_are_named(name: str, value: Any) -> None:
    if value == "1.5" and name in ("appId", "signData"):
        return  # any text will do there
    if value in (None, "") and name in ("signType", "encType"):
        return  # they may be absent
    with pytest.raises(InvalidParameter, match=name):
        signed(**{name: value})


@pytest.mark.parametrize("value", [None, True, [], 2, "2", {"major": 1}])
def test_the_version_is_signed_and_not_looked_at(value: Any) -> None:
    assert signed(version=value).signed != signed().signed


@pytest.mark.parametrize(
    "changed",
    [{"signType": "MD5"}, {"encType": "aes"}, {"timestamp": 1.5}, {"timestamp": 10**30}],
)
def test_unknown_values_are_refused(changed: dict[str, Any]) -> None:
    with pytest.raises(InvalidParameter):
        signed(**changed)


@pytest.mark.parametrize("name", ["a&b", "a=b", "", "数=", "&"])
def test_names_cannot_blur_where_a_parameter_ends(name: str) -> None:
    with pytest.raises(InvalidParameter):
        signed(**{name: "1"})


def test_what_is_absent_is_not_signed() -> None:
    least = {"appId": APP_ID, "signData": "x", "timestamp": "1591943910", "data": {}}
    read = signing.read_parameters(parsing.read_object(json.dumps(least).encode()))
    assert read.signed == f"appId={APP_ID}&data={{}}&timestamp=1591943910"
    assert (read.sign_type, read.timestamp) == ("SHA256", 1591943910)


@pytest.mark.parametrize(
    ("value", "written"),
    [("text", "text"), (1, "1"), (5.0, "5.0"), (True, "true"), (None, "null"),
     ([1, "a"], '[1,"a"]'), ({"b": {"d": 1, "c": "中"}, "a": []}, '{"a":[],"b":{"c":"中","d":1}}')],
)
@pytest.mark.parametrize("name", ["more", "更多", "x" * 80])
def test_other_parameters_are_signed_whatever_they_are(
    name: str, value: Any, written: str
) -> None:
    assert f"&{name}={written}" in f"&{signed(**{name: value}).signed}"


@pytest.mark.parametrize("timestamp", ["1591943910", 1591943910.0])
def test_a_number_is_signed_as_it_was_written(timestamp: Any) -> None:
    read = signed(timestamp=timestamp)
    assert read.timestamp == 1591943910
    assert f"&timestamp={timestamp}&" in read.signed


@pytest.mark.parametrize("away", [-301, 301, 10**12])
def test_a_time_outside_the_window_is_stale(away: int) -> None:
    with pytest.raises(StaleRequest):
        signing.check_timestamp(1_000_000 + away, 1_000_000.0, 300)


@pytest.mark.parametrize("away", [-300, 0, 300])
def test_a_time_inside_the_window_passes(away: int) -> None:
    signing.check_timestamp(1_000_000 + away, 1_000_000.0, 300)
