"""A real OpenID provider: the server of zitadel's certified library, with users of a file."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.programs import find_openid_provider
from tests.servers import Server, answers

CLIENT = "web"
SECRET = "secret"


class OpenIdServer(Server):
    """Takes browsers back to ``redirect_urls``. Its keys are new after each start."""

    name = "openid-provider"

    def __init__(self, redirect_urls: Sequence[str]) -> None:
        self._program = find_openid_provider()
        super().__init__()
        self._redirect_urls = redirect_urls
        self._users: dict[str, dict[str, Any]] = {}
        self._write()

    @property
    def url(self) -> str:
        return f"http://localhost:{self.port}"

    @property
    def issuer(self) -> str:
        return f"{self.url}/"

    def add_user(self, name: str, password: str, family: str) -> None:
        """A person, for the next start. ``family`` comes as the claim ``family_name``."""
        known = self._users.setdefault(name, {"ID": f"id-{len(self._users) + 1}"})
        known |= {
            "Username": name, "Password": password, "FirstName": "Ann", "LastName": family,
            "Email": "ann@face.example", "EmailVerified": True, "PreferredLanguage": "en",
        }
        self._write()

    def _write(self) -> None:
        people = {user["ID"]: user for user in self._users.values()}
        (self.directory / "users.json").write_text(json.dumps(people))

    def command(self) -> Sequence[str | Path]:
        return [self._program]

    def environment(self) -> Mapping[str, str]:
        return {
            "PORT": str(self.port), "USERS_FILE": str(self.directory / "users.json"),
            "REDIRECT_URI": ",".join(self._redirect_urls),
        }

    def ready(self) -> bool:
        return answers(self.port, b"GET /healthz HTTP/1.0\r\n\r\n", b"HTTP/1.0 200")
