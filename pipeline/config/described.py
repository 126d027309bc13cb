"""The settings of a process in words: value in force, where it comes from, meaning. Secrets are
hidden."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from pydantic import SecretStr
from pydantic.fields import FieldInfo

from pipeline.config.settings import Settings

SET = "(set)"
"""What is shown of a secret that has a value."""

HIDDEN = "***"
"""What is shown of a secret within a value."""

# Of a URL: the password, or all of it that stands before the host where no name precedes it.
# Up to the last @, since a password may hold one.
_PASSWORD = re.compile(r"(://[^:/@\s]*:)\S*@")
_TOKEN = re.compile(r"(https?://)[^:/@\s]+@", re.IGNORECASE)
_PARAMETER = re.compile(
    r"([?&][^=&\s]*(?:pass|pwd|secret|token|key|auth|sig)[^=&\s]*=)[^&\s]+", re.IGNORECASE
)

# What an empty setting stands for.
_DERIVED = {
    "database_url": "sql_url", "redis_url": "wake_url", "media_url": "media_location",
    "journal_url": "journal_location",
}


class SettingSource(StrEnum):
    """Where the value of a setting comes from."""

    ENVIRONMENT = "environment"
    FILE = "file"
    DEFAULT = "default"


@dataclass(frozen=True, slots=True)
class DescribedSetting:
    """A setting by its environment variable. ``default`` is empty for no value; ``value`` is the
    one in force, also where it follows from other settings."""

    variable: str
    value: str
    source: SettingSource
    default: str
    meaning: str


def describe_settings(
    settings: Settings, environment: Mapping[str, str] | None = None
) -> list[DescribedSetting]:
    """Every setting, in the order of the class. Without ``environment`` that of this process."""
    given = {name.upper() for name in (os.environ if environment is None else environment)}
    return [
        _describe(settings, name, info, given) for name, info in Settings.model_fields.items()
    ]


def variable(name: str) -> str:
    """The environment variable of a setting."""
    return f"FACELINE_{name.upper()}"


def display_value(value: object) -> str:
    """A value as text; a secret only as set or not set, and without the secrets of a URL."""
    if isinstance(value, SecretStr):
        return SET if value.get_secret_value() else ""
    shown = _PASSWORD.sub(rf"\1{HIDDEN}@", str(value))
    return _PARAMETER.sub(rf"\1{HIDDEN}", _TOKEN.sub(rf"\1{HIDDEN}@", shown))


def meaning(info: FieldInfo) -> str:
    """The description of a setting on one line."""
    return " ".join((info.description or "").split())


def default_value(info: FieldInfo) -> str:
    """The default of a setting as text, with the slashes of every machine's paths."""
    default: Any = info.default
    return default.as_posix() if isinstance(default, Path) else display_value(default)


def _describe(
    settings: Settings, name: str, info: FieldInfo, given: set[str]
) -> DescribedSetting:
    value = display_value(getattr(settings, name))
    source = SettingSource.ENVIRONMENT if variable(name) in given else SettingSource.DEFAULT
    if not value and name in _DERIVED:
        value = display_value(getattr(settings, _DERIVED[name]))
    if not value and name == "master_key" and _key_file(settings).is_file():
        value, source = SET, SettingSource.FILE
    return DescribedSetting(variable(name), value, source, default_value(info), meaning(info))


def _key_file(settings: Settings) -> Path:
    return Path(settings.master_key_file) if settings.master_key_file else settings.data.master_key
