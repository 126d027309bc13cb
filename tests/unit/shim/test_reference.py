"""The OpenAPI document and its page."""

from __future__ import annotations

import re
from collections.abc import Iterator
from html.parser import HTMLParser

import pytest

from api_shim.dialects.base import Dialect
from api_shim.dialects.fields import Schema
from api_shim.reference.openapi import describe
from api_shim.reference.page import page
from tests.openapi import described_dialects, resolved


class Tags(HTMLParser):
    """Follows the tags that must be closed."""

    def __init__(self) -> None:
        super().__init__()
        self.opened: list[str] = []

    def handle_starttag(self, tag: str, attrs: object) -> None:
        if tag in ("details", "summary", "table", "code"):
            self.opened.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag in ("details", "summary", "table", "code"):
            assert self.opened.pop() == tag


SERVED = described_dialects()


@pytest.fixture(scope="module")
def document() -> Schema:
    return describe(SERVED)


def operations(document: Schema) -> dict[str, Schema]:
    return {
        f"{method.upper()} {path}": resolved(document, operation)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    }


@pytest.mark.parametrize("served", SERVED, ids=lambda served: str(served.letter))
def test_every_route_is_described_and_nothing_else(served: Dialect, document: Schema) -> None:
    routes = {
        f"{method} {endpoint.plain_path}"
        for endpoint in served.endpoints for method in endpoint.methods
    }
    described = operations(document)
    assert {name for name in described if served.letter in described[name]["tags"]} == routes


def test_what_is_not_served_is_not_described() -> None:
    only_d = [each for each in SERVED if each.letter == "d"]
    paths = describe(only_d, console=False)["paths"]
    assert {path for path in paths if not path.startswith("/batches")} == {
        "/v1/addface", "/v1/searchface", "/v1/delface", "/jobs/{job_id}",
        "/jobs/{job_id}/evidence", "/livez", "/readyz", "/health",
    }


def test_names_in_paths_are_parameters(document: Schema) -> None:
    for name, operation in operations(document).items():
        stated = {item["name"] for item in operation.get("parameters", ()) if item["in"] == "path"}
        assert stated == set(re.findall(r"\{(\w+)\}", name)), name
        assert operation["summary"]
        assert "200" in operation["responses"]


def test_a_form_of_document_d(document: Schema) -> None:
    body = operations(document)["POST /v1/addface"]["requestBody"]["content"]
    schema = body["application/x-www-form-urlencoded"]["schema"]
    assert set(schema["properties"]) == {"img", "name", "facedb"}
    assert schema["required"] == ["img"]
    assert schema["properties"]["img"]["contentEncoding"] == "base64"


def test_who_asks(document: Schema) -> None:
    found = operations(document)
    assert found["POST /v1/delface"]["security"] == [{"key": []}]
    assert found["POST /face2/locate"]["security"] == []
    assert all("security" in operation for operation in found.values())
    for name in ("GET /api/face", "DELETE /api/face"):
        assert {"Apid", "Kvalue"} <= {item["name"] for item in found[name]["parameters"]}


def test_answers_are_described_to_the_last_member(document: Schema) -> None:
    def shapes(schema: Schema) -> Iterator[Schema]:
        yield schema
        inner = [*schema.get("anyOf", ()), *schema.get("properties", {}).values()]
        for each in [*inner, *([schema["items"]] if "items" in schema else [])]:
            yield from shapes(each)

    for name, operation in operations(document).items():
        method, _, path = name.partition(" ")
        # /admin gives files and free JSON, too: tests/console/test_admin_fuzz.py
        told = name in ("GET /health", "GET /readyz") or path.startswith("/admin/")
        if told or (path.startswith("/jobs/") and method != "DELETE"):
            continue
        for status, response in operation["responses"].items():
            if (name, status) == ("DELETE /jobs/{job_id}", "401"):
                continue  # in the words of any document
            assert response["headers"]["X-Request-Id"]["required"], (name, status)
            if status == "503":
                assert response["headers"]["Retry-After"]["required"]
            for shape in shapes(response["content"]["application/json"]["schema"]):
                if shape.get("type") == "object":
                    assert shape["additionalProperties"] is False, (name, status)


def test_the_page_shows_every_operation_and_is_whole(document: Schema) -> None:
    text = page(document)
    for name in operations(document):
        assert f"<code>{name}</code>" in text
    assert "<script" not in text
    assert not re.search(r"(src|href)=\"(https?:)?//", text)

    tags = Tags()
    tags.feed(text)
    assert tags.opened == []
