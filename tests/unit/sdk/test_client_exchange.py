"""What the client sends, repeats and waits for, against a service that is a function."""

from __future__ import annotations

import base64
import json
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import faceline_client as sdk
import httpx
import pytest
from faceline_client import operations
from faceline_client.batches import Batch
from faceline_client.credentials import sign

from api_shim.dialects.e.signing import sha256_signature, string_to_sign

SECRETS = ("key-secret", "k-secret", "api-secret", "app-secret")

KNOWN = sdk.Credentials(
    api_key="key-secret", apid=7, kvalue="k-secret", api_id="pair", api_secret="api-secret",
    app_id="app", app_secret="app-secret",
)

PICTURE = b"picture-bytes"

COMPARED = {
    "code": 0, "msg": "SUCCESS", "data": {"compareScore": 91.5, **{
        f"detectionResult{each}": {
            "left": 1, "top": 2, "right": 11, "bottom": 22, "roll": 0, "yaw": 3, "pitch": -4,
            "blurness": 80.0,
        } for each in (1, 2)
    }},
}

Answer = httpx.Response | Exception | Callable[[httpx.Request], httpx.Response]


@dataclass
class Service:
    """Gives ``answers`` one after the other, and keeps the requests and the pauses."""

    answers: list[Answer]
    requests: list[httpx.Request] = field(default_factory=list)
    pauses: list[float] = field(default_factory=list)

    def handle(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer if isinstance(answer, httpx.Response) else answer(request)

    def client(self, **options: Any) -> sdk.Client:
        http = httpx.Client(transport=httpx.MockTransport(self.handle))
        return sdk.Client("http://face.example/below/", KNOWN, http=http, **options)

    def sent(self, number: int = -1) -> Any:
        return json.loads(self.requests[number].content)


Serve = Callable[..., Service]


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch) -> Iterator[Serve]:
    services: list[Service] = []

    def make(*answers: Answer) -> Service:
        service = Service([*answers])
        services.append(service)
        clock = SimpleNamespace(sleep=service.pauses.append)
        monkeypatch.setattr("faceline_client.client.time", clock)
        return service

    yield make
    assert [service.answers for service in services] == [[] for _ in services]


def ok(body: Any = COMPARED, status: int = 200, **headers: str) -> httpx.Response:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return httpx.Response(status, json=body, headers=named)


def accepted(job_id: str = "j1", **more: object) -> httpx.Response:
    said = {"job_id": job_id, "status": "queued", "href": f"/jobs/{job_id}", **more}
    return httpx.Response(202, json=said, headers={"Retry-After": "1"})


def busy(status: int = 503, after: str = "1") -> httpx.Response:
    body = {"code": 104905, "msg": "RATE_LIMITED", "data": {}}
    return httpx.Response(status, json=body, headers={"Retry-After": after})


def test_a_held_call_is_one_request(serve: Serve) -> None:
    service = serve(ok())

    found = service.client().compare(PICTURE, bytearray(PICTURE), liveness=True)

    (request,) = service.requests
    assert str(request.url) == "http://face.example/below/api/face/compare"
    assert request.headers["x-api-key"] == "key-secret"
    assert request.headers["prefer"] == "wait=20"
    assert service.sent() == {
        "image1": base64.b64encode(PICTURE).decode(), "livenessEnabled": True,
        "image2": base64.b64encode(PICTURE).decode(),
    }
    assert found.score == 91.5
    assert (found.first.box.width, found.first.box.height) == (10, 20)
    assert found.second.liveness is None


def test_a_job_that_takes_longer_is_polled(serve: Serve) -> None:
    service = serve(accepted(), accepted(stage="detect", position=3), ok())

    assert service.client().compare(PICTURE, PICTURE).score == 91.5
    assert [each.url.path for each in service.requests[1:]] == ["/below/jobs/j1"] * 2
    assert service.requests[1].url.params["wait"] == "20"
    assert service.pauses == [1.0]  # the answer was not held


def test_a_job_that_is_not_done_in_time_goes_on(serve: Serve) -> None:
    service = serve(accepted(), accepted(stage="detect", position=3))

    with pytest.raises(sdk.TimedOut, match="queued at detect") as caught:
        service.client(timeout=0).compare(PICTURE, PICTURE)
    assert caught.value.job_id == "j1"
    assert service.requests[0].headers["prefer"] == "respond-async"


