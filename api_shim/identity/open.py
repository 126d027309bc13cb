"""Opens the identity provider of the settings. Where there is none, nothing of Authlib is
imported."""

from __future__ import annotations

from api_shim.identity.provider import IdentityProvider, is_safe
from pipeline.config.settings import Settings
from pipeline.database.clock import Clock
from pipeline.errors import ConfigurationError
from pipeline.operators.external import read_rules


def open_identity_provider(settings: Settings, clock: Clock) -> IdentityProvider | None:
    """The provider of the settings, which is not asked yet. ``clock`` gives epoch seconds. Raises
    ``ConfigurationError`` for settings that cannot work, and where Authlib is missing."""
    if not (settings.console and settings.oidc_issuer):
        return None
    issuer = settings.oidc_issuer
    if not is_safe(issuer, issuer) or "?" in issuer:
        raise ConfigurationError(
            "FACELINE_OIDC_ISSUER is an https URL without query and password (http only on this "
            "machine)"
        )
    if not settings.oidc_client_id:
        raise ConfigurationError("FACELINE_OIDC_ISSUER needs FACELINE_OIDC_CLIENT_ID")
    if "openid" not in settings.oidc_scopes.split():
        raise ConfigurationError("FACELINE_OIDC_SCOPES needs the scope openid")
    rules = read_rules(settings)
    try:
        from api_shim.identity.openid_connect import OpenIdProvider
    except ImportError as error:
        raise ConfigurationError(
            "FACELINE_OIDC_ISSUER needs the extra `oidc`: pip install 'faceline[oidc]'"
        ) from error
    return OpenIdProvider(settings, rules, clock)
