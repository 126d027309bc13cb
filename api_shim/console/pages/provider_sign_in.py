"""Signing in at the identity provider: the way there, and the way back."""

from __future__ import annotations

from dataclasses import asdict, replace

from itsdangerous import BadData, URLSafeTimedSerializer

from api_shim.admin.sessions import cookie_keys
from api_shim.console.entrance import (
    ADDRESS_LIMIT,
    recorded_attempt,
    take_attempt,
    take_attempt_of_address,
)
from api_shim.console.page import Page, View
from api_shim.console.pages.sign_in import next_step, refused
from api_shim.identity.provider import BegunSignIn, IdentityProvider
from api_shim.requests import Reply
from pipeline.encryption.hashing import digest
from pipeline.errors import (
    FaceError,
    IdentityProviderUnavailable,
    IdentityRefused,
    LastAdministrator,
    NotFound,
    RequestRefused,
)
from pipeline.operators.external import Identity
from pipeline.operators.model import Operator

CALLBACK = "/console/sign-in/provider/callback"

COOKIE = "faceline_provider"

# Seconds for signing in at the provider.
BEGUN_S = 600

METHOD = "identity provider"

NOT_BEGUN = "The sign-in was not begun in this browser, or took too long: begin again."

REFUSALS = (RequestRefused, IdentityProviderUnavailable, LastAdministrator)


def begin(view: View) -> Reply:
    """Send the browser to the provider. It keeps, signed, what the way back is checked by."""
    provider = _provider(view)
    to = view.home(view.query.get("to", ""))
    if view.session is not None:
        return view.redirect(to)
    redirect_url = view.origin + CALLBACK
    try:
        take_attempt(view, digest("begun", view.call.client_host), ADDRESS_LIMIT)
        url, begun = provider.begin(redirect_url)
    except REFUSALS as error:
        return refused(view, error, to=to, name="")
    kept = _serializer(view).dumps({"to": to, "url": redirect_url, **asdict(begun)})
    return Reply(
        303, b"",
        headers={"Location": url, "Set-Cookie": view.cookie(COOKIE, str(kept), BEGUN_S)},
    )


def finish(view: View) -> Reply:
    """Take what the provider sent the browser back with, once."""
    provider = _provider(view)
    name, subject, to = "", METHOD, view.home("")
    identity: Identity | None = None
    failure: FaceError | None = None
    try:
        take_attempt_of_address(view)
        begun, redirect_url, to = _begun(view)
        identity = provider.finish(begun, redirect_url, view.query)
        known = view.services.service.external.find(identity)
        name = known.name if known else identity.name
    except IdentityRefused as error:
        subject, failure = f"{METHOD}: {error.detail}", error
    except IdentityProviderUnavailable as error:
        failure = error
    except RequestRefused as error:
        return _forget(view, refused(view, error, to=to, name=""))

    def check() -> Operator:
        if identity is None:
            assert failure is not None
            raise failure
        return _admit(view, provider, identity)

    try:
        operator = recorded_attempt(view, name, subject, check)
    except REFUSALS as error:
        return _forget(view, refused(view, error, to=to, name=""))
    return _forget(view, next_step(view, operator, to))


def _provider(view: View) -> IdentityProvider:
    """Raises ``NotFound`` where none is set up."""
    provider = view.services.service.identity_provider
    if provider is None:
        raise NotFound
    return provider


def _admit(view: View, provider: IdentityProvider, identity: Identity) -> Operator:
    """The person's account, with what the provider says that it may do. Raises
    ``IdentityRefused``, ``LastAdministrator``."""
    service = view.services.service
    found = service.external.admit(identity, creates=provider.creates_accounts)
    if not identity.is_ruled:
        return found
    assert identity.role is not None
    if (found.role, found.sees_faces) == (identity.role, identity.sees_faces):
        return found
    said = f"{found.name}: role {identity.role.value}, sees_faces {identity.sees_faces}"
    try:
        with service.audit.recording(
            found.name, "operator.change", subject=f"{said}, by the {METHOD}",
            host=view.call.client_host, request_id=view.call.request_id,
        ):
            return service.operators.change(
                found.name, role=identity.role, sees_faces=identity.sees_faces
            )
    except LastAdministrator:
        service.external.shut_out(found)
        raise


def _begun(view: View) -> tuple[BegunSignIn, str, str]:
    """What the browser kept, the address that the provider sent it back to, and where it goes
    then. Raises ``IdentityRefused``."""
    try:
        kept = _serializer(view).loads(view.cookies.get(COOKIE, ""), max_age=BEGUN_S)
        begun = BegunSignIn(kept["state"], kept["nonce"], kept["verifier"])
    except BadData as error:
        raise IdentityRefused(NOT_BEGUN, "not begun here") from error
    if view.query.get("state") != begun.state:
        raise IdentityRefused(NOT_BEGUN, "another state")
    return begun, kept["url"], view.home(kept["to"])


def _serializer(view: View) -> URLSafeTimedSerializer:
    return URLSafeTimedSerializer(
        cookie_keys(view.services.service.vault), salt="faceline identity provider",
        signer_kwargs={"key_derivation": "hmac"},
    )


def _forget(view: View, reply: Reply) -> Reply:
    """Each way back is taken once."""
    return replace(reply, cookies=(*reply.cookies, view.cookie(COOKIE, "", 0)))


PAGES = (
    Page("/console/sign-in/provider", get=begin, public=True),
    Page(CALLBACK, get=finish, public=True),
)
