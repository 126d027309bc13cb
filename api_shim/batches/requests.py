"""Bodies and queries of ``/batches``. Pure functions over bytes and text."""

from __future__ import annotations

from typing import Annotated, Literal, TypeVar
from urllib.parse import parse_qs

import msgspec

from pipeline.batches.model import ItemState
from pipeline.errors import InvalidParameter
from pipeline.identifiers import TEXT_END
from pipeline.sources.import_bucket import (
    MAX_LIST_ITEMS,
    CollectionKey,
    ListedItem,
    check_collection,
    check_prefix,
)
from pipeline.sources.names import Layout

MAX_PAGE_SIZE = 1000
MAX_REASONS = 20

ReasonCode = Annotated[str, msgspec.Meta(pattern=f"^[a-z_]{{1,32}}{TEXT_END}")]
RetriableState = Literal["rejected", "cancelled"]


class BatchRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The batch to start: listed ``items``, or everything below a ``prefix``."""

    items: (
        Annotated[list[ListedItem], msgspec.Meta(min_length=1, max_length=MAX_LIST_ITEMS)] | None
    ) = None
    prefix: str | None = None
    collection: CollectionKey = ""
    layout: Layout = "auto"
    faces: Literal["largest", "one", "all"] = "largest"
    gate: bool = False
    refuse_doubles: bool = False
    take_litter: bool = False

    def __post_init__(self) -> None:
        check_collection(self.collection)


class RetryRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which items to retry; without ``reasons``, items of every reason."""

    states: tuple[RetriableState, ...] = ("rejected", "cancelled")
    reasons: Annotated[list[ReasonCode], msgspec.Meta(max_length=MAX_REASONS)] | None = None

    @property
    def item_states(self) -> tuple[ItemState, ...]:
        return tuple(ItemState(state) for state in self.states)


class ItemsQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Which items to list."""

    after: Annotated[int, msgspec.Meta(ge=0, lt=2**53)] = 0
    limit: Annotated[int, msgspec.Meta(ge=1, le=MAX_PAGE_SIZE)] = 100
    state: ItemState | None = None
    reason: ReasonCode | None = None


class BatchesQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Which batches to list."""

    offset: Annotated[int, msgspec.Meta(ge=0, lt=2**53)] = 0
    limit: Annotated[int, msgspec.Meta(ge=1, le=MAX_PAGE_SIZE)] = 50


S = TypeVar("S", bound=msgspec.Struct)


def read_batch(body: bytes) -> BatchRequest:
    """Raises ``InvalidParameter``."""
    request = _decoded(body, BatchRequest)
    if (request.items is None) == (request.prefix is None):
        raise InvalidParameter("a batch takes either items or a prefix")
    if request.prefix is not None:
        check_prefix(request.prefix)
    return request


def read_retry(body: bytes) -> RetryRequest:
    """An empty body retries all items. Raises ``InvalidParameter``."""
    return _decoded(body, RetryRequest) if body.strip() else RetryRequest()


def read_query(query: str, kind: type[S]) -> S:
    """The parameters of a query; parameters that ``kind`` lacks are ignored. Raises
    ``InvalidParameter``."""
    try:
        given = parse_qs(query, keep_blank_values=True, max_num_fields=100)
        values = {name: found[-1] for name, found in given.items() if found[-1] != ""}
        return msgspec.convert(values, kind, strict=False)
    except ValueError as error:  # msgspec's errors are ValueErrors
        raise InvalidParameter(f"the query: {error}") from error


def _decoded(body: bytes, kind: type[S]) -> S:
    try:
        return msgspec.json.decode(body, type=kind)
    except msgspec.ValidationError as error:
        raise InvalidParameter(str(error)) from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidParameter("the body is not JSON in UTF-8") from error
