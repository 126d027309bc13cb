"""OpenID Connect by Authlib: authorization code flow with PKCE, state and nonce."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import urlsplit

import msgspec
import requests
from authlib.common.security import generate_token
from authlib.integrations.base_client import OAuthError
from authlib.integrations.requests_client import OAuth2Session
from authlib.oidc.core import CodeIDToken
from authlib.oidc.discovery import get_well_known_url
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet
from joserfc.jws import JWSRegistry

from api_shim.identity.provider import BegunSignIn, is_safe
from pipeline.config.settings import Settings
from pipeline.database.clock import Clock
from pipeline.errors import IdentityProviderUnavailable, IdentityRefused, InvalidParameter
from pipeline.operators.external import Identity, RoleRules, find_claim
from pipeline.operators.model import check_name

logger = logging.getLogger(__name__)

# Seconds for connecting, and between two parts of an answer; and for all of an answer.
TIMEOUT_S = (3.0, 5.0)
ANSWER_S = 10.0
MAX_ANSWER = 1 << 20

# Seconds for which discovery and keys are kept, and for which a provider that was away is not
# asked again.
KEPT_S = 3600.0
PAUSE_S = 5.0

# Seconds that a request waits for another one that asks the provider first.
WAIT_S = 3.0

# Seconds that the provider's clock may differ.
LEEWAY_S = 60

# Signatures by keys that the provider publishes: neither `none`, nor by a shared secret.
ALGORITHMS = [
    "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "Ed25519",
    "EdDSA",
]

TOKEN_CHARS = 48

NOT_VERIFIED = "The answer of the identity provider could not be verified: begin again."
NOT_SIGNED_IN = "The identity provider did not sign you in."
NO_NAME = "The identity provider gives you no name that an account can have."


@dataclass(frozen=True, slots=True)
class _Discovered:
    """What the provider says about itself."""

    authorization_endpoint: str
    token_endpoint: str
    jwks_uri: str
    userinfo_endpoint: str
    token_auth: str
    names_itself: bool
    keys: KeySet
    at: float


class OpenIdProvider:
    """``rules`` are None where accounts keep their roles. ``clock`` gives epoch seconds."""

    def __init__(self, settings: Settings, rules: RoleRules | None, clock: Clock) -> None:
        self._settings = settings
        self._issuer = settings.oidc_issuer
        self._rules = rules
        self._clock = clock
        self._lock = threading.Lock()
        self._found: _Discovered | None = None
        self._failed_at = float("-inf")
        self.host = urlsplit(self._issuer).netloc
        self.creates_accounts = settings.oidc_create_accounts

    def begin(self, redirect_url: str) -> tuple[str, BegunSignIn]:
        found = self._discovered()
        begun = BegunSignIn(*(generate_token(TOKEN_CHARS) for _ in range(3)))
        with self._client(found, redirect_url) as client:
            url, _ = client.create_authorization_url(
                found.authorization_endpoint, state=begun.state, nonce=begun.nonce,
                code_verifier=begun.verifier,
            )
        return str(url), begun

    def finish(
        self, begun: BegunSignIn, redirect_url: str, answer: Mapping[str, str]
    ) -> Identity:
        found = self._discovered()
        said = answer.get("iss")
        if said != self._issuer and (said is not None or found.names_itself):
            raise IdentityRefused(NOT_VERIFIED, "the answer is another issuer's")
        if "error" in answer:
            raise IdentityRefused(NOT_SIGNED_IN, f"error {answer['error']}")
        with self._client(found, redirect_url) as client:
            client.register_compliance_hook("access_token_response", _bounded)
            token = self._exchange(client, found, answer.get("code", ""), begun.verifier)
        claims = self._verified(token, found, begun.nonce)
        return self._identity(self._completed(claims, token, found))

    def _client(self, found: _Discovered, redirect_url: str) -> OAuth2Session:
        settings = self._settings
        return OAuth2Session(
            settings.oidc_client_id, settings.oidc_client_secret.get_secret_value() or None,
            token_endpoint_auth_method=found.token_auth, scope=settings.oidc_scopes,
            redirect_uri=redirect_url, code_challenge_method="S256",
        )

    def _exchange(
        self, client: OAuth2Session, found: _Discovered, code: str, verifier: str
    ) -> Mapping[str, Any]:
        try:
            token: Mapping[str, Any] = client.fetch_token(
                found.token_endpoint, grant_type="authorization_code", code=code,
                code_verifier=verifier, timeout=TIMEOUT_S, allow_redirects=False,
                stream=True,
            )
        except OAuthError as error:
            raise IdentityRefused(NOT_VERIFIED, f"error {error.error}") from error
        except (requests.RequestException, ValueError, TypeError) as error:
            raise _away(error) from error
        return token

    # The token ---------------------------------------------------------------------------

    def _verified(
        self, token: Mapping[str, Any], found: _Discovered, nonce: str
    ) -> dict[str, Any]:
        """The claims of the ID token, after signature, issuer, audience, times and nonce."""
        text = token.get("id_token")
        if not isinstance(text, str):
            raise IdentityRefused(NOT_VERIFIED, "no ID token")
        try:
            decoded = self._decoded(text, found)
            client_id = self._settings.oidc_client_id
            claims = CodeIDToken(
                decoded.claims, decoded.header,
                {
                    "iss": {"essential": True, "value": self._issuer},
                    "aud": {"essential": True, "value": client_id},
                    "sub": {"essential": True},
                },
                {
                    "nonce": nonce, "client_id": client_id,
                    "access_token": token.get("access_token"),
                },
            )
            claims.validate(now=int(self._clock()), leeway=LEEWAY_S)
        except (JoseError, ValueError, TypeError, KeyError) as error:
            reason = getattr(error, "error", type(error).__name__)
            raise IdentityRefused(NOT_VERIFIED, f"{reason} {getattr(error, 'claim', '')}".strip()) \
                from error
        return dict(claims)

    def _decoded(self, text: str, found: _Discovered) -> jwt.Token:
        """Keys are looked up once more where the token's is not among them."""
        registry = JWSRegistry(algorithms=ALGORITHMS, strict_check_header=False)
        try:
            return jwt.decode(text, found.keys, registry=registry)
        except (JoseError, ValueError):
            found = replace(found, keys=self._keys(found.jwks_uri))
            decoded = jwt.decode(text, found.keys, registry=registry)
        self._found = found
        return decoded

    def _completed(
        self, claims: dict[str, Any], token: Mapping[str, Any], found: _Discovered
    ) -> dict[str, Any]:
        """The claims with those that only the provider's other endpoint tells."""
        named = find_claim(claims, self._settings.oidc_name_claim) is not None
        told = self._rules is None or self._rules.is_told(claims)
        access = token.get("access_token")
        if (named and told) or not found.userinfo_endpoint or not isinstance(access, str):
            return claims
        more = self._get(found.userinfo_endpoint, {"Authorization": f"Bearer {access}"})
        if more.get("sub") != claims["sub"]:
            raise IdentityRefused(NOT_VERIFIED, "the user information is of another person")
        return {**more, **claims}

    def _identity(self, claims: dict[str, Any]) -> Identity:
        settings, rules = self._settings, self._rules
        name = find_claim(claims, settings.oidc_name_claim)
        if settings.oidc_name_claim == "email" and claims.get("email_verified") is not True:
            raise IdentityRefused(NO_NAME, "the address is not verified")
        try:
            check_name(name if isinstance(name, str) else "")
        except InvalidParameter as error:
            raise IdentityRefused(NO_NAME, f"claim {settings.oidc_name_claim}") from error
        return Identity(
            self._issuer, claims["sub"], str(name), is_ruled=rules is not None,
            role=rules.role_of(claims) if rules else None,
            sees_faces=rules.shows_faces_to(claims) if rules else False,
        )

    # What the provider says about itself -------------------------------------------------

    def _discovered(self) -> _Discovered:
        """One request at a time asks. Meanwhile others take what was known, or wait a little."""
        known = self._found
        if known is not None and time.monotonic() - known.at < KEPT_S:
            return known
        if not self._lock.acquire(timeout=WAIT_S if known is None else 0.0):
            if known is None:
                raise IdentityProviderUnavailable("another request waits for it")
            return known
        try:
            if self._found is not known:
                assert self._found is not None
                return self._found
            if time.monotonic() - self._failed_at < PAUSE_S:
                raise IdentityProviderUnavailable("it did not answer a moment ago")
            self._failed_at = time.monotonic()  # until it has answered
            self._found = self._discover()
            self._failed_at = float("-inf")
            return self._found
        finally:
            self._lock.release()

    def _discover(self) -> _Discovered:
        said = self._get(get_well_known_url(self._issuer, external=True))
        if said.get("issuer") != self._issuer:
            raise _away(ValueError(f"it calls itself {said.get('issuer')!r}"))
        urls = {
            name: said.get(name, "")
            for name in ("authorization_endpoint", "token_endpoint", "jwks_uri",
                         "userinfo_endpoint")
        }
        for name, url in urls.items():
            optional = name == "userinfo_endpoint" and not url
            if not optional and not (isinstance(url, str) and is_safe(url, self._issuer)):
                raise _away(ValueError(f"its {name} is {url!r}"))
        methods = said.get("token_endpoint_auth_methods_supported") or ["client_secret_basic"]
        basic = "client_secret_basic" in methods
        kept = self._settings.oidc_client_secret.get_secret_value()
        return _Discovered(
            **urls, keys=self._keys(urls["jwks_uri"]), at=time.monotonic(),
            token_auth=("client_secret_basic" if basic else "client_secret_post")
            if kept else "none",
            names_itself=said.get("authorization_response_iss_parameter_supported") is True,
        )

    def _keys(self, url: str) -> KeySet:
        """The keys for signatures that this service can use."""
        usable = []
        listed = self._get(url).get("keys")
        for each in listed if isinstance(listed, list) else ():
            if isinstance(each, dict) and each.get("kty") != "oct":
                try:
                    usable += KeySet.import_key_set({"keys": [each]}).keys
                except (JoseError, ValueError, TypeError, KeyError):
                    continue
        return KeySet(usable)

    def _get(self, url: str, headers: Mapping[str, str] | None = None) -> dict[str, Any]:
        """A JSON object of the provider. Raises ``IdentityProviderUnavailable``."""
        try:
            with requests.get(
                url, headers={"Accept": "application/json", **(headers or {})}, timeout=TIMEOUT_S,
                allow_redirects=False, stream=True,
            ) as response:
                if response.status_code != requests.codes.ok:
                    raise ValueError(f"{url}: status {response.status_code}")  # noqa: TRY301
                return msgspec.json.decode(_read(response), type=dict[str, Any])
        except (requests.RequestException, ValueError) as error:
            raise _away(error) from error


def _read(response: requests.Response) -> bytes:
    """The body, within its bounds. Raises ``ValueError``."""
    body, until = b"", time.monotonic() + ANSWER_S
    for part in response.iter_content(1 << 16):
        body += part
        if len(body) > MAX_ANSWER or time.monotonic() > until:
            raise ValueError("the answer is too long")
    return body


def _bounded(response: requests.Response) -> requests.Response:
    """The response to a token request with its body read. Raises ``ValueError``."""
    response._content = _read(response)
    return response


def _away(error: Exception) -> IdentityProviderUnavailable:
    logger.warning(
        "The identity provider does not answer: %s", error, extra={"action": "sign_in"}
    )
    return IdentityProviderUnavailable(str(error))
