"""``/openapi.json`` and ``/docs``: the reference as a service gives it out."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Iterable
from functools import lru_cache
from html import escape

from starlette.types import Receive

from api_shim.asgi import json_reply
from api_shim.dialects.answers import good_schema
from api_shim.dialects.base import Dialect
from api_shim.dialects.fields import Schema
from api_shim.reference.openapi import describe, operations
from api_shim.requests import Call, Reply
from api_shim.resource import Resource

# Mount paths whose replies are kept: one, or one for each proxy.
MAX_MOUNTS = 8

_STYLE = """body{font:16px/1.5 system-ui,sans-serif;max-width:60em;margin:2em auto;padding:0 1em}
code{background:#eee;color:#111;padding:0 .3em}td,th{text-align:left;padding:.1em 1em .1em 0}
summary{cursor:pointer;padding:.2em 0}details{margin-left:1em}"""

# No script, and nothing from elsewhere: the page works on a machine without a network.
_HEAD = """<!doctype html><html lang="en"><meta charset="utf-8"><title>faceline</title>
<meta name="viewport" content="width=device-width">
<style>{style}</style>
<h1>faceline</h1>
<p>For machines: <a href="{mount}/openapi.json">openapi.json</a>. Every rule and every code:
<code>docs/api.md</code> of the project.</p>
"""

# A browser may load one thing for the page: its style.
_POLICY = (
    "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    f"style-src 'sha256-{base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()}'"
)


def references(dialects: Iterable[Dialect], *, console: bool) -> dict[str, Resource]:
    """The applications by their paths."""
    document = describe(dialects, console=console)
    headers = {"Content-Security-Policy": _POLICY, "Referrer-Policy": "no-referrer"}

    @lru_cache(MAX_MOUNTS)
    def openapi(mount: str) -> Reply:
        return json_reply(200, mounted(document, mount))

    @lru_cache(MAX_MOUNTS)
    def html(mount: str) -> Reply:
        text = page(mounted(document, mount), mount)
        return Reply(200, text.encode(), "text/html; charset=utf-8", headers)

    return {"/openapi.json": _give(openapi), "/docs": _give(html)}


def mounted(document: Schema, mount: str) -> Schema:
    """``document`` of a service that clients see under the path ``mount``."""
    server = {**document["servers"][0], "url": mount or "/"}
    return {**document, "servers": [server]}


def _give(make: Callable[[str], Reply]) -> Resource:
    async def give(call: Call, _receive: Receive) -> Reply:
        return make(call.mount)

    return Resource(GET=give)


def page(document: Schema, mount: str = "") -> str:
    """The document for people, as HTML, with links below ``mount``."""
    shown = _Page(document)
    sections: dict[str, list[str]] = {}
    for path, method, operation in operations(document):
        described = shown.operation(method.upper(), path, operation)
        sections.setdefault(operation["tags"][0], []).append(described)
    parts = [_HEAD.format(style=_STYLE, mount=escape(mount))]
    for tag in document["tags"]:
        title = f"{tag['name']}: {tag['description']}"
        parts += [f"<h2>{escape(title)}</h2>", *sections.get(tag["name"], ())]
    return "".join(parts)


Row = tuple[str, str, Schema, bool]
"""Name, place, schema, whether it is required."""


class _Page:
    """Rows of the page, with the document's references followed."""

    def __init__(self, document: Schema) -> None:
        self._document = document

    def operation(self, method: str, path: str, operation: Schema) -> str:
        rows: list[Row] = []
        for parameter in map(self._resolve, operation.get("parameters", ())):
            schema = {"description": parameter.get("description", ""), **parameter["schema"]}
            rows.append((parameter["name"], parameter["in"], schema, parameter["required"]))
        for media_type, content in operation.get("requestBody", {}).get("content", {}).items():
            rows += self._rows(content["schema"], media_type.rpartition("/")[2], "")
        rows += self._rows(good_schema(operation["responses"]), "answer", "")
        table = "".join(
            f"<tr><td><code>{escape(name)}</code><td>{escape(place)}"
            f"<td>{escape(self._type(schema))}<td>{'' if required else 'optional'}"
            f"<td>{escape(schema.get('description', ''))}"
            for name, place, schema, required in rows
        )
        return (
            f"<details><summary><code>{method} {escape(path)}</code> "
            f"{escape(operation['summary'])}</summary><table>{table}</table></details>"
        )

    def _resolve(self, schema: Schema) -> Schema:
        if "$ref" not in schema:
            return schema
        found: Schema = self._document
        for name in schema["$ref"].removeprefix("#/").split("/"):
            found = found[name]
        return {**found, **{name: each for name, each in schema.items() if name != "$ref"}}

    def _rows(self, schema: Schema, place: str, inside: str) -> list[Row]:
        rows: list[Row] = []
        known = self._resolve(schema)
        for name, member in known.get("properties", {}).items():
            resolved = self._resolve(member)
            required = name in known.get("required", ())
            rows.append((inside + name, place, resolved, required))
            rows += self._rows(resolved, place, f"{inside}{name}.")
        return rows

    def _type(self, schema: Schema) -> str:
        schema = self._resolve(schema)
        if "anyOf" in schema:
            return " or ".join(self._type(each) for each in schema["anyOf"])
        kind = schema.get("type", "string")
        if isinstance(kind, list):
            return " or ".join(kind)
        if kind == "array":
            return f"list of {self._type(schema.get('items', {}))}"
        return "Base64" if "contentEncoding" in schema else str(kind)
