"""Ids that pictures get from their bytes.

The id is the MD5 of the file, 16 bytes that have two spellings: URL-safe Base64 (24
characters) and hex (32 digits). A row holds either; a caller may use both.
"""

from __future__ import annotations

import base64
import hashlib
import re

_BASE64 = re.compile("[A-Za-z0-9_-]{22}==")
_HEX = re.compile("[0-9a-f]{32}")


def default_image_id(data: bytes) -> str:
    """The Base64 spelling for the bytes of a file."""
    digest = hashlib.md5(data, usedforsecurity=False).digest()
    return base64.urlsafe_b64encode(digest).decode()


def hex_spelling(image_id: str) -> str:
    """An id in Base64 as hex, any other id as it is."""
    if _BASE64.fullmatch(image_id) is None:
        return image_id
    return base64.urlsafe_b64decode(image_id).hex()


def spellings(image_id: str) -> tuple[str, ...]:
    """The ids under which a picture may be stored that a caller names in hex, or as it was
    stored."""
    if _HEX.fullmatch(image_id) is None:
        return (image_id,)
    return image_id, base64.urlsafe_b64encode(bytes.fromhex(image_id)).decode()