def test_a_submitted_job(serve: Serve) -> None:
    service = serve(accepted(), accepted(stage="embed", position=1), ok())
    client = service.client()

    job = client.submit(operations.compare(PICTURE, PICTURE))

    assert job.id == "j1"
    assert service.requests[0].headers["prefer"] == "respond-async"
    assert job.status() == sdk.JobStatus("queued", "embed", 1)
    assert job.wait().score == 91.5


def test_a_watched_job_is_shown_where_it_moves(serve: Serve) -> None:
    at = [("queued", "decode", 2), ("queued", "decode", 2), ("running", "embed", 0)]
    polls = [
        accepted(status=state, stage=stage, position=position) for state, stage, position in at
    ]
    service = serve(*polls, ok())

    seen = list(service.client().job("j1", sdk.results.Comparison).watch())

    assert [(each.state, each.stage) for each in seen] == [
        ("queued", "decode"), ("running", "embed"), ("ended", None)
    ]


def test_what_is_no_job_cannot_be_submitted(serve: Serve) -> None:
    operation: Any = operations.list_faces()
    with pytest.raises(ValueError, match="no job"):
        serve().client().submit(operation)


def test_a_refused_submit_is_an_error(serve: Serve) -> None:
    service = serve(ok({"msg_code": 4}))

    with pytest.raises(sdk.BadPicture):
        service.client().submit(operations.detect(b"no picture"))


LOST = httpx.ReadError("gone")


@pytest.mark.parametrize(
    "failure", [LOST, httpx.ConnectError("no"), httpx.ReadTimeout("late"), busy(), busy(429)],
    ids=["lost", "refused", "silent", "503", "429"],
)
def test_a_job_is_repeated_under_its_key(serve: Serve, failure: Answer) -> None:
    service = serve(failure, ok())

    service.client().compare(PICTURE, PICTURE)

    first, second = (each.headers["idempotency-key"] for each in service.requests)
    assert first == second
    assert service.sent(0) == service.sent(1)
    assert len(service.pauses) == 1


def test_each_call_has_a_key_of_its_own_and_an_operation_keeps_it(serve: Serve) -> None:
    service = serve(ok(), ok(), ok(), ok(), ok())
    client = service.client()
    operation = operations.compare(PICTURE, PICTURE)

    client.compare(PICTURE, PICTURE)
    client.compare(PICTURE, PICTURE)
    client.run(operation)
    client.run(operation)
    client.run(operation.with_key("order-4711"))

    keys = [each.headers["idempotency-key"] for each in service.requests]
    assert len(set(keys[:3])) == 3
    assert keys[2] == keys[3]
    assert keys[4] == "order-4711"


CHANGES = [
    operations.delete_face("token"), operations.delete_picture("p"), operations.clear_gallery(),
    operations.create_collection("k", "K"), operations.delete_collection("k"),
    operations.delete_person("p"), operations.remove_face(1), operations.retry_batch("b"),
    operations.cancel_job("j"),
]


@pytest.mark.parametrize("operation", CHANGES, ids=lambda each: each.name)
def test_a_change_that_may_have_been_made_is_not_repeated(
    serve: Serve, operation: sdk.Operation[Any]
) -> None:
    service = serve(LOST, httpx.Response(502), httpx.Response(504))
    for error in (sdk.ConnectionLost, sdk.Unavailable, sdk.Unavailable):
        with pytest.raises(error):
            service.client().run(operation)
    assert service.pauses == []


@pytest.mark.parametrize("failure", [httpx.ConnectError("no"), busy()], ids=["refused", "503"])
def test_a_change_that_was_not_made_is_repeated(serve: Serve, failure: Answer) -> None:
    service = serve(failure, ok({"code": 0, "msg": "SUCCESS", "data": {}}))

    service.client().delete_face("token")

    assert len(service.requests) == 2


def test_retries_end(serve: Serve) -> None:
    service = serve(LOST, LOST, LOST)

    with pytest.raises(sdk.ConnectionLost, match=r"compare.*ReadError") as caught:
        service.client(retries=sdk.Retries(attempts=3)).compare(PICTURE, PICTURE)
    assert caught.value.__cause__ is LOST
    assert len(service.pauses) == 2
    assert service.pauses[0] < service.pauses[1] * 2.0001


def errors_of_httpx() -> list[type[httpx.RequestError]]:
    found, kinds = [], [httpx.RequestError]
    while kinds:
        kind = kinds.pop()
        found.append(kind)
        kinds += kind.__subclasses__()
    return found


