"""Which addresses webhooks may have."""

from __future__ import annotations

from pipeline.config.settings import Settings
from pipeline.errors import InvalidParameter
from pipeline.fetching.base import FetchRefused
from pipeline.fetching.open import open_poster


def check_address(url: str, settings: Settings) -> bool:
    """Whether ``url`` is https. Raises ``InvalidParameter`` with the reason for which events cannot
    be sent to it."""
    try:
        return open_poster(settings).check(url).secure
    except FetchRefused as error:
        raise InvalidParameter(f"events cannot be sent to this URL: {error}") from error
