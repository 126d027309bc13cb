"""A page of the console as a value, and what its functions work on."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, urlencode

from api_shim.admin.operation import (
    Actor,
    AdminOperation,
    AdminServices,
    Answer,
    Given,
    perform,
)
from api_shim.admin.routes import read_parameters
from api_shim.admin.sessions import read_cookies
from api_shim.body import BodyKind
from api_shim.console.texts import Texts, choose_language, texts_of
from api_shim.multipart import Upload
from api_shim.parsing import read_form
from api_shim.requests import Call, Reply
from pipeline.operators.model import OperatorRole, Session

ROOT = "/console"

NOTICE_COOKIE = "faceline_notice"
LANGUAGE_COOKIE = "faceline_language"
THEME_COOKIE = "faceline_theme"

MAX_NOTICE = 300

# Paths of the console as they stand in a `Location`, with a query or without.
_INSIDE = re.compile(
    r"/console(?:/[\w.~%!$&'()*+,;=:@-]+)*/?(?:\?[\w.~%!$&'()*+,;=:@/?-]*)?", re.ASCII
)
_HOST = re.compile(r"[A-Za-z0-9._-]+(:[0-9]{1,5})?|\[[0-9A-Fa-f:.]+\](:[0-9]{1,5})?")
# What stays as it is in an address that has its parts encoded already.
_URL_SYNTAX = "/?&=%#+;:@,!$'()*~"


@dataclass(frozen=True, slots=True)
class View:
    """A request for a page by an operator. Its methods block. ``fields`` and ``files`` are those
    of a form, ``uploads`` all files of it with their names, several of one field among them.
    ``session`` is None only on public pages."""

    call: Call
    services: AdminServices
    session: Session | None
    fields: dict[str, str] = field(default_factory=dict)
    files: dict[str, bytes] = field(default_factory=dict, repr=False)
    uploads: tuple[Upload, ...] = field(default=(), repr=False)

    @property
    def signed_in(self) -> Session:
        """The session of a page that is not public."""
        assert self.session is not None
        return self.session

    @property
    def actor(self) -> Actor:
        """The operator of a page that is not public."""
        return Actor.of(self.signed_in, self.call)

    @property
    def query(self) -> dict[str, str]:
        """Raises ``InvalidParameter``."""
        return read_form(self.call.query.encode())

    @property
    def cookies(self) -> dict[str, str]:
        return read_cookies(self.call)

    @property
    def texts(self) -> Texts:
        """The texts of the operator's language."""
        chosen = self.cookies.get(LANGUAGE_COOKIE, "")
        return texts_of(choose_language(chosen, self.call.headers.get("accept-language", "")))

    @property
    def notice(self) -> str:
        """The sentence that a redirect left for this page."""
        try:
            return base64.urlsafe_b64decode(self.cookies.get(NOTICE_COOKIE, "")).decode()
        except (binascii.Error, ValueError):
            return ""

    @property
    def origin(self) -> str:
        """The service's address as the browser sees it, without a slash at its end."""
        headers = self.call.headers
        host = headers.get("host", "")
        if _HOST.fullmatch(host) is None:
            host = f"127.0.0.1:{self.services.service.settings.port}"
        scheme = "https" if headers.get("x-forwarded-proto") == "https" else "http"
        return f"{scheme}://{host}{self.call.mount}"

    def link(self, path: str, **query: object) -> str:
        """A path of the service as the browser sees it."""
        given = {name: each for name, each in query.items() if each not in (None, "")}
        return f"{self.call.mount}{path}" + (f"?{urlencode(given)}" if given else "")

    def perform(self, operation: AdminOperation[Given, Answer], given: Given) -> Answer:
        """Carry out an operation for the operator. Raises ``FaceError``."""
        return perform(self.services, self.actor, operation, given)

    def read(self, operation: AdminOperation[Given, Answer]) -> Given:
        """What the path and the query of a page give an operation of GET. Raises
        ``InvalidParameter``."""
        given: Given = read_parameters(operation, self.call)
        return given

    def permits(self, operation: AdminOperation[Any, Any]) -> bool:
        """Whether the operator may do this, so that its button is shown."""
        operator = self.signed_in.operator
        return operator.role.permits(operation.role) and (
            operator.sees_faces or not operation.shows_faces
        )

    def home(self, wanted: str) -> str:
        """Where a browser goes that asks for ``wanted``: nowhere but into the console."""
        encoded = quote(wanted, safe=_URL_SYNTAX)
        return encoded if _INSIDE.fullmatch(encoded) else ROOT

    def redirect(self, path: str, notice: str = "", **query: object) -> Reply:
        """Answer a form: the browser goes to ``path``, which shows ``notice``."""
        headers = {"Location": quote(self.link(path, **query), safe=_URL_SYNTAX)}
        if notice:
            value = base64.urlsafe_b64encode(notice[:MAX_NOTICE].encode()).decode()
            headers["Set-Cookie"] = self.cookie(NOTICE_COOKIE, value, max_age=60)
        return Reply(303, b"", headers=headers)

    def cookie(self, name: str, value: str, max_age: int) -> str:
        """A ``Set-Cookie`` header that no script reads and no other site causes to be sent."""
        secure = "; Secure" if self.call.headers.get("x-forwarded-proto") == "https" else ""
        return (
            f"{name}={value}; Path={self.call.mount or '/'}; Max-Age={max_age}; HttpOnly; "
            f"SameSite=Lax{secure}"
        )


PageFunction = Callable[[View], Reply]


@dataclass(frozen=True, slots=True)
class Page:
    """A path of the console. ``get`` shows it; ``post`` carries out its form, whose token the
    routes have checked. Both run in threads and raise ``FaceError``."""

    path: str
    get: PageFunction | None = None
    post: PageFunction | None = None
    role: OperatorRole = OperatorRole.VIEWER
    carries: BodyKind = BodyKind.PLAIN
    public: bool = False
