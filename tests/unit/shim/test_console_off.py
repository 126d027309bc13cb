"""`FACELINE_CONSOLE=false`: nothing of the console and of ``/admin`` is there."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from api_shim.admin.registry import OPERATIONS
from api_shim.admin.sessions import SESSION_COOKIE, sign_token
from api_shim.app import Shim
from api_shim.console.events import EVENTS
from api_shim.console.registry import PAGES
from api_shim.console.rendering import static_name
from pipeline.config.settings import Settings
from pipeline.operators.model import OperatorRole


def fill(path: str) -> str:
    return re.sub(r"\{\w+\}", "1", path)


REQUESTS = [
    *(
        (method, fill(page.path)) for page in PAGES
        for method, function in (("GET", page.get), ("POST", page.post)) if function
    ),
    *((each.method, f"/admin{fill(each.path)}") for each in OPERATIONS),
    ("GET", EVENTS), ("GET", f"/console/static/{static_name('console.css')}"),
    ("GET", "/admin"), ("GET", "/console/"),
]


class Administrator:
    """A request with a session, and with a program's token, of an administrator."""

    def __init__(self, folder: Path, migrated: Path) -> None:
        (folder / "faceline.db").write_bytes(migrated.read_bytes())
        settings = Settings(
            data_dir=folder, database_url=f"sqlite:///{folder / 'faceline.db'}", console=False,
            oidc_issuer="https://id.example", oidc_client_id="faceline",
        )
        self._app = Shim(settings)
        self._service = self._app._service
        made = self._service.operators.create(
            "ann", OperatorRole.ADMINISTRATOR, sees_faces=True
        )
        sessions = self._service.sessions
        self.cookie = sign_token(self._service.vault, sessions.open(made.id))
        self.token = sessions.issue_token(made.id, "nightly", 1)

    def statuses(self) -> dict[tuple[str, str], tuple[int, int]]:
        """Of each request, with the session and with the token."""
        async def ask() -> dict[tuple[str, str], tuple[int, int]]:
            transport = httpx.ASGITransport(self._app, client=("127.0.0.1", 1))
            async with httpx.AsyncClient(transport=transport, base_url="http://shim") as client:
                found = {}
                for method, path in REQUESTS:
                    person = await client.request(
                        method, path, headers={"Cookie": f"{SESSION_COOKIE}={self.cookie}"}
                    )
                    program = await client.request(
                        method, path, headers={"Authorization": f"Bearer {self.token}"}
                    )
                    found[method, path] = (person.status_code, program.status_code)
                return found

        return asyncio.run(ask())

    def close(self) -> None:
        self._app.release()
        self._service.close()


@pytest.fixture
def administrator(tmp_path: Path, migrated_file: Path) -> Iterator[Administrator]:
    made = Administrator(tmp_path, migrated_file)
    yield made
    made.close()


def test_no_path_is_there(administrator: Administrator) -> None:
    found = administrator.statuses()
    assert set(found.values()) == {(404, 404)}, found
