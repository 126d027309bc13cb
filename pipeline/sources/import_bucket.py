"""Pictures that applications name over HTTP: objects of one bucket, each application's
below a folder of its own."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Annotated

import msgspec

from pipeline.config.settings import Settings
from pipeline.errors import ConfigurationError, InvalidParameter
from pipeline.sources.base import (
    About,
    Item,
    ItemRefused,
    PictureSource,
    RefusalReason,
    RefusedItem,
)
from pipeline.sources.bucket import Bucket, BucketLocation, BucketSource, parse_location
from pipeline.sources.names import (
    MAX_NAME,
    Layout,
    NameSet,
    about_from_path,
    inner_path,
    person_name,
    printable,
)
from pipeline.sources.rows import MAX_CHARACTERS, MAX_TEXT

MAX_LIST_ITEMS = 100_000  # of one list: some 10 MB of JSON; more are named by a prefix

MAX_KEY = 1024  # bytes of an object's key in S3

# What an item of a list is called that cannot be known by its key.
UNNAMED_ITEM = re.compile(r"\(item \d+\)")

_Text = Annotated[str, msgspec.Meta(max_length=MAX_TEXT)]
_Name = Annotated[str, msgspec.Meta(max_length=MAX_NAME)]

# Without NUL, which no database column takes.
CollectionKey = Annotated[
    str, msgspec.Meta(max_length=MAX_CHARACTERS["collection"], pattern=r"\A[^\x00]*\Z")
]


class ListedItem(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One object of a list: its ``key`` below the application's folder, and what is said
    of it. Without a name the key says who it is, as a path does in a folder."""

    key: Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_KEY)]
    name: _Name = ""
    collection: CollectionKey = ""
    external_id: _Name = ""
    description: _Text = ""


def import_location(settings: Settings, tenant_id: int) -> BucketLocation:
    """The folder of an application in the bucket that applications import from.

    Raises ``ConfigurationError`` when there is none or it is where the service keeps its
    own objects.
    """
    if not settings.import_url:
        raise ConfigurationError("no bucket to import from is configured (FACELINE_IMPORT_URL)")
    try:
        place = parse_location(settings.import_url)
        own = _media_bucket(settings)
    except InvalidParameter as error:
        raise ConfigurationError(f"FACELINE_IMPORT_URL: {error.message}") from error
    # By name alone: one server has many addresses.
    if own is not None and own.bucket == place.bucket:
        raise ConfigurationError(
            "FACELINE_IMPORT_URL names the bucket of the media store; it takes one of its own"
        )
    folder = place.prefix.strip("/")
    return replace(place, prefix=f"{folder}/t{tenant_id}/" if folder else f"t{tenant_id}/")


def _media_bucket(settings: Settings) -> BucketLocation | None:
    location = settings.media_location
    return parse_location(location) if location.startswith("s3") else None


def prefix_source(settings: Settings, tenant_id: int, prefix: str, layout: Layout) -> PictureSource:
    """Every object below a prefix of the application's folder. Raises
    ``InvalidParameter`` for a prefix that leads out of it, ``ConfigurationError``."""
    place = import_location(settings, tenant_id)
    below = check_prefix(prefix)
    bucket = Bucket(replace(place, prefix=place.prefix + below), settings)
    return _RelativeSource(BucketSource(bucket, layout), printable(place.prefix))


def check_prefix(prefix: str) -> str:
    """A prefix as it is searched for. Raises ``InvalidParameter``."""
    if not prefix:
        return ""
    if len(prefix.encode("utf-8", "replace")) > MAX_KEY:
        raise InvalidParameter(f"prefix has more than {MAX_KEY} bytes")
    try:
        inner_path(prefix)
    except ItemRefused as refused:
        raise InvalidParameter(f"prefix is {refused.detail}") from refused
    return prefix


@dataclass(frozen=True, slots=True)
class _RelativeSource:
    """A source whose items are named from the application's folder on, as in a list."""

    source: PictureSource
    folder: str

    @property
    def location(self) -> str:
        return self.source.location

    def position(self) -> tuple[int, int]:
        return self.source.position()

    def items(self) -> Iterator[Item | RefusedItem]:
        for item in self.source.items():
            yield replace(item, source_name=item.source_name.removeprefix(self.folder))


class ListedSource:
    """The objects of a list, in its order."""

    def __init__(
        self, settings: Settings, tenant_id: int, listed: list[ListedItem],
        layout: Layout = "auto",
    ) -> None:
        self._place = import_location(settings, tenant_id)
        self._bucket = Bucket(self._place, settings)
        self._listed = listed
        self._layout = layout
        self._done = 0

    @property
    def location(self) -> str:
        return printable(f"{self._place.bucket}/{self._place.prefix}")

    def position(self) -> tuple[int, int]:
        """Items of the list."""
        return self._done, len(self._listed)

    def items(self) -> Iterator[Item | RefusedItem]:
        seen = NameSet()
        for number, listed in enumerate(self._listed, 1):
            yield self._item(number, listed, seen)
            self._done = number

    def _item(self, number: int, listed: ListedItem, seen: NameSet) -> Item | RefusedItem:
        said = About(
            person_name(listed.name), listed.collection, printable(listed.external_id),
            printable(listed.description),
        )
        try:
            parts = inner_path(listed.key)
            about = (
                said if said.name else replace(said, name=about_from_path(parts, self._layout).name)
            )
        except ItemRefused as refused:
            detail = f"{printable(listed.key)}: {refused.detail}"
            return RefusedItem(f"(item {number})", refused.reason, detail, said)
        source_name = printable(listed.key)
        if not seen.add(source_name):
            detail = f"{source_name} is named by an earlier item"
            return RefusedItem(f"(item {number})", RefusalReason.DUPLICATE_NAME, detail, said)
        return Item(source_name, about, partial(self._bucket.read, self._place.prefix + listed.key))
