"""Every operation of document a, as calls that tests can break."""

from __future__ import annotations

from typing import Any

from tests.contract_clients import ApidClient
from tests.face2_client import Json

# Every operation, with the fields that a good call has.
CALLS: dict[str, tuple[str, str, tuple[str, ...]]] = {
    "list": ("GET", "face", ()),
    "enrol": ("POST", "face", ("Fimg",)),
    "update": ("PUT", "face", ("Fid", "Fimg")),
    "rename": ("PUT", "face", ("Fid", "Fname")),
    "delete": ("DELETE", "face", ("Fid",)),
    "show": ("GET", "singleface", ("Fid",)),
    "similarity": ("POST", "similarity", ("Fimg1", "Fimg2")),
    "detection": ("POST", "detection", ("Fimg",)),
    "match": ("GET", "match", ("Fid", "Fimg")),
}

WITH_A_FACE = [name for name, (_, _, fields) in CALLS.items() if "Fid" in fields]
WITH_A_PICTURE = ["enrol", "update", "similarity", "detection", "match"]


def call_of(name: str, **given: Any) -> tuple[str, str, Json]:
    """Method, path and fields of a call; a field that is not given is as good as any."""
    method, path, names = CALLS[name]
    usual = {"Fid": 999_999_999, "Fname": "new", "Fimg": "aGk=", "Fimg1": "aGk=", "Fimg2": "aGk="}
    return method, path, {**{field: usual[field] for field in names}, **given}


def with_pictures(name: str, picture: str, **given: Any) -> tuple[str, str, Json]:
    """The call with ``picture`` as its last one."""
    method, path, fields = call_of(name, **given)
    last = [field for field in fields if field.startswith("Fimg")][-1]
    return method, path, {**fields, last: picture}


def send(client: ApidClient, call: tuple[str, str, Json]) -> int:
    method, path, fields = call
    return client.code(method, path, **fields)
