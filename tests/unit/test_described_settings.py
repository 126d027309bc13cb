"""Settings in words: sources, and secrets that are never shown."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import SecretStr

from pipeline.config.described import SettingSource, describe_settings, display_value
from pipeline.config.settings import Settings


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("postgresql://app:hush@db/face", "postgresql://app:***@db/face"),
        ("postgresql://app:hu/s@h@db/face", "postgresql://app:***@db/face"),
        ("redis://:hush@cache:6379/0", "redis://:***@cache:6379/0"),
        ("https://hush@collector/v1/traces", "https://***@collector/v1/traces"),
        ("postgresql://db/face?user=a&password=hush&x=1",
         "postgresql://db/face?user=a&password=***&x=1"),
        ("sentinel://:hush@a:1,:hush@b:2/0?master=m", "sentinel://:***@b:2/0?master=m"),
        ("s3+http://host:9000/bucket", "s3+http://host:9000/bucket"),
        (SecretStr("hush"), "(set)"),
        (SecretStr(""), ""),
    ],
)
def test_secrets_are_hidden(value: object, shown: str) -> None:
    assert display_value(value) == shown
    assert "hush" not in display_value(value)


def test_values_say_where_they_come_from(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path, hold_s=7)
    environment = {"faceline_hold_s": "7", "FACELINE_DATA_DIR": str(tmp_path)}

    def described() -> dict[str, tuple[str, SettingSource]]:
        return {
            each.variable: (each.value, each.source)
            for each in describe_settings(settings, environment)
        }

    assert described()["FACELINE_HOLD_S"] == ("7.0", SettingSource.ENVIRONMENT)
    assert described()["FACELINE_LEASE_S"] == ("15.0", SettingSource.DEFAULT)
    assert described()["FACELINE_DATABASE_URL"] == (settings.sql_url, SettingSource.DEFAULT)
    assert described()["FACELINE_MASTER_KEY"] == ("", SettingSource.DEFAULT)
    (tmp_path / "master.key").write_text("key")
    assert described()["FACELINE_MASTER_KEY"] == ("(set)", SettingSource.FILE)
