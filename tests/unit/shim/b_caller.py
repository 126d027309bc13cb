"""Calls of dialect b without a server: a request in, its job request or its reply out."""

from __future__ import annotations

import json
import os
import time
from typing import Any
from urllib.parse import unquote

import msgspec
from sqlalchemy import Engine
from starlette.routing import Match, Route

from api_shim.dialects.b.dialect import FacesAndGroups
from api_shim.dialects.base import DialectRequest, Endpoint
from api_shim.record_actions import RecordRequest
from api_shim.requests import Call, JobRequest, Reply
from api_shim.service import RecordStores
from pipeline.accounts.kinds import API_KEY
from pipeline.accounts.tenants import TenantStore
from pipeline.config.settings import Settings
from pipeline.encryption.keyring import KEY_BYTES
from pipeline.encryption.vault import Vault
from pipeline.errors import FaceError
from pipeline.jobs.store import JobStore
from pipeline.media.base import MediaStore
from pipeline.types import JsonObject

# Callers of one database are of one installation.
MASTER = os.urandom(KEY_BYTES)

UNSAFE_IDS = (
    "/", "a/b", "a//b", "a/", "../facesLib", "../faces/facesLib", "x/../y", "binding/x", "a\\b",
    ".", "..", " ..", "%2e%2e", ".%2E", "..%2ffacesLib", "..%5Cx",
)
"""Ids of which a client or a proxy may make another path."""


class Caller:
    """Calls dialect b as one tenant, by its API key."""

    def __init__(
        self, engine: Engine, media: MediaStore, tenant: int, usual_tenant: str = ""
    ) -> None:
        tenants = TenantStore(engine, Vault(MASTER))
        jobs = JobStore(engine)
        self.records = RecordStores(engine, tenants, jobs, media, time.time)
        self.dialect = FacesAndGroups(Settings(b_tenant=usual_tenant), self.records)
        self.tenant = tenant
        self.key = tenants.credentials.issue(tenant, API_KEY).secret

    def call(self, method: str, path: str, body: Any = None, **headers: str) -> JobRequest | Reply:
        """The outcome of a request; errors as their replies."""
        endpoint, values = self._endpoint(method, path.partition("?")[0])
        content = b"" if body is None else json.dumps(body).encode()
        call = Call(
            method, path, path.partition("?")[2], {"x-api-key": self.key, **headers}, content,
            "r-1", values,
        )
        try:
            request = self.dialect.read(endpoint, call, lambda *_: None)
            return self._carry_out(request)
        except FaceError as error:
            return self.dialect.render_error(error, call)

    def _carry_out(self, request: DialectRequest) -> JobRequest | Reply:
        if isinstance(request, RecordRequest):
            return request.carry_out(self.records)
        assert isinstance(request, JobRequest)
        return request

    def ask(self, method: str, path: str, body: Any = None, **headers: str) -> JsonObject:
        """The ``data`` of a call that succeeds."""
        answer = envelope(self.call(method, path, body, **headers))
        assert (answer["code"], answer["msg"]) == (0, "SUCCESS"), answer
        data: JsonObject = answer["data"]
        return data

    def refused(
        self, method: str, path: str, body: Any = None, *, status: int = 400, **headers: str
    ) -> tuple[int, str]:
        """(code, msg) of a call that is refused with an HTTP status."""
        reply = self.call(method, path, body, **headers)
        assert isinstance(reply, Reply)
        assert reply.status == status
        answer = envelope(reply)
        assert answer["data"] == {}
        return answer["code"], answer["msg"]

    def _endpoint(self, method: str, path: str) -> tuple[Endpoint, dict[str, str]]:
        scope = {"type": "http", "path": unquote(path), "method": method}
        for endpoint in self.dialect.endpoints:
            match, found = Route(endpoint.path, lambda: None, methods=[method]).matches(scope)
            if match is not Match.NONE and method in endpoint.methods:
                return endpoint, found["path_params"]
        raise AssertionError(f"no endpoint for {method} {path}")


def envelope(reply: JobRequest | Reply) -> JsonObject:
    """The envelope of a reply, which has nothing but the documented three."""
    assert isinstance(reply, Reply)
    assert reply.media_type == "application/json"
    found: JsonObject = msgspec.json.decode(reply.body)
    assert list(found) == ["code", "msg", "data"]
    return found
