"""What fetches a picture, whatever stands behind it."""

from __future__ import annotations

from typing import Protocol


class Fetcher(Protocol):
    """Reads what a stranger's URL names."""

    def fetch(self, url: str) -> bytes:
        """The whole body behind ``url``.

        Raises ``MediaTooLarge``, ``DownloadTimedOut``, and ``DownloadRefused`` for
        everything else: who sent the URL does not learn why.
        """
        ...
