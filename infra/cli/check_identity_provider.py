"""``faceline doctor`` about the identity provider."""

from __future__ import annotations

import time
from collections.abc import Iterator

from api_shim.identity.open import open_identity_provider
from pipeline.config.described import variable
from pipeline.config.settings import Settings
from pipeline.deployment.findings import Check, Verdict
from pipeline.errors import IdentityProviderUnavailable

SUBJECT = "sign-in"


def check_identity_provider(settings: Settings) -> Iterator[Check]:
    """Whether operators can sign in there; nothing where none is set up. Raises
    ``ConfigurationError``."""
    provider = open_identity_provider(settings, time.time)
    if provider is None:
        return
    try:
        provider.begin("")
    except IdentityProviderUnavailable as error:
        yield Check(
            SUBJECT, Verdict.BAD, f"{settings.oidc_issuer}: {error.detail}",
            f"check {variable('oidc_issuer')} and the way there; passwords and links still work",
        )
        return
    yield Check(SUBJECT, Verdict.GOOD, f"at {settings.oidc_issuer}")
