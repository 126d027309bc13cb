"""Pictures that applications import over HTTP: objects of one bucket, in which each
application has a folder of its own."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Annotated

import msgspec

from pipeline.config.settings import Settings
from pipeline.errors import ConfigurationError, InvalidParameter
from pipeline.identifiers import (
    COLLECTION_KEY_SCHEMA,
    MAX_COLLECTION_KEY_BYTES,
    is_collection_key,
)
from pipeline.sources.base import (
    About,
    Item,
    ItemRefused,
    PictureSource,
    RefusalReason,
    RefusedItem,
)
from pipeline.sources.litter import WithoutLitter
from pipeline.sources.names import (
    MAX_NAME,
    Layout,
    NameSet,
    about_from_path,
    inner_path,
    person_name,
    printable,
)
from pipeline.sources.rows import MAX_TEXT

if TYPE_CHECKING:
    # minio-py costs 90 ms and 15 MB, which a service without such a bucket saves.
    from pipeline.sources.bucket import BucketLocation

MAX_LIST_ITEMS = 100_000  # some 10 MB of JSON; a prefix can name more objects

MAX_KEY = 1024  # bytes of an object's key in S3

# The name of a list item whose key is refused.
UNNAMED_ITEM = re.compile(r"\(item \d+\)")

_Text = Annotated[str, msgspec.Meta(max_length=MAX_TEXT)]
_Name = Annotated[str, msgspec.Meta(max_length=MAX_NAME)]

CollectionKey = Annotated[str, msgspec.Meta(extra_json_schema=dict(COLLECTION_KEY_SCHEMA))]
"""The key of a collection, or "" for none; see ``check_collection``."""


def check_collection(key: str) -> None:
    """Raises ``ValueError`` for a name that no collection can have."""
    if key and not is_collection_key(key):
        raise ValueError(
            f"a collection has at most {MAX_COLLECTION_KEY_BYTES} bytes in UTF-8, "
            "and no control characters"
        )


class ListedItem(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One object of a list: its ``key`` below the application's folder, and what the
    application says of it. Without a name the key gives it, as a path does in a folder."""

    key: Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_KEY)]
    name: _Name = ""
    collection: CollectionKey = ""
    external_id: _Name = ""
    description: _Text = ""

    def __post_init__(self) -> None:
        check_collection(self.collection)


def import_location(settings: Settings, tenant_id: int) -> BucketLocation:
    """The folder of an application in the bucket that applications import from.

    Raises ``ConfigurationError`` when there is none, or when the media store uses the same bucket.
    """
    from pipeline.sources.bucket import parse_location

    if not settings.import_url:
        raise ConfigurationError("no bucket to import from is configured (FACELINE_IMPORT_URL)")
    try:
        location = parse_location(settings.import_url)
        media = settings.media_location
        is_same = media.startswith("s3") and parse_location(media).bucket == location.bucket
    except InvalidParameter as error:
        raise ConfigurationError(f"FACELINE_IMPORT_URL: {error.message}") from error
    # Only names are compared: one server has many addresses.
    if is_same:
        raise ConfigurationError(
            "FACELINE_IMPORT_URL names the bucket of the media store; imports need their own"
        )
    folder = location.prefix.strip("/")
    return replace(location, prefix=f"{folder}/t{tenant_id}/" if folder else f"t{tenant_id}/")


def prefix_source(
    settings: Settings, tenant_id: int, prefix: str, layout: Layout, *, take_litter: bool = False
) -> PictureSource:
    """Every object below a prefix of the application's folder, named relative to the folder
    as in a list; with litter only if told. Raises ``InvalidParameter`` for a prefix that leads
    out of the folder, ``ConfigurationError``."""
    from pipeline.sources.bucket import Bucket, BucketSource, folder_of

    location = import_location(settings, tenant_id)
    below = replace(location, prefix=location.prefix + check_prefix(prefix))
    source = BucketSource(Bucket(below, settings), layout, relative_to=location.prefix)
    return source if take_litter else WithoutLitter(source, folder_of(prefix))


def check_prefix(prefix: str) -> str:
    """The prefix. Raises ``InvalidParameter`` for one that leads out of the folder."""
    if not prefix:
        return ""
    if len(prefix.encode("utf-8", "replace")) > MAX_KEY:
        raise InvalidParameter(f"prefix has more than {MAX_KEY} bytes")
    try:
        inner_path(prefix)
    except ItemRefused as refused:
        raise InvalidParameter(f"prefix is {refused.detail}") from refused
    return prefix


class ListedSource:
    """The objects of a list, in its order. The position counts items."""

    def __init__(
        self, settings: Settings, tenant_id: int, listed: list[ListedItem],
        layout: Layout = "auto",
    ) -> None:
        from pipeline.sources.bucket import Bucket

        self._location = import_location(settings, tenant_id)
        self._bucket = Bucket(self._location, settings)
        self._listed = listed
        self._layout = layout
        self._done = 0

    @property
    def location(self) -> str:
        return printable(f"{self._location.bucket}/{self._location.prefix}")

    def position(self) -> tuple[int, int]:
        return self._done, len(self._listed)

    def items(self) -> Iterator[Item | RefusedItem]:
        names = NameSet()
        for number, listed in enumerate(self._listed, 1):
            yield self._item(number, listed, names)
            self._done = number

    def _item(self, number: int, listed: ListedItem, names: NameSet) -> Item | RefusedItem:
        about = About(
            person_name(listed.name), listed.collection, printable(listed.external_id),
            printable(listed.description),
        )
        source_name = printable(listed.key)
        try:
            parts = inner_path(listed.key)
            name = about.name or about_from_path(parts, self._layout).name
        except ItemRefused as refused:
            detail = f"{source_name}: {refused.detail}"
            return RefusedItem(f"(item {number})", refused.reason, detail, about)
        if not names.add(source_name):
            detail = f"an earlier item names {source_name}"
            return RefusedItem(f"(item {number})", RefusalReason.DUPLICATE_NAME, detail, about)
        read = partial(self._bucket.read, self._location.prefix + listed.key)
        return Item(source_name, replace(about, name=name), read)
