"""Vector engines for tests, and index processes in small: views that an engine serves."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from pipeline.gallery.change_log import ChangeLog
from pipeline.index.base import Hit
from pipeline.index.chosen_views import ChosenViews
from pipeline.index.engine_views import EngineOptions, EngineViews
from pipeline.index.local_views import LocalViews
from pipeline.index.options import ViewOptions
from pipeline.index.pgvector import PgvectorEngine
from pipeline.index.vector_engine import Space
from pipeline.index.vector_spaces import SpaceState, SpaceStore
from tests.gallery_factory import TenantGallery, vector_of
from tests.job_factory import Clock
from tests.servers import PgvectorServer

EVERYBODY = EngineOptions(faces=1, lag=20, choose_every_s=0.0, erase_every_s=0.0)
"""Serves every gallery that is not empty, and looks at everything in each round."""


@pytest.fixture(scope="session")
def pgvector_server() -> Iterator[PgvectorServer]:
    """A PostgreSQL with pgvector for the whole run. A test that stops it must start it again."""
    with PgvectorServer() as server:
        yield server


@pytest.fixture
def vector_engine_url(pgvector_server: PgvectorServer) -> Iterator[str]:
    """An empty database with pgvector to be installed."""
    with pgvector_server.database() as url:
        yield url


@dataclass(slots=True)
class SmallIndex:
    """The views of an index process; its follower runs when ``follow`` is called."""

    views: ChosenViews
    tenants: list[int]

    @classmethod
    def open(
        cls, gallery: TenantGallery, url: str, options: EngineOptions = EVERYBODY,
        clock: Clock | None = None,
    ) -> SmallIndex:
        log = ChangeLog(gallery.engine)
        outside = EngineViews(
            log, PgvectorEngine(url), SpaceStore(gallery.engine, clock), secrets.token_hex(16),
            options,
        )
        return cls(
            ChosenViews(LocalViews(log, gallery.media, ViewOptions()), outside), [gallery.tenant]
        )

    @property
    def outside(self) -> EngineViews:
        return self.views.outside

    def follow(self, rounds: int = 1) -> None:
        for _ in range(rounds):
            self.outside.keep(self.tenants)

    def serve(self) -> None:
        """Follow until the engine serves every tenant."""
        for _ in range(100):
            if self.outside.spaces.all_serving() == set(self.tenants):
                return
            self.follow()
        pytest.fail(f"never served: {self.outside.spaces.rows()}")

    def search(
        self, gallery: TenantGallery, picture: str, k: int = 5,
        collections: list[int] | None = None,
    ) -> list[Hit]:
        return self.views.search(gallery.tenant, vector_of(f"{picture}-0"), k, collections, 0)

    def labels(self, gallery: TenantGallery, picture: str, k: int = 5) -> list[int]:
        return [hit.label for hit in self.search(gallery, picture, k)]

    def states(self) -> dict[int, SpaceState]:
        return {row.tenant_id: row.state for row in self.outside.spaces.rows()}

    def close(self) -> None:
        self.outside.engine.close()


def held_labels(url: str, space: Space) -> list[int]:
    """The labels in a space of pgvector, read apart from the service."""
    import psycopg

    with psycopg.connect(url) as connection:
        name = f"faceline_vectors.t{space.tenant_id}_{int(space.generation, 16):x}"
        rows = connection.execute(f"SELECT label FROM {name} ORDER BY label".encode())
        return [row[0] for row in rows]


def engine_tables(url: str) -> list[str]:
    """The tables of spaces in pgvector."""
    import psycopg

    with psycopg.connect(url) as connection:
        rows = connection.execute(
            "SELECT relname FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace"
            " WHERE nspname = 'faceline_vectors' AND relkind = 'r' AND relname <> 'heads'"
        )
        return sorted(row[0] for row in rows)
