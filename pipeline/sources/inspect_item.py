"""Turns an item into a picture that may be enrolled, or into the reason why not."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from pipeline.errors import BadInput, NotAPicture
from pipeline.media.pictures import PictureHeader, PictureLimits, inspect
from pipeline.sources.archives import archive_kind
from pipeline.sources.base import About, Item, ItemRefused, RefusalReason, RefusedItem


@dataclass(frozen=True, slots=True)
class PictureItem:
    """An item's bytes, which are a picture by their header; ``sha256`` in hex."""

    source_name: str
    about: About
    data: bytes
    sha256: str
    header: PictureHeader


def inspect_item(item: Item, limits: PictureLimits) -> PictureItem | RefusedItem:
    """Reads ``item`` and checks its bytes; neither its name nor its pixels are considered.

    Raises ``Unavailable`` when the source is away and ``InvalidParameter`` when all of it
    has become unreadable, but nothing because of the item's content.
    """
    try:
        data = item.read(limits.max_bytes)
    except ItemRefused as refused:
        return refused.as_item(item.source_name, item.about)
    try:
        header = _inspect(data, limits)
    except ItemRefused as refused:
        return refused.as_item(item.source_name, item.about)
    except BadInput as error:
        return RefusedItem(item.source_name, error.code, error.message, item.about)
    return PictureItem(item.source_name, item.about, data, hashlib.sha256(data).hexdigest(), header)


def _inspect(data: bytes, limits: PictureLimits) -> PictureHeader:
    if not data:
        raise ItemRefused(RefusalReason.EMPTY, "no bytes")
    try:
        return inspect(data, limits)
    except NotAPicture:
        if (kind := archive_kind(data)) is not None:
            raise ItemRefused(
                RefusalReason.NESTED_ARCHIVE, f"a {kind} archive inside the source"
            ) from None
        raise