@pytest.mark.parametrize("kind", errors_of_httpx(), ids=lambda kind: kind.__name__)
def test_no_error_of_httpx_reaches_the_caller(
    serve: Serve, kind: type[httpx.RequestError]
) -> None:
    service = serve(kind("what httpx says"), kind("what httpx says"))

    with pytest.raises(sdk.ConnectionLost, match=kind.__name__):
        service.client(retries=sdk.Retries(attempts=2)).compare(PICTURE, PICTURE)


def test_a_pause_that_is_asked_for_is_kept(serve: Serve) -> None:
    service = serve(busy(429, "9"), ok())

    service.client().compare(PICTURE, PICTURE)

    assert service.pauses == [9.0]


@pytest.mark.parametrize("options", [{}, {"timeout": 5.0}], ids=["long", "beyond the timeout"])
def test_a_pause_that_is_too_long_is_an_error(serve: Serve, options: Any) -> None:
    service = serve(busy(429, "3600" if not options else "20"))

    with pytest.raises(sdk.RateLimited) as caught:
        service.client(**options).compare(PICTURE, PICTURE)
    assert caught.value.retry_after == (20 if options else 3600)
    assert service.pauses == []


def test_other_errors_are_not_repeated(serve: Serve) -> None:
    service = serve(ok({"code": 104200, "msg": "FACE_NOT_FOUND", "data": {}}, 400, X_Job_Id="j9"))

    with pytest.raises(sdk.NoFace) as caught:
        service.client().compare(PICTURE, PICTURE)
    assert caught.value.job_id == "j9"
    assert str(caught.value) == "FACE_NOT_FOUND (code 104200, job j9)"


def test_a_signed_request_is_one_that_the_service_accepts() -> None:
    data = {"image": "Zm9v", "name": "李/é"}

    request = sign("app", "app-secret", data, "nonce", 1_764_511_200)

    message = f"{string_to_sign(request)}&key=app-secret".encode()
    assert request["signData"] == sha256_signature(message).decode()
    assert request["data"] == data


