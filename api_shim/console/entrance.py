"""Signing in and out: attempts are bounded and recorded, sessions begin and end."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable
from dataclasses import replace

from itsdangerous import BadData, URLSafeTimedSerializer

from api_shim.admin.sessions import SESSION_COOKIE, cookie_keys, find_token, sign_token
from api_shim.console.page import View
from api_shim.requests import Reply
from pipeline.errors import BadCredentials, OperatorNotFound
from pipeline.metering.limits import Limit
from pipeline.operators.model import Operator
from pipeline.operators.sessions import SESSION_S
from pipeline.operators.sign_in import FIRST_PAUSE_S, FREE_FAILURES, too_many

SIGN_IN_ACTION = "session.open"

# Attempts of one address: as many at once as an office needs in the morning, then one in five
# seconds. Clients share the address of a proxy that FACELINE_TRUSTED_PROXIES does not name.
ADDRESS_LIMIT = Limit(per_second=0.2, burst=30)

# Attempts for a name without an account, as for one with: see `pause_after`.
NAME_LIMIT = Limit(per_second=1 / FIRST_PAUSE_S, burst=FREE_FAILURES + 1)

# Seconds for entering a one-time code.
CODE_S = 300

CODE_NEEDED = "code_needed"
"""The outcome in the audit log of a right password, or a link, where a code is needed, too."""

SHARED_BITS = 64
"""Of an IPv6 address: one subscriber has all addresses that begin with them."""


def take_attempt(view: View, what: str, limit: Limit = ADDRESS_LIMIT) -> None:
    """Count an attempt. Raises ``RateLimited`` with the time until the next one."""
    limiter = view.services.service.admission.rate_limiter
    wait_s = limiter.take(0, [(f"sign-in {what}", limit)])
    if wait_s > 0:
        raise too_many(wait_s)


def attempt(view: View, name: str, method: str, check: Callable[[], Operator]) -> Operator:
    """The operator that ``check`` finds; each attempt stands in the audit log. Raises
    ``RateLimited``, and what ``check`` does."""
    take_attempt_of_address(view)
    return recorded_attempt(view, name, method, check)


def take_attempt_of_address(view: View) -> None:
    """Count an attempt of the client's address. Raises ``RateLimited``."""
    take_attempt(view, _network(view.call.client_host))


def recorded_attempt(
    view: View, name: str, method: str, check: Callable[[], Operator]
) -> Operator:
    """``attempt`` for one that is counted already."""
    audit, call = view.services.service.audit, view.call
    with audit.recording(
        name, SIGN_IN_ACTION, subject=method, host=call.client_host, request_id=call.request_id
    ) as recorded:
        operator = check()
        if operator.has_codes and method != "code":
            recorded.outcome = CODE_NEEDED
        return operator


def enter(view: View, operator: Operator, to: str) -> Reply:
    """Open a session, whose token is new, and end the one before it."""
    sessions = view.services.service.sessions
    end_session(view)
    token = sessions.open(operator.id)
    return with_cookie(view, view.redirect(view.home(to)), token)


def with_cookie(view: View, reply: Reply, token: str) -> Reply:
    """``reply`` with the cookie of a session; an empty token removes it."""
    value = sign_token(view.services.service.vault, token) if token else ""
    cookie = view.cookie(SESSION_COOKIE, value, int(SESSION_S) if token else 0)
    return replace(reply, headers={**reply.headers, "Set-Cookie": cookie})


def end_session(view: View) -> None:
    """End the session of the browser, if it has one."""
    token = find_token(view.call, view.services.service.vault)
    if token:
        view.services.service.sessions.end(token)


def begun(view: View, operator: Operator) -> str:
    """What the form for a one-time code carries: who has passed the first step, and when."""
    return _serializer(view).dumps(operator.name)


def continued(view: View, begun_token: str) -> Operator:
    """The operator who has passed the first step. Raises ``BadCredentials``."""
    try:
        name = _serializer(view).loads(begun_token, max_age=CODE_S)
        operator = view.services.service.operators.by_name(str(name))
    except (BadData, OperatorNotFound) as error:
        raise BadCredentials("That took too long: begin again.") from error
    if operator.disabled_at is not None:
        raise BadCredentials("The name or the password is wrong.")
    return operator


def _serializer(view: View) -> URLSafeTimedSerializer:
    return URLSafeTimedSerializer(
        cookie_keys(view.services.service.vault), salt="faceline one-time code",
        signer_kwargs={"key_derivation": "hmac"},
    )


def _network(host: str) -> str:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host
    bits = SHARED_BITS if address.version == 6 else address.max_prefixlen
    return str(ipaddress.ip_network(f"{address}/{bits}", strict=False).network_address)
