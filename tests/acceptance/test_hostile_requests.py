"""Odd paths, queries and headers: no answer is an error of the service, reveals
internals, or forges a line of the log."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from pathlib import Path

from tests.databases import ONE_DATABASE
from tests.raw_http import Connection, ask
from tests.stack import Stack

pytestmark = ONE_DATABASE

ODD = ["%00", "%ff", "%ff%fe", "%0d%0aSet-Cookie:x", "%2e%2e%2f", "..", "%ed%a0%80", "%u0041", "%",
       "a" * 3000, "%F0%9F%98%80", "%E2%80%AE", "'%22%3Cscript%3E", ";", "*", "%7f"]


def targets() -> Iterator[tuple[str, str]]:
    yield from (("GET", f"/{odd}") for odd in ODD)
    for odd in ODD:
        yield from (
            ("GET", f"/api/faces/faceToken/{odd}"), ("DELETE", f"/api/faces/{odd}"),
            ("GET", f"/api/faces/image/{odd}"), ("DELETE", f"/api/faceGroups/{odd}"),
            ("GET", f"/api/faceGroups/{odd}?pageOffset=0&pageSize=1"),
            ("GET", f"/api/face?Apid={odd}&Kvalue={odd}"), ("GET", f"/api/face?{odd}={odd}"),
            ("GET", f"/api/faces?pageOffset={odd}"), ("POST", f"/face2/locate?{odd}"),
            ("POST", f"/v1/addface?{odd}={odd}"), ("GET", f"/identity/{odd}"),
            ("POST", f"/identity/compare_faces_in_two_images?{odd}={odd}"), ("GET", f"/jobs/{odd}"),
            ("GET", f"/jobs/{'0' * 32}?wait={odd}"), ("DELETE", f"/jobs/{odd}?{odd}"),
        )


def test_odd_paths_and_queries(idle_stack: Stack) -> None:
    key = {"X-API-Key": idle_stack.credentials.api_key}
    connection = Connection(idle_stack.url)
    with contextlib.ExitStack() as stack:
        stack.callback(lambda: connection.close())
        for method, target in targets():
            answer = connection.request(method, target, key)
            assert answer.status < 500, target
            assert isinstance(answer.json, dict), target
            assert "set-cookie" not in answer.headers
            if answer.headers.get("connection") == "close":
                connection.close()
                connection = Connection(idle_stack.url)


def test_a_thousand_parameters(idle_stack: Stack) -> None:
    query = "&".join(f"a{number}=1" for number in range(1000))
    key = {"X-API-Key": idle_stack.credentials.api_key}
    for path in ("/api/face", "/api/faces", f"/jobs/{'0' * 32}", "/health"):
        answer = ask(idle_stack.url, "GET", f"{path}?{query}", key)
        assert answer.status < 500, answer
        assert isinstance(answer.json, dict)


def test_every_answer_is_clean(idle_stack: Stack) -> None:
    cross = {"Origin": "https://elsewhere.example", "Access-Control-Request-Method": "POST"}
    for method, target in [
        ("OPTIONS", "/face2/locate"), ("OPTIONS", "/api/faces"), ("GET", "/docs"), ("GET", "/no"),
        ("GET", "/openapi.json"), ("GET", "/health"), ("POST", "/v1/addface"), ("TRACE", "/docs"),
    ]:
        answer = ask(idle_stack.url, method, target, cross)
        assert not {"server", "x-powered-by"} & set(answer.headers)
        assert not [name for name in answer.headers if name.startswith("access-control")]
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["cache-control"] == "no-store"
        for told in (b"Traceback", b"site-packages", b"uvicorn", b"starlette", b"sqlalchemy"):
            assert told not in answer.body
    policy = ask(idle_stack.url, "GET", "/docs").headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; ")
    assert "unsafe" not in policy


def test_nobody_writes_lines_of_the_log(idle_stack: Stack) -> None:
    forged = "2026-01-01T00:00:00.000Z%20ERROR%201%20forged"
    for target in (f"/%0a{forged}", f"/api/faces/x%0d%0a{forged}", f"/jobs/%e2%80%a8{forged}"):
        ask(idle_stack.url, "GET", target, {"X-Request-Id": f"a b{forged}", "Prefer": forged})
    for log in Path(idle_stack.settings.data_dir).glob("*.log"):
        assert not re.search(r"^2026-01-01T", log.read_text(), re.MULTILINE)