def test_a_repeated_signed_call_is_signed_anew(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    times = iter([1000.0, 1009.0])
    clock = SimpleNamespace(time=lambda: next(times))
    monkeypatch.setattr("faceline_client.credentials.time", clock)
    answer = {"code": 0, "data": {"is_match": True, "score": 0.1, "msg": "success"}}
    service = serve(busy(), ok(answer))

    assert service.client().verify(PICTURE, PICTURE).matches

    assert [service.sent(each)["timestamp"] for each in (0, 1)] == [1000, 1009]
    assert service.sent(0)["nonce"] == service.sent(1)["nonce"]


def test_each_kind_of_credential_goes_where_it_belongs(serve: Serve) -> None:
    matrix = {"status": "OK", "confidences": [[0.5]], "max_confidence": 0.5}
    service = serve(ok({"msg_code": 1, "location": [[1, 4, 3, 2]]}), ok(matrix))
    client = service.client()

    assert client.detect(PICTURE).boxes == (sdk.Box(2, 1, 4, 3),)
    assert service.sent() | {"Fimg": ""} == {"Apid": "7", "Kvalue": "k-secret", "Fimg": ""}
    assert client.compare_all(PICTURE, sdk.StoredImage("0" * 32), rotate_first=True).best == 50
    request = service.requests[-1]
    assert request.headers["authorization"] == "Basic " + base64.b64encode(
        b"pair:api-secret"
    ).decode()
    assert PICTURE in request.content
    assert b'name="image_two_id"' in request.content


@pytest.mark.parametrize(
    ("operation", "named"),
    [
        (operations.compare(PICTURE, PICTURE), "api_key"), (operations.detect(PICTURE), "apid"),
        (operations.compare_all(PICTURE, PICTURE), "api_id"),
        (operations.verify(PICTURE, PICTURE), "app_id"), (operations.list_batches(), "api_key"),
    ],
)
def test_a_missing_credential_is_named(
    serve: Serve, operation: sdk.Operation[Any], named: str
) -> None:
    client = sdk.Client("http://face.example", sdk.Credentials())
    with client, pytest.raises(sdk.CredentialMissing, match=named):
        client.run(operation)


@pytest.mark.parametrize(
    ("known", "header", "body"),
    [
        (sdk.Credentials(api_key="k"), "x-api-key", None),
        (sdk.Credentials(app_id="a", app_secret="s"), "authorization", None),
        (sdk.Credentials(api_id="a", api_secret="s"), "authorization", None),
        (sdk.Credentials(apid=1, kvalue="v"), None, {"Apid": "1", "Kvalue": "v"}),
    ],
)
def test_any_credential_polls(known: sdk.Credentials, header: str | None, body: object) -> None:
    seen: list[httpx.Request] = []

    def handle(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return accepted(status="running", stage="embed", position=0)

    http = httpx.Client(transport=httpx.MockTransport(handle))
    client = sdk.Client("http://face.example", known, http=http)

    assert client.job_status("j1").state == "running"
    (request,) = seen
    assert header is None or header in request.headers
    assert (json.loads(request.content) if request.content else None) == body


def test_ids_in_paths_stay_whole(serve: Serve) -> None:
    shown = {"code": 0, "data": {"image": "Zm9v", "faceToken": ["t"]}}
    service = serve(ok(shown))

    assert service.client().get_picture("a/b c%2F?").content == b"foo"
    assert service.requests[0].url.raw_path == b"/below/api/faces/image/a%2Fb%20c%252F%3F"


def batch(status: str, waiting: int) -> dict[str, Any]:
    return {
        "batch_id": "b", "href": "/batches/b", "status": status, "prefix": None, "items": 4,
        "waiting": waiting, "enrolled": 4 - waiting, "duplicate": 0, "rejected": 0,
        "cancelled": 0, "skipped": 0, "exhausted": True, "total": 4, "position": 1.0,
        "findings": None, "error": None, "created_at": 1.0, "updated_at": 2.0,
        "finished_at": None, "waits_for": {"code": "turn", "message": "m", "retry_at": None},
    }


def test_a_batch_is_watched_until_it_ends(serve: Serve) -> None:
    states = [("working", 4), ("working", 4), ("working", 1), ("done", 0)]
    service = serve(*(ok(batch(*state)) for state in states))

    seen: list[Batch] = list(service.client().watch_batch("b", every_s=7))

    assert [each.progress for each in seen] == [0.0, 0.75, 1.0]
    assert service.pauses == [7, 7, 7]
    assert seen[0].waits_for is not None
    assert seen[0].waits_for.code == "turn"


def test_items_are_read_page_by_page(serve: Serve) -> None:
    item = {
        "number": 1, "source_name": "a.jpg", "status": "rejected", "reason": "no_face",
        "detail": None, "original": None, "name": "", "collection": "default",
        "external_id": "", "description": "", "size": 1, "width": 2, "height": 3,
        "face_id": None, "faces": 0, "deleted": False,
    }
    pages = [
        {"items": [item], "next": 1}, {"items": [{**item, "number": 2}], "next": None}
    ]
    service = serve(*map(ok, pages))

    found = list(service.client().iter_batch_items("b", reason="no_face"))

    assert [each.number for each in found] == [1, 2]
    assert dict(service.requests[1].url.params) == {
        "after": "1", "limit": "1000", "reason": "no_face"
    }


def test_nothing_secret_is_logged_or_shown(
    serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    answer = {"code": 0, "data": {"is_match": True, "score": 0.1, "msg": "success"}}
    refused = ok({"code": 104900, "msg": "INVALID_ARGUMENT:x", "data": {}}, 400)
    service = serve(LOST, ok(), ok({"msg_code": 1, "location": []}), ok(answer), refused)
    client = service.client()

    client.compare(PICTURE, PICTURE)
    client.detect(PICTURE)
    client.verify(PICTURE, PICTURE)
    with pytest.raises(sdk.ApiError) as caught:
        client.compare(PICTURE, PICTURE)

    shown = [
        caplog.text, repr(KNOWN), str(KNOWN), repr(caught.value), str(caught.value),
        repr(operations.verify(PICTURE, PICTURE)), repr(client),
        repr(client.job("j1", sdk.results.Match)),
    ]
    assert "compare" in caplog.text
    hidden = (*SECRETS, PICTURE.decode(), base64.b64encode(PICTURE).decode())
    assert [text for text in hidden if any(text in each for each in shown)] == []


@pytest.mark.parametrize(
    "url",
    ["", "face.example", "ftp://face.example", "http://", "http://a:b", "https://face.example/?a=b"],
)
def test_a_url_that_is_none_is_told(url: str) -> None:
    with pytest.raises(ValueError, match="FACE_URL"):
        sdk.Client(url, KNOWN)
