"""Calls of every operation that a running service describes, made up by schemathesis from
the description, and checked against it.

A made-up call alone would stop at the credentials or at the first picture: most are given
right ones, and the ids of things that are there.
"""

from __future__ import annotations

import base64
import json
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlencode

import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from schemathesis import Case, GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.openapi import from_dict
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from pipeline.batches.model import BatchOptions
from pipeline.batches.store import BatchStore
from pipeline.encryption.hashing import digest
from tests.contract_clients import ApidClient
from tests.face2_client import Face2Client, Json
from tests.stack import Stack

CHECKS = [
    not_a_server_error, status_code_conformance, content_type_conformance,
    response_headers_conformance, response_schema_conformance,
]

# How a caller may ask for any operation.
_MANNERS: list[dict[str, str]] = [
    *[{}] * 6, {"Prefer": "respond-async"}, {"Prefer": "wait=0"}, {"Idempotency-Key": "once"},
    {"Idempotency-Key": "x" * 300}, {"Content-Encoding": "gzip"},
]

FORM = "application/x-www-form-urlencoded"

# Of ten calls so many have right credentials, a known picture, a known id.
OF_TEN = 8

_PICTURES = frozenset(
    {"Fimg", "img", "image", "image1", "image2", *(f"Fimg{number}" for number in range(1, 4))}
)


class Fuzz:
    """One tenant's calls; ``seen`` counts (operation, kind of answer).

    With ``victim``, which holds another tenant's credentials, calls name that tenant's records,
    and ``told`` collects the answers.
    """

    def __init__(
        self, stack: Stack, photos: Path, name: str, victim: Fuzz | None = None,
        told: Callable[[str, bytes], None] | None = None,
    ) -> None:
        self.url = stack.url
        self.tenant = stack.add_tenant(name)
        self._batches = BatchStore(stack.cluster.engine)
        self._known: Json = {}
        self._deleted = False
        self._victim = victim
        self._told = told
        self.seen: Counter[tuple[str, str]] = Counter()
        self._apid = ApidClient(stack, self.tenant)
        self._face2 = Face2Client(stack.url, self.tenant)
        self._files = [
            (photos / name).read_bytes() for name in ("obama.jpg", "biden.jpg", "two_people.jpg")
        ]
        self._texts = [base64.b64encode(file).decode() for file in self._files]
        document = requests.get(f"{stack.url}/openapi.json", timeout=30).json()
        self._schema = from_dict(document)

    def operations(self) -> Iterator[tuple[str, Callable[[int, int], None]]]:
        """The name of each operation, and a function that makes a number of calls from a
        seed. Operations that empty the gallery stand last."""
        found = [cast("Any", result).ok() for result in self._schema.get_all_operations()]
        found.sort(key=lambda operation: "facesLib" in operation.path)
        for operation in found:
            yield operation.label, self._runner(operation)

    def _runner(self, operation: Any) -> Callable[[int, int], None]:
        def run(examples: int, start: int) -> None:
            known = (self._victim or self).known(anew=self._victim is None)

            @seed(start)
            @settings(
                max_examples=examples, database=None, deadline=None, phases=[Phase.generate],
                suppress_health_check=list(HealthCheck),
            )
            @given(st.data())
            def calls(data: st.DataObject) -> None:
                self._call(data, operation, known)

            calls()
            self._deleted = self._deleted or operation.method == "delete"

        return run

    def _call(self, data: st.DataObject, operation: Any, known: Json) -> None:
        modes = [GenerationMode.POSITIVE] * 3 + [GenerationMode.NEGATIVE]
        case = data.draw(operation.as_strategy(generation_mode=data.draw(st.sampled_from(modes))))
        # ``_MANNERS`` chooses them: random keys would repeat, and be refused as conflicts.
        for name in ("Prefer", "Idempotency-Key"):
            case.headers.pop(name, None)
        _Mender(self, data, known).mend(case)
        options: Json = {"headers": {"X-API-Key": self.tenant.api_key}}
        if not _often(data):
            options["headers"] = {}
        options["headers"].update(data.draw(st.sampled_from(_MANNERS)))
        if case.method == "GET" and "Apid" in case.query:
            # As the samples of document a; a picture has no room in a query.
            options["data"] = urlencode(case.query)
            options["headers"]["Content-Type"] = FORM
            case.query = {}
        response = case.call(base_url=self.url, timeout=60, **options)
        self.seen[operation.label, _verdict(response)] += 1
        if self._told is not None:
            self._told(operation.label, response.content)
        case.validate_response(response, checks=CHECKS)

    def known(self, *, anew: bool = True) -> Json:
        """The ids of things that are there, or were: some are put there at first, and
        again after calls that delete."""
        if not self._known or (anew and self._deleted):
            self._known, self._deleted = self._make(), False
        return self._known

    def _make(self) -> Json:
        headers = {"X-API-Key": self.tenant.api_key}
        if len(self._apid.faces()) < 3:
            for text in self._texts[:2]:
                self._apid.enrol(text)
        self._post("/api/faces", {"image": self._texts[0]}, headers)
        self._post("/api/faceGroups", {"groupId": "g", "groupName": "g"}, headers)
        listed = requests.get(f"{self.url}/api/faces", headers=headers, timeout=30).json()["data"]
        faces = listed["face"]
        job = requests.post(
            f"{self.url}/api/face/compare", timeout=30, headers={**headers, "Prefer": "wait=0"},
            json={"image1": self._texts[0], "image2": self._texts[1], "livenessEnabled": False},
        )
        compared = requests.post(
            f"{self.url}/identity/compare_faces_in_two_images", timeout=60,
            params={"api_id": self.tenant.api_id, "api_secret": self.tenant.api_secret},
            files={f"image_{name}_file": self._files[0] for name in ("one", "two")},
        ).json()
        tenant = self.tenant.tenant_id
        batch, _ = self._batches.open(tenant, digest(str(tenant)), "photos", BatchOptions())
        added = self._post("/v1/addface", {"img": self._texts[0]}, headers, form=True)
        return {
            "Fid": [face["id"] for face in faces],
            "face_token": [face["faceToken"] for face in faces],
            "image_id": [face["imageId"] for face in faces],
            "group_id": ["g", "default"],
            "groupId": ["g"],
            "group": [["g"]],
            "faceGroupList": [["g", "default"]],
            "facedb": ["g"],
            "job_id": [job.headers["x-job-id"]],
            "batch_id": [batch.id],
            "image_one_id": [compared["image_one"]["image_one_id"]],
            "image_two_id": [compared["image_two"]["image_two_id"]],
            "person_id": [person["person_id"] for person in added["message"]],
        }

    def _post(self, path: str, content: Json, headers: Json, *, form: bool = False) -> Json:
        sent: Json = {"data": content} if form else {"json": content}
        found: Json = requests.post(self.url + path, headers=headers, timeout=60, **sent).json()
        return found

    def credentials(self) -> Json:
        """The credentials among the parameters of documents a and c."""
        tenant = self.tenant
        return {
            "Apid": tenant.apid, "Kvalue": tenant.kvalue, "api_id": tenant.api_id,
            "api_secret": tenant.api_secret,
        }

    def picture(self, name: str, number: int) -> Any:
        """A right value for a parameter that is a picture; None for others."""
        if name.endswith("_file"):
            return self._files[number]
        return self._texts[number] if name in _PICTURES else None

    def signed(self, data: Any, stamp: int) -> Json:
        return self._face2.signed(data, timestamp=stamp)


