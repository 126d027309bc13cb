"""Who a request of the console or of ``/admin`` comes from."""

from __future__ import annotations

import hmac
from http.cookies import CookieError, SimpleCookie

from api_shim.requests import Call
from pipeline.errors import BadCredentials, CrossSiteRequest
from pipeline.operators.model import Session
from pipeline.operators.store import OperatorStore

SESSION_COOKIE = "faceline_session"

CSRF_HEADER = "x-csrf-token"

SAFE_METHODS = frozenset({"GET", "HEAD"})


def find_session(call: Call, operators: OperatorStore) -> Session | None:
    """The session whose cookie the request carries. Raises ``DatabaseUnavailable``."""
    token = read_cookies(call).get(SESSION_COOKIE)
    return operators.find_session(token) if token else None


def require_session(call: Call, operators: OperatorStore) -> Session:
    """Raises ``BadCredentials``, and ``CrossSiteRequest`` for a change whose header does not
    carry the session's token."""
    session = find_session(call, operators)
    if session is None:
        raise BadCredentials
    if call.method not in SAFE_METHODS:
        check_csrf_token(session, call.headers.get(CSRF_HEADER, ""))
    return session


def check_csrf_token(session: Session, sent: str) -> None:
    """Raises ``CrossSiteRequest``."""
    if not hmac.compare_digest(session.csrf_token.encode(), sent.encode()):
        raise CrossSiteRequest


def read_cookies(call: Call) -> dict[str, str]:
    """The cookies of a request; none if the header is malformed."""
    try:
        return {name: each.value for name, each in SimpleCookie(call.headers.get("cookie")).items()}
    except CookieError:
        return {}
