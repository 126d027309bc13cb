"""A vector engine and its follower are killed while two index processes search: nobody who was
enrolled is missed, and nobody who was deleted is found."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.errors import IndexBehind
from tests.databases import ONE_ENGINE
from tests.gallery_factory import TenantGallery
from tests.processes import start
from tests.servers import PgvectorServer
from tests.vector_engines import EVERYBODY, SmallIndex, engine_tables, held_labels
from tests.waiting import eventually

pytestmark = ONE_ENGINE

ROUNDS = 100
KILL_EVERY = 20
ENGINE_AWAY = range(45, 55)
"""The rounds in which the engine is away: searches are refused, enrolments are not."""


@pytest.fixture
def own_server() -> Iterator[PgvectorServer]:
    with PgvectorServer() as server:
        yield server


@pytest.fixture
def start_follower(
    database_url: str, own_server: PgvectorServer, gallery: TenantGallery, tmp_path: Path
) -> Iterator[Callable[[], subprocess.Popen[bytes]]]:
    started: list[subprocess.Popen[bytes]] = []

    def begin() -> subprocess.Popen[bytes]:
        words = [
            sys.executable, "-m", "tests.faults.follower_victim", database_url, own_server.url,
            str(tmp_path / "media"), str(gallery.tenant),
        ]
        started.append(start(words, cwd=Path(__file__).parents[2]))
        return started[-1]

    yield begin
    for each in started:
        each.kill()
        each.wait()


def test_a_hundred_rounds(
    own_server: PgvectorServer, gallery: TenantGallery,
    start_follower: Callable[[], subprocess.Popen[bytes]],
) -> None:
    searchers = [
        SmallIndex.open(gallery, own_server.url, replace(EVERYBODY, lag=1000)) for _ in range(2)
    ]
    spaces = searchers[0].outside.spaces
    kept = {"first": gallery.label(gallery.add("first"))}
    follower = start_follower()
    eventually(lambda: gallery.tenant in spaces.all_serving(), "the engine serves")
    missed = lingered = 0
    for number in range(ROUNDS):
        if number == ENGINE_AWAY.start:
            own_server.kill()
        elif number == ENGINE_AWAY.stop:
            own_server.start()
        elif number % KILL_EVERY == KILL_EVERY // 2:
            follower.kill()
            follower.wait()
            follower = start_follower()
        if number in ENGINE_AWAY:
            kept[f"new-{number}"] = enrol_unseen(gallery, searchers, f"new-{number}")
            continue
        face = gallery.add(f"new-{number}")
        label = gallery.label(face)
        missed += sum(each.labels(gallery, f"new-{number}", k=1) != [label] for each in searchers)
        gallery.faces.delete(gallery.tenant, face.id)
        lingered += sum(label in each.labels(gallery, f"new-{number}", k=50) for each in searchers)
    assert (missed, lingered) == (0, 0)
    for each in searchers:
        assert {name: each.labels(gallery, name, k=1) for name in kept} == {
            name: [label] for name, label in kept.items()
        }

    def caught_up() -> bool:
        space = spaces.serving(gallery.tenant)
        return space is not None and held_labels(own_server.url, space) == [*kept.values()]

    eventually(caught_up, "the last follower has taken over and applied everything")
    assert len(engine_tables(own_server.url)) == 1
    for each in searchers:
        each.close()


def enrol_unseen(gallery: TenantGallery, searchers: list[SmallIndex], name: str) -> int:
    """Enrol while the engine is away: every search is refused, and may be repeated."""
    label = gallery.label(gallery.add(name))
    for each in searchers:
        with pytest.raises(IndexBehind) as refused:
            each.search(gallery, name)
        assert refused.value.retryable
    return label
