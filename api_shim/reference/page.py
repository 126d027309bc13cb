"""``/openapi.json`` and ``/docs``: the reference as a service gives it out."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable
from html import escape

import msgspec
from starlette.types import Receive, Scope, Send

from api_shim.asgi import problem, to_response
from api_shim.reference.answers import good_answer
from api_shim.reference.model import Schema
from api_shim.reference.openapi import Described, describe
from api_shim.requests import Reply

_STYLE = """body{font:16px/1.5 system-ui,sans-serif;max-width:60em;margin:2em auto;padding:0 1em}
code{background:#eee;color:#111;padding:0 .3em}td,th{text-align:left;padding:.1em 1em .1em 0}
summary{cursor:pointer;padding:.2em 0}details{margin-left:1em}"""

# No script, and nothing from elsewhere: the page works on a machine without a network.
_HEAD = f"""<!doctype html><html lang="en"><meta charset="utf-8"><title>faceline</title>
<meta name="viewport" content="width=device-width">
<style>{_STYLE}</style>
<h1>faceline</h1>
<p>For machines: <a href="openapi.json">openapi.json</a>. Every rule and every code:
<code>docs/api.md</code> of the project.</p>
"""

# What a browser may load for the page: its one style.
_POLICY = (
    "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    f"style-src 'sha256-{base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()}'"
)


class Reference:
    """Answers with one thing made beforehand, as an ASGI application."""

    def __init__(self, reply: Reply) -> None:
        self._reply = reply

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        reply = self._reply
        if scope["method"] not in ("GET", "HEAD"):
            allow = {"Allow": "GET, HEAD"}
            reply = problem(405, "method_not_allowed", "The path takes GET.", allow)
        await to_response(reply)(scope, receive, send)


def references(dialects: Iterable[Described]) -> dict[str, Reference]:
    """The applications by their paths."""
    document = describe(dialects)
    return {
        "/openapi.json": Reference(Reply(200, msgspec.json.encode(document))),
        "/docs": Reference(
            Reply(
                200, page(document).encode(), "text/html; charset=utf-8",
                {"Content-Security-Policy": _POLICY, "Referrer-Policy": "no-referrer"},
            )
        ),
    }


def page(document: Schema) -> str:
    """The document for people, as HTML."""
    parts = [_HEAD]
    sections: dict[str, list[str]] = {}
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            title = operation.get("tags", ["Every document"])[0]
            sections.setdefault(title, []).append(_operation(method.upper(), path, operation))
    for title, operations in sections.items():
        parts += [f"<h2>{escape(title)}</h2>", *operations]
    return "".join(parts)


def _operation(method: str, path: str, operation: Schema) -> str:
    rows = [
        (item["name"], item["in"], item["schema"], item["required"])
        for item in operation.get("parameters", ())
    ]
    for media_type, content in operation.get("requestBody", {}).get("content", {}).items():
        rows += _rows(content["schema"], media_type.rpartition("/")[2], "")
    rows += _rows(good_answer(operation["responses"]), "answer", "")
    table = "".join(
        f"<tr><td><code>{escape(name)}</code><td>{escape(place)}<td>{escape(_type(schema))}"
        f"<td>{'' if required else 'optional'}<td>{escape(schema.get('description', ''))}"
        for name, place, schema, required in rows
    )
    return (
        f"<details><summary><code>{method} {escape(path)}</code> "
        f"{escape(operation['summary'])}</summary><table>{table}</table></details>"
    )


def _rows(schema: Schema, place: str, inside: str) -> list[tuple[str, str, Schema, bool]]:
    rows = []
    for name, member in schema.get("properties", {}).items():
        rows.append((inside + name, place, member, name in schema.get("required", ())))
        rows += _rows(member, place, f"{inside}{name}.")
    return rows


def _type(schema: Schema) -> str:
    if isinstance(schema["type"], list):
        return " or ".join(schema["type"])
    if schema["type"] == "array":
        return f"list of {_type(schema['items'])}"
    return "Base64" if "contentEncoding" in schema else str(schema["type"])
