"""The dialects that are served: one line each."""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Mapping, Sequence

from api_shim.dialects.base import Dialect
from api_shim.service import RecordStores
from pipeline.accounts.app_settings import AppSetting
from pipeline.config.settings import Settings

PACKAGES = (
    "api_shim.dialects.a",
    "api_shim.dialects.b",
    "api_shim.dialects.c",
    "api_shim.dialects.d",
    "api_shim.dialects.e",
)
"""Packages with a dialect's class under the name ``DIALECT``."""


def load_dialects(packages: Iterable[str] = PACKAGES) -> list[type[Dialect]]:
    """The classes of the dialects. Raises ``ImportError``."""
    return [importlib.import_module(package).DIALECT for package in packages]


def app_settings(packages: Iterable[str] = PACKAGES) -> dict[str, AppSetting]:
    """Everything that an application can choose, by name."""
    return {each.name: each for one in load_dialects(packages) for each in one.app_settings}


def profiles(packages: Iterable[str] = PACKAGES) -> dict[str, Mapping[str, str]]:
    """The profiles of every dialect, by name."""
    dialects = load_dialects(packages)
    return {name: chosen for one in dialects for name, chosen in one.profiles.items()}


def make_dialects(
    settings: Settings, records: RecordStores, packages: Sequence[str] = PACKAGES
) -> dict[str, Dialect]:
    """The dialects by their letters."""
    made = [dialect(settings, records) for dialect in load_dialects(packages)]
    return {dialect.letter: dialect for dialect in made}