class _Mender:
    """Puts right values into a made-up case."""

    def __init__(self, fuzz: Fuzz, data: st.DataObject, known: Json) -> None:
        self._fuzz = fuzz
        self._data = data
        self._right = {**known, **{name: [value] for name, value in fuzz.credentials().items()}}

    def mend(self, case: Case[Any]) -> None:
        for place in ("path_parameters", "query", "body"):
            values = getattr(case, place)
            if isinstance(values, dict):
                setattr(case, place, self._mended(values))
        if case.path.startswith("/identity/") and isinstance(case.body, dict) and self._often():
            self._choose(case)
        made = case.operation.label == "POST /api/faceGroups" and isinstance(case.body, dict)
        if made and self._often():
            name = self._data.draw(st.uuids()).hex
            case.body = {**cast("Json", case.body), "groupId": name, "groupName": name}
        if case.media_type == "application/json" and isinstance(case.body, dict):
            case.body = {
                name: value for name, value in case.body.items() if not isinstance(value, bytes)
            }
        if case.path.startswith("/face2/") and isinstance(case.body, dict) and self._often():
            self._sign(case, case.body.get("data"))

    def _choose(self, case: Case[Any]) -> None:
        """Send every picture of document c in one way: as a file, or by its id."""
        body = cast("Json", case.body)
        kept = {
            name: value for name, value in body.items()
            if not name.endswith(("_file", "_url", "_id")) or name == "api_id"
        }
        for image in ("image_one", "image_two"):
            way = self._data.draw(st.sampled_from(["file", "file", "id"]))
            kept[f"{image}_{way}"] = (
                self._fuzz.picture("_file", self._data.draw(st.sampled_from([0, 1, 2])))
                if way == "file"
                else self._data.draw(st.sampled_from(self._right["image_one_id"]))
            )
        case.body, case.media_type = kept, "multipart/form-data"

    def _mended(self, values: Json) -> Json:
        return {name: self._value(name, value) for name, value in values.items()}

    def _value(self, name: str, value: Any) -> Any:
        if name == "data" and isinstance(value, dict):
            return self._mended(value)
        right = self._fuzz.picture(name, self._data.draw(st.sampled_from([0, 0, 1, 2])))
        if right is None and name in self._right and self._right[name]:
            right = self._data.draw(st.sampled_from(self._right[name]))
        return right if right is not None and self._often() else value

    def _sign(self, case: Case[Any], data: Any) -> None:
        try:
            json.dumps(data).encode()
            past = self._data.draw(st.integers(0, 200))  # a signed request is accepted once
            case.body = self._fuzz.signed(data, int(time.time()) - past)
        except UnicodeEncodeError:
            return  # a client cannot sign a value that is not text

    def _often(self) -> bool:
        return _often(self._data)


def succeeded(verdict: str) -> bool:
    """Whether an answer says that all went well."""
    return verdict in {
        "200 1", "200 0", "200 OK", "200 ok", "200 cancelled", "200 reading", "200 ",
        "409 job_ended",
    }


def _often(data: st.DataObject) -> bool:
    return data.draw(st.sampled_from([True] * OF_TEN + [False] * (10 - OF_TEN)))


def _verdict(response: schemathesis.Response) -> str:
    """The status, and the document's own code."""
    try:
        content = json.loads(response.content)
    except ValueError:
        return f"{response.status_code} not JSON"
    code = next((content[key] for key in ("msg_code", "code", "status") if key in content), "")
    return f"{response.status_code} {code}"
