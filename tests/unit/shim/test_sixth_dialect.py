"""A sixth document is one folder, and one line in the registry.

The folder is written into a temporary package here; the package's name stands for the
line in ``api_shim.dialects.registry.PACKAGES``. No other file changes.
"""

from __future__ import annotations

import asyncio
import base64
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator

from api_shim.app import Shim
from api_shim.dialects.registry import PACKAGES
from pipeline.accounts.kinds import API_KEY
from pipeline.config.settings import Settings
from pipeline.database.engine import open_engine
from pipeline.database.migrate import upgrade
from tests.unit.pictures import encoded, image

PACKAGE = "sixth_dialect"

FILES = {
    "__init__.py": '''
        """Document f: JSON in, ``{"ok": ...}`` out, an API key."""

        from collections.abc import Mapping
        from typing import Any

        import msgspec

        from api_shim import parsing
        from api_shim.dialects.answers import AnswerField, answer_schema, refuse, respond
        from api_shim.dialects.base import Dialect, Endpoint, authenticate_api_key, schema_name
        from api_shim.dialects.fields import IntegerField, TextField, read_fields
        from api_shim.dialects.media_fields import PictureField
        from api_shim.record_actions import RecordRequest
        from api_shim.requests import JobRequest, Reply
        from pipeline.errors import Unavailable
        from pipeline.media.pictures import PictureLimits
        from pipeline.operations import LocateParams

        TEAM = TextField("team", max_bytes=16, printable=True)
        SCORE = IntegerField("score", required=False, default=70, least=0, most=100)
        PHOTO = PictureField("photo")
        OK = AnswerField("ok", "boolean")


        def answer(status: int, **members: Any) -> Reply:
            return Reply(status, msgspec.json.encode(members))


        class Sixth(Dialect):
            letter = "f"
            title = "The sixth"
            endpoints = (
                Endpoint(
                    "/sixth/teams", frozenset({"POST"}), "teams", "create_group", "Make a team.",
                    takes=(TEAM, SCORE),
                ),
                Endpoint(
                    "/sixth/faces", frozenset({"POST"}), "faces", "locate", "Count faces.",
                    takes=(PHOTO,), gives=(AnswerField("faces", "integer"),),
                ),
            )

            def __init__(self, settings, records):
                self.limits = PictureLimits.from_settings(settings)
                self._tenants = records.tenants

            def read(self, endpoint, call, admit):
                tenant = authenticate_api_key(call, self._tenants)
                admit(tenant)
                values = read_fields(endpoint.takes, parsing.read_object(call.body))
                if endpoint.operation == "teams":
                    return RecordRequest(
                        tenant,
                        lambda records, tenant_id: records.collections.create(
                            tenant_id, values[TEAM], name=values[TEAM], score=values[SCORE]
                        ),
                        lambda _: answer(200, ok=True),
                    )
                return JobRequest(tenant, "locate", LocateParams().to_json(), (values[PHOTO],))

            def render(self, job, attached):
                if job.result is None:
                    return answer(200, ok=False, why=job.error_code)
                return answer(200, ok=True, faces=len(job.result["pictures"][0]["faces"]))

            def render_error(self, error, call):
                status = 503 if isinstance(error, Unavailable) else 400
                return answer(status, ok=False, why=getattr(error, "code", "internal"))

            def responses(self, endpoint):
                title = schema_name("f", endpoint, "Answer")
                failed = answer_schema("FFailure", (OK, AnswerField("why")))
                return {
                    "200": respond("Done.", answer_schema(title, (OK, *endpoint.gives)), failed),
                    "400": refuse(400, failed), "503": refuse(503, failed),
                }


        DIALECT = Sixth
    ''',
}


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    folder = tmp_path / "packages" / PACKAGE
    folder.mkdir(parents=True)
    for name, text in FILES.items():
        (folder / name).write_text(textwrap.dedent(text))
    monkeypatch.syspath_prepend(str(folder.parent))
    yield PACKAGE
    sys.modules.pop(PACKAGE, None)


class Client:
    """Calls a service in this process; no job is carried out but by ``finish``."""

    def __init__(self, settings: Settings, package: str) -> None:
        engine = open_engine(settings.sql_url)
        upgrade(engine)
        engine.dispose()
        self._app = Shim(settings, (*PACKAGES, package))
        self.service = self._app._service
        tenants = self.service.tenants
        self.tenant = tenants.create("one").id
        self.key = tenants.credentials.issue(self.tenant, API_KEY).secret

    def call(self, method: str, path: str, body: Any = None, **headers: str) -> httpx.Response:
        async def send() -> httpx.Response:
            transport = httpx.ASGITransport(self._app)
            async with httpx.AsyncClient(transport=transport, base_url="http://shim") as client:
                return await client.request(
                    method, path, json=body, headers={"X-API-Key": self.key, **headers}
                )

        return asyncio.run(send())

    def finish(self, job_id: str, result: dict[str, Any]) -> None:
        """End the job as a worker does."""
        jobs = self.service.jobs
        job = jobs.read.find(job_id)
        assert job is not None
        claim = jobs.claim(job.id, job.stage, "worker", 10.0, 3)
        assert claim is not None
        assert jobs.finish(claim, result, [], None)

    def close(self) -> None:
        self._app.release()
        self.service.close()


@pytest.fixture
def client(tmp_path: Path, package: str) -> Iterator[Client]:
    client = Client(Settings(data_dir=tmp_path), package)
    yield client
    client.close()


def test_an_action_on_records(client: Client) -> None:
    made = client.call("POST", "/sixth/teams", {"team": "red", "score": 90})
    assert (made.status_code, made.json()) == (200, {"ok": True})
    groups = client.call("GET", "/api/faceGroups").json()["data"]["faceGroupList"]
    assert {"red", "default"} == {group["groupId"] for group in groups}
    for wrong in ({}, {"team": "x" * 17}, {"team": "红" * 6}, {"team": "a", "score": 101}):
        refused = client.call("POST", "/sixth/teams", wrong)
        assert refused.status_code == 400
        assert refused.json()["ok"] is False
    assert client.call("GET", "/sixth/teams").status_code == 405


def test_a_job_is_polled_in_its_own_envelope(client: Client) -> None:
    photo = base64.b64encode(encoded(image(), "png")).decode()
    accepted = client.call(
        "POST", "/sixth/faces", {"photo": photo}, Prefer="respond-async"
    )
    assert accepted.status_code == 202
    job_id = accepted.json()["job_id"]
    assert client.call("GET", f"/jobs/{job_id}").status_code == 202
    face = {"box": [0, 0, 9, 9], "score": 0.9}
    client.finish(job_id, {"pictures": [{"width": 9, "height": 9, "faces": [face]}]})
    assert client.call("GET", f"/jobs/{job_id}").json() == {"ok": True, "faces": 1}


def test_credentials_are_asked_for(client: Client) -> None:
    client.key = "wrong"
    refused = client.call("POST", "/sixth/teams", {"team": "red"})
    assert refused.json() == {"ok": False, "why": "bad_credentials"}


def test_it_is_described(client: Client) -> None:
    document = client.call("GET", "/openapi.json").json()
    assert not list(OpenAPIV31SpecValidator(document).iter_errors())
    operation = document["paths"]["/sixth/teams"]["post"]
    assert operation["operationId"] == "f_create_group"
    assert "202" not in operation["responses"]
    assert "202" in document["paths"]["/sixth/faces"]["post"]["responses"]
    assert document["components"]["schemas"]["FCreateGroupRequest"]["required"] == ["team"]
