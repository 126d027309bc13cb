"""Who a request of the console or of ``/admin`` comes from: a cookie, or a program's token."""

from __future__ import annotations

import hmac
from http.cookies import CookieError, SimpleCookie

from itsdangerous import BadSignature as BadCookie
from itsdangerous import Signer

from api_shim.cross_origin import is_cross_site
from api_shim.requests import Call
from api_shim.service import Service
from pipeline.encryption.vault import Vault
from pipeline.errors import BadCredentials, CrossSiteRequest
from pipeline.operators.model import Session

SESSION_COOKIE = "faceline_session"

CSRF_HEADER = "x-csrf-token"

SAFE_METHODS = frozenset({"GET", "HEAD"})

# Purpose of the key that cookies are signed with.
_COOKIES = b"faceline console cookies"


def cookie_keys(vault: Vault) -> list[bytes]:
    """The keys of signed cookies and forms, the current one last."""
    return vault.derived_keys(_COOKIES)


def sign_token(vault: Vault, token: str) -> str:
    """A session's token as its cookie holds it: others are refused without a look into the
    database."""
    return _signer(vault).sign(token).decode()


def find_token(call: Call, vault: Vault) -> str | None:
    """The token in a request's cookie, if this service has signed it."""
    cookie = read_cookies(call).get(SESSION_COOKIE, "")
    try:
        return _signer(vault).unsign(cookie).decode()
    except (BadCookie, UnicodeError):
        return None


def _signer(vault: Vault) -> Signer:
    return Signer(cookie_keys(vault), salt=SESSION_COOKIE, key_derivation="hmac")


def find_session(call: Call, service: Service) -> Session | None:
    """The session of a person whose cookie the request carries. Raises
    ``DatabaseUnavailable``."""
    token = find_token(call, service.vault)
    session = service.sessions.find(token) if token else None
    return None if session is None or session.program else session


def require_session(call: Call, service: Service) -> Session:
    """The session of a cookie, or of a program's token in ``Authorization: Bearer``. Raises
    ``BadCredentials``, and ``DatabaseUnavailable``."""
    scheme, _, token = call.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        session = service.sessions.find(token.strip())
        session = session if session and session.program else None
    else:
        session = find_session(call, service)
    if session is None:
        raise BadCredentials
    return session


def check_change(session: Session, call: Call, sent: str) -> None:
    """Raises ``CrossSiteRequest`` for a change by a person that another site's page sends, or
    that does not carry the session's token. Browsers add no program's token by themselves."""
    if not session.program:
        check_same_site(call)
        check_csrf_token(session, sent)


def check_same_site(call: Call) -> None:
    """Raises ``CrossSiteRequest``."""
    if is_cross_site(call.headers, ()):
        raise CrossSiteRequest("A page of another site sent the request.")


def check_csrf_token(session: Session, sent: str) -> None:
    """Raises ``CrossSiteRequest``."""
    if not hmac.compare_digest(session.csrf_token.encode(), sent.encode(errors="replace")):
        raise CrossSiteRequest("The form is of another session: load the page anew.")


def read_cookies(call: Call) -> dict[str, str]:
    """The cookies of a request; none if the header is malformed."""
    try:
        return {name: each.value for name, each in SimpleCookie(call.headers.get("cookie")).items()}
    except CookieError:
        return {}
