"""The limits in the OpenAPI document are those of reading, for every field of every
operation of every dialect: values below, at and above each limit, in ASCII, Chinese and
emoji, and mixed.

Both directions are held, with two exceptions that the tables state: a limit in bytes is
exact for texts of one kind of character and errs on the safe side for mixed ones, and
reading takes notations besides (a number as text, a ``data:`` head before Base64).
"""

from __future__ import annotations

import base64
import json
import time
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, cast
from urllib.parse import urlencode

import jsonschema_rs
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from api_shim.dialects.answers import JSON
from api_shim.dialects.base import Dialect, Endpoint
from api_shim.dialects.e import signing
from api_shim.dialects.fields import (
    BooleanField,
    IntegerField,
    NumberField,
    ObjectField,
    RequestField,
    TextField,
    TextListField,
    object_schema,
)
from api_shim.dialects.media_fields import PictureField
from api_shim.dialects.registry import make_dialects
from api_shim.parsing import FORM, read_object
from api_shim.requests import Call
from api_shim.service import RecordStores
from pipeline.accounts.model import SharedSecret, SigningCredential, Tenant
from pipeline.config.settings import Settings
from pipeline.errors import FaceError
from tests.openapi import described_dialects
from tests.unit.pictures import encoded, image

TENANT = Tenant(1, "tenant", {}, disabled=False)
PICTURE = encoded(image(), "png")
BASE64 = base64.b64encode(PICTURE).decode()

# One, two, three and four bytes in UTF-8.
ALPHABETS = ("a", "é", "图", "😀")

SECRET = "S" * 32


class AnyRecords:
    """Records in which everything that is named exists."""

    tenants = SimpleNamespace(
        credentials=SimpleNamespace(
            authenticate=lambda *_: TENANT, by_api_key=lambda _: TENANT,
            signing=lambda app_id: SigningCredential(
                TENANT, app_id, (SharedSecret(SECRET, None),)
            ),
        ),
    )
    faces = SimpleNamespace(by_id=lambda *_: None)
    images = SimpleNamespace(by_any_spelling=lambda *_: SimpleNamespace(media_key="k"))
    collections = SimpleNamespace(get=lambda *_: None)
    jobs = media = galleries = None
    clock = time.time


DIALECTS = make_dialects(
    Settings(fetch_urls=True, signature_window_s=10**9), cast("RecordStores", AnyRecords)
)


@dataclass(frozen=True)
class Case:
    """One way to send one field of one operation."""

    dialect: Dialect
    endpoint: Endpoint
    method: str
    media_type: str
    fields: tuple[RequestField[Any], ...]
    field: RequestField[Any]

    def __str__(self) -> str:
        return f"{self.method} {self.endpoint.plain_path} {self.media_type} {self.field.name}"

    @property
    def in_data(self) -> bool:
        return self.field not in self.fields


def cases() -> list[Case]:
    found = []
    for dialect in DIALECTS.values():
        for endpoint in dialect.endpoints:
            for method in sorted(endpoint.methods):
                shape = dialect.shape(endpoint, method)
                places = {**({"query": shape.query} if shape.query else {}), **shape.body}
                for media_type, fields in places.items():
                    if media_type == "multipart/form-data":
                        continue  # its fields are those of the URL-encoded form, and files
                    found += [
                        Case(dialect, endpoint, method, media_type, fields, field)
                        for field in limited(fields)
                    ]
    return found


def limited(fields: tuple[RequestField[Any], ...]) -> list[RequestField[Any]]:
    """The fields with a limit; those of e's ``data``, as the rest there is signed."""
    for field in fields:
        if isinstance(field, ObjectField):
            return list(field.inside)
    kinds = (TextField, IntegerField, NumberField, BooleanField, TextListField)
    return [field for field in fields if isinstance(field, kinds)]


def good_value(name: str, schema: dict[str, Any]) -> Any:
    """A value that fits."""
    kind = schema.get("type")
    if "enum" in schema:
        return schema["enum"][0]
    if "contentEncoding" in schema:
        return BASE64
    if name == "person_id":
        return "01234567-89ab-cdef-0123-456789abcdef"
    if kind == "integer":
        return max(1, schema.get("minimum", 1))
    if kind == "number":
        return schema["minimum"]
    if kind == "boolean":
        return False
    return ["a"] if kind == "array" else "a"


