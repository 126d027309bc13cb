"""The OpenAPI document that the service serves, and the reviewed copy of it.

``python -m tests.openapi_snapshot`` (``make openapi``) rewrites the copy.
"""

from __future__ import annotations

import asyncio
import difflib
import json
import tempfile
from pathlib import Path
from typing import Any

import httpx

from api_shim.app import Shim
from pipeline.config.settings import Settings

SNAPSHOT = Path(__file__).parent / "unit" / "shim" / "openapi.json"

# Lines of a difference that a failed test shows.
MAX_DIFF_LINES = 80

_WIDTH = 100


def served_document(folder: Path) -> dict[str, Any]:
    """The answer to ``GET /openapi.json``. No server is needed: the application is called
    in this process, with a database in ``folder``."""
    app = Shim(Settings(data_dir=folder))

    async def fetch() -> httpx.Response:
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://shim") as client:
            return await client.get("/openapi.json")

    try:
        document: dict[str, Any] = asyncio.run(fetch()).raise_for_status().json()
    finally:
        app.release()
        app._service.close()
    return document


def as_text(value: Any, indent: int = 0) -> str:
    """``value`` as JSON with each part on one line where it fits: a reviewer sees a changed
    operation, not a thousand lines of brackets."""
    line = json.dumps(value, ensure_ascii=False)
    if indent + len(line) <= _WIDTH or not isinstance(value, (dict, list)) or not value:
        return line
    inner, pad = indent + 1, " " * (indent + 1)
    if isinstance(value, dict):
        parts = [
            f"{pad}{json.dumps(name, ensure_ascii=False)}: {as_text(member, inner)}"
            for name, member in value.items()
        ]
        opening, closing = "{", "}"
    else:
        parts = [f"{pad}{as_text(member, inner)}" for member in value]
        opening, closing = "[", "]"
    return "\n".join([opening, ",\n".join(parts), " " * indent + closing])


def difference(reviewed: str, served: str) -> str:
    """A unified diff, cut after ``MAX_DIFF_LINES``."""
    lines = list(difflib.unified_diff(
        reviewed.splitlines(), served.splitlines(), "reviewed", "served", lineterm="", n=2
    ))
    cut = [f"... {len(lines) - MAX_DIFF_LINES} more lines"] if len(lines) > MAX_DIFF_LINES else []
    return "\n".join([*lines[:MAX_DIFF_LINES], *cut])


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        SNAPSHOT.write_text(as_text(served_document(Path(folder))) + "\n")
    print(f"wrote {SNAPSHOT}")


if __name__ == "__main__":
    main()
