"""The OpenAPI document without a running service."""

from __future__ import annotations

from typing import Any, cast
from unittest.mock import MagicMock

from api_shim.dialects.base import Dialect
from api_shim.dialects.fields import Schema
from api_shim.dialects.registry import make_dialects
from api_shim.service import RecordStores
from pipeline.config.settings import Settings


def described_dialects() -> list[Dialect]:
    """Every dialect, over no records."""
    return list(make_dialects(Settings(), cast("RecordStores", MagicMock())).values())


def resolved(document: Schema, value: Any) -> Any:
    """``value`` with the document's references followed."""
    if isinstance(value, list):
        return [resolved(document, item) for item in value]
    if not isinstance(value, dict):
        return value
    if "$ref" in value:
        found: Any = document
        for name in value["$ref"].removeprefix("#/").split("/"):
            found = found[name]
        return resolved(document, found)
    return {name: resolved(document, each) for name, each in value.items()}