def good_values(fields: tuple[RequestField[Any], ...]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for field in fields:
        if isinstance(field, ObjectField):
            values[field.name] = good_values(field.inside)
            continue
        members = field.object_members
        required = members.get("required", [])
        if "allOf" in members:
            required = [f"{field.name}_id"]
        values |= {name: good_value(name, members["properties"][name]) for name in required}
    return values


def texts(field: TextField) -> SearchStrategy[str]:
    """Around the limit of a text, in every alphabet and mixed."""
    most = field.max_bytes or field.max_chars or 128
    sizes = [
        most // each + off for each in (1, 2, 3, 4) for off in (-1, 0, 1) if most // each + off > 0
    ]
    uniform = st.builds(lambda letter, size: letter * size, st.sampled_from(ALPHABETS),
                        st.sampled_from(sorted({*sizes, 1, most, most + 1})))
    mixed = st.text(st.sampled_from("aé图😀\n\0 /"), min_size=1, max_size=most + 2)
    odd = st.sampled_from([
        "a\0", "a\n", "\n", "a\u2028", "\x7f", "a/b", "..", " . ", "%2E.", "..%2fx", "...", "a%20b",
        "\\", " ",
    ])
    return st.one_of(uniform, mixed, odd)


def values(field: RequestField[Any]) -> SearchStrategy[Any]:
    """Values of the field's own type, around its limits."""
    match field:
        case TextField():
            return texts(field)
        case IntegerField():
            around = [field.least - 1, field.least, field.most, field.most + 1]
            return st.one_of(
                st.sampled_from(around), st.integers(field.least - 3, field.most + 3)
            )
        case NumberField():
            limits = [field.least, field.most, field.least - 0.5, field.most + 0.5]
            return st.one_of(
                st.sampled_from(limits),
                st.floats(field.least - 1, field.most + 1, allow_nan=False).map(
                    lambda value: round(value, 9)
                ),
            )
        case BooleanField():
            return st.booleans()
        case TextListField():
            item = texts(field.item) if field.item else st.sampled_from(["a", "图", ""])
            sized = st.integers(1, 3) | st.sampled_from([field.most, field.most + 1])
            return st.one_of(
                st.lists(item, max_size=3),
                sized.map(lambda size: [f"g{number}" for number in range(size)]),
            )
        case PictureField(max_chars=int(most)):
            return st.sampled_from([BASE64, "", "A" * most, "A" * (most + 4)])
        case _:
            return st.sampled_from([BASE64, ""])


def is_uniform(value: Any) -> bool:
    """Whether a text's characters take equally many bytes: then limits in bytes are exact
    in the schema."""
    parts = value if isinstance(value, list) else [value]
    return all(
        len({len(letter.encode()) for letter in part}) <= 1
        for part in parts if isinstance(part, str)
    )


def fits_schema(case: Case, body: dict[str, Any]) -> bool:
    schema = object_schema("Request", case.fields)
    return jsonschema_rs.Draft202012Validator(schema).is_valid(body)


def accepted(case: Case, body: dict[str, Any]) -> bool:
    """Whether reading takes a request."""
    call = Call(
        case.method, case.endpoint.path,
        urlencode(body) if case.media_type == "query" else "",
        {"content-type": case.media_type, "x-api-key": "key"},
        b"" if case.media_type == "query" else content(case, body), "r-1",
        {"face_token": "t", "image_id": "i", "group_id": "g"},
    )
    try:
        case.dialect.read(case.endpoint, call, lambda *_: None)
    except FaceError:
        return False
    return True


def content(case: Case, body: dict[str, Any]) -> bytes:
    if case.media_type == FORM:
        flat = {
            name: str(value).lower() if isinstance(value, bool) else value
            for name, value in body.items()
        }
        return urlencode(flat).encode()
    if case.dialect.letter == "e":
        body = signed(body)
    return json.dumps(body).encode()


def signed(body: dict[str, Any]) -> dict[str, Any]:
    whole = {**body, "signType": "SHA256", "encType": "plain", "timestamp": 1_700_000_000}
    text = signing.string_to_sign(read_object(json.dumps(whole).encode()))
    signature = signing.sha256_signature(f"{text}&key={SECRET}".encode())
    return {**whole, "signData": signature.decode()}


CASES = cases()


def check(case: Case, value: Any) -> None:
    body = good_values(case.fields)
    place = body["data"] if case.in_data else body
    place[case.field.name] = value
    fits, taken = fits_schema(case, body), accepted(case, body)
    if fits:
        assert taken, f"the schema takes {str(value)[:300]!r}, reading does not"
    elif is_uniform(value) and value != "":
        assert not taken, f"reading takes {str(value)[:300]!r}, the schema does not"


def edges(field: RequestField[Any]) -> list[Any]:
    """Just below, at and just above each limit."""
    match field:
        case TextField():
            return [
                letter * size
                for letter in ALPHABETS
                for size in around((field.max_bytes or 0) // len(letter.encode()))
                + around(field.max_chars or 128)
                if size > 0
            ]
        case IntegerField():
            return [*around(field.least), *around(field.most)]
        case NumberField():
            return [field.least - 1e-6, field.least, field.most, field.most + 1e-6]
        case TextListField():
            return [[f"g{number}" for number in range(size)] for size in around(field.most)]
        case _:
            return []


def around(limit: int) -> list[int]:
    return [limit - 1, limit, limit + 1]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_limits_are_those_of_reading(case: Case) -> None:
    for value in edges(case.field):
        check(case, value)


@pytest.mark.parametrize("case", CASES, ids=str)
@settings(
    max_examples=12, deadline=None, database=None, derandomize=True,
    suppress_health_check=list(HealthCheck),
)
@given(data=st.data())
def test_schema_and_reading_agree(case: Case, data: st.DataObject) -> None:
    check(case, data.draw(values(case.field)))


def test_every_field_with_a_limit_is_tested() -> None:
    assert len(described_dialects()) == len(DIALECTS)
    assert {case.dialect.letter for case in CASES} == set(DIALECTS)
    names = {case.field.name for case in CASES}
    assert {"Fname", "description", "facedb", "groupId", "max_face_num", "topN", "name"} <= names
    assert JSON in {case.media_type for case in CASES}


@pytest.mark.parametrize("case", [case for case in CASES if not case.in_data], ids=str)
def test_good_values_are_taken(case: Case) -> None:
    """Else the property above would hold of requests that fail for another reason."""
    body = good_values(case.fields)
    assert fits_schema(case, body)
    assert accepted(case, body)
