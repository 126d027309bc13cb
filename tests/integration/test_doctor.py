"""``faceline doctor``: it finds missing prerequisites and gives advice."""

from __future__ import annotations

import json
import socket
import sqlite3
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

from infra.cli.checks import check_opencv
from infra.cli.database import open_database
from pipeline.accounts.tenants import TenantStore
from pipeline.config.settings import Settings, load_settings
from pipeline.deployment.findings import Verdict
from pipeline.deployment.pack import pin_pack
from pipeline.encryption.vault import open_vault
from pipeline.media.directory import DirectoryStore
from pipeline.sessions import registry
from tests.gallery_factory import TenantGallery
from tests.job_factory import Clock
from tests.servers import RedisServer
from tests.unit.infra.conftest import Faceline


def findings(faceline: Faceline) -> dict[str, dict[str, str]]:
    """The findings of `doctor --json`, by name; the last of each name."""
    report: dict[str, Any] = json.loads(faceline("doctor", "--json").out)
    return {check["name"]: check for check in report["checks"]}


def test_a_fresh_machine_has_nothing_to_mend(faceline: Faceline, data_dir: Path) -> None:
    outcome = faceline("doctor")

    assert outcome.code == 0, outcome.out
    assert "Everything is in order." in outcome.err
    assert "opencv-python-headless" in outcome.out
    assert not data_dir.exists()


def test_the_pack_is_named_with_its_licence(faceline: Faceline) -> None:
    found = findings(faceline)

    assert found["pack"]["found"].startswith("dlib (auto), 128 numbers")
    assert "forbids commercial use" in found["licence"]["found"]
    assert found["files"]["verdict"] == "good"


def test_how_pictures_are_decoded(
    faceline: Faceline, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "1024 MB and 10 s" in findings(faceline)["decoding"]["found"]

    monkeypatch.setenv("FACELINE_DECODE_SANDBOX", "false")

    found = findings(faceline)["decoding"]
    assert found["verdict"] == "note"
    assert "trusted sources" in found["advice"]


def test_an_unknown_pack_ends_badly(
    faceline: Faceline, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FACELINE_PACK", "buffalo_l")

    outcome = faceline("doctor")

    assert outcome.code == 1
    assert "!! pack" in outcome.out
    assert "faceline models pull buffalo_l" in outcome.out


def test_a_provider_that_is_not_here_is_named(
    faceline: Faceline, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FACELINE_PROVIDERS", "NoSuchProvider,CPUExecutionProvider")

    found = findings(faceline)

    assert found["providers"]["verdict"] == "bad"
    assert "NoSuchProvider" in found["providers"]["advice"]


def test_a_redis_that_does_not_answer_is_bad(
    faceline: Faceline, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        monkeypatch.setenv("FACELINE_BROKER_URL", f"redis://127.0.0.1:{unused.getsockname()[1]}/0")
        found = findings(faceline)

    assert found["redis"]["verdict"] == "bad"
    assert "FACELINE_BROKER_URL" in found["redis"]["advice"]


def test_a_redis_that_forgets_is_noticed(
    faceline: Faceline, redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FACELINE_BROKER_URL", redis_server.url)

    assert findings(faceline)["redis"]["verdict"] == "note"
    assert "appendonly is off" in findings(faceline)["redis"]["found"]


def test_a_database_of_another_version_is_bad(faceline: Faceline, data_dir: Path) -> None:
    open_database(load_settings()).dispose()
    assert findings(faceline)["database"]["verdict"] == "good"
    database = sqlite3.connect(data_dir / "faceline.db")
    database.execute("UPDATE alembic_version SET version_num = '0000'")
    database.commit()
    database.close()

    found = findings(faceline)["database"]

    assert found["verdict"] == "bad"
    assert "faceline init" in found["advice"]


def test_a_gallery_of_another_pack_is_named(faceline: Faceline, data_dir: Path) -> None:
    settings = load_settings()
    engine = open_database(settings)
    tenant = TenantStore(engine, open_vault(settings)).create("shop")
    media = DirectoryStore(data_dir.absolute() / "media")
    gallery = TenantGallery(engine, tenant.id, media, Clock())
    assert "gallery" not in findings(faceline)
    gallery.add("one")
    # Its pack is not on this machine, and is the one that is wanted.
    assert "'edge', which is not on this machine" in findings(faceline)["pack"]["found"]
    pin_pack(engine, registry.choose(settings))

    found = findings(faceline)["gallery"]

    assert (found["verdict"], found["found"]) == (
        "bad", "the gallery of shop has vectors of the pack 'edge'"
    )


def test_another_pack_than_the_deployments_is_bad(
    faceline: Faceline, data_dir: Path, edge_settings: Settings
) -> None:
    engine = open_database(load_settings())
    assert findings(faceline)["deployed pack"]["verdict"] == "note"
    pin_pack(engine, registry.choose(load_settings()))
    assert findings(faceline)["deployed pack"]["verdict"] == "good"
    pin_pack(engine, registry.choose(edge_settings))
    found = findings(faceline)["deployed pack"]
    assert found["verdict"] == "bad"
    assert "faceline models pin NAME" in found["found"]
    engine.dispose()


def test_a_media_store_that_is_away_is_bad(
    faceline: Faceline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("FACELINE_MEDIA_URL", f"file://{tmp_path}/file")

    assert findings(faceline)["media"]["verdict"] == "bad"


def test_a_master_key_that_is_none_is_bad(
    faceline: Faceline, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FACELINE_MASTER_KEY", "short")

    assert findings(faceline)["secrets"]["verdict"] == "bad"


@pytest.mark.parametrize(
    ("networks", "verdict", "words"),
    [
        ("", "good", "from public addresses, ports 80,443"),
        ("10.0.0.0/8", "note", "and from 10.0.0.0/8"),
        ("10.0.0.1/8", "bad", "FACELINE_FETCH_ALLOW_NETWORKS"),
    ],
)
def test_what_is_fetched_from_is_said(
    faceline: Faceline, monkeypatch: pytest.MonkeyPatch, networks: str, verdict: str, words: str
) -> None:
    assert findings(faceline)["fetching"]["found"] == "pictures by URL are refused"
    monkeypatch.setenv("FACELINE_FETCH_URLS", "true")
    monkeypatch.setenv("FACELINE_FETCH_ALLOW_NETWORKS", networks)

    found = findings(faceline)["fetching"]

    assert found["verdict"] == verdict
    assert words in found["found"]


@pytest.mark.parametrize(("other", "verdict"), [("5.0", Verdict.NOTE), ("5.1", Verdict.BAD)])
def test_two_opencvs_are_told(
    monkeypatch: pytest.MonkeyPatch, other: str, verdict: Verdict
) -> None:
    class Found:
        def __init__(self, name: str) -> None:
            self.metadata = {"Name": name}

    monkeypatch.setattr(
        metadata, "distributions",
        lambda: [Found("opencv-python"), Found("opencv-python-headless"), Found("numpy")],
    )
    monkeypatch.setattr(
        metadata, "version", lambda name: "5.0" if name.endswith("headless") else other
    )

    (check,) = check_opencv(Settings())

    assert check.verdict is verdict
    assert check.found == f"opencv-python {other}, opencv-python-headless 5.0"
    assert "opencv-python-headless" in check.advice


def test_a_wrong_setting_is_named_instead_of_a_report(
    faceline: Faceline, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FACELINE_PORT", "http")

    outcome = faceline("doctor")

    assert outcome.code == 2
    assert "FACELINE_PORT" in outcome.err
    assert "Traceback" not in outcome.err
