"""``faceline settings``: the effective settings, without secrets."""

from __future__ import annotations

import json

import pytest

from pipeline.config.settings import Settings
from tests.unit.infra.conftest import Faceline


def test_every_setting_is_listed_with_its_value(
    faceline: Faceline, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FACELINE_LEASE_S", "7.5")

    listed = json.loads(faceline("settings", "--json").out)

    assert len(listed) == len(Settings.model_fields)
    assert listed["FACELINE_LEASE_S"] == "7.5"


@pytest.mark.parametrize("arguments", [(), ("--json",), ("--markdown",)])
def test_no_secret_is_shown(
    faceline: Faceline, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...]
) -> None:
    monkeypatch.setenv("FACELINE_MEDIA_SECRET_KEY", "hush-hush")

    assert "hush-hush" not in faceline("settings", *arguments).out
