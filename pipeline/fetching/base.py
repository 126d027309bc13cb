"""The interface of picture downloads."""

from __future__ import annotations

from typing import Protocol


class Fetcher(Protocol):
    """Downloads from untrusted URLs."""

    def fetch(self, url: str) -> bytes:
        """The whole body at ``url``.

        Raises ``MediaTooLarge``, ``DownloadTimedOut``, and ``DownloadRefused`` for every
        other failure: the client does not learn the reason.
        """
        ...
