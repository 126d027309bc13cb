"""``/docs`` and ``/openapi.json`` of a running service."""

from __future__ import annotations

import requests

from tests.stack import Stack


def test_the_reference_is_served(idle_stack: Stack) -> None:
    document = requests.get(f"{idle_stack.url}/openapi.json", timeout=10)
    assert document.headers["content-type"] == "application/json"
    assert document.json()["openapi"].startswith("3.1")
    page = requests.get(f"{idle_stack.url}/docs", timeout=10)
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    for path in ("/api/match", "/api/faceGroups", "/v1/addface", "/face2/verify"):
        assert path in document.json()["paths"]
        assert path in page.text


def test_it_is_only_read(idle_stack: Stack) -> None:
    for path in ("/docs", "/openapi.json"):
        response = requests.post(f"{idle_stack.url}{path}", timeout=10)
        assert (response.status_code, response.headers["allow"]) == (405, "GET, HEAD")
