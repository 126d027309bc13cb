"""Galleries that a vector engine serves, over both databases: searches see what was committed,
and nothing that is gone, whatever the engine has of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import psycopg
import pytest
from sqlalchemy import Engine, delete, insert, update

from pipeline.database.engine import change_rows, writing
from pipeline.database.schema import changes, data_keys, tenants, vector_spaces
from pipeline.encryption.data_keys import KeyState
from pipeline.errors import IndexBehind
from pipeline.index.engine_views import EngineOptions
from pipeline.index.vector_spaces import LEASE_S, SpaceState
from pipeline.types import VectorModel
from tests.gallery_factory import TenantGallery, vector_of
from tests.job_factory import Clock, add_tenant
from tests.servers import PgvectorServer
from tests.vector_engines import EVERYBODY, SmallIndex, engine_tables, held_labels

OpenIndex = Callable[..., SmallIndex]


@pytest.fixture
def open_index(gallery: TenantGallery, vector_engine_url: str) -> Iterator[OpenIndex]:
    opened: list[SmallIndex] = []

    def open_one(options: EngineOptions = EVERYBODY, clock: Clock | None = None) -> SmallIndex:
        opened.append(SmallIndex.open(gallery, vector_engine_url, options, clock))
        return opened[-1]

    yield open_one
    for each in opened:
        each.close()


@pytest.fixture
def index(open_index: OpenIndex) -> SmallIndex:
    return open_index()


@pytest.fixture
def other(engine: Engine, gallery: TenantGallery) -> TenantGallery:
    return gallery.other(add_tenant(engine, "other"))


def fill(gallery: TenantGallery, count: int) -> list[int]:
    return [
        gallery.label(gallery.add(f"{gallery.tenant}-{number}")) for number in range(count)
    ]


def held(index: SmallIndex, url: str, gallery: TenantGallery) -> list[int]:
    space = index.outside.spaces.serving(gallery.tenant)
    assert space is not None
    return held_labels(url, space)


def test_it_finds_what_a_local_view_finds(
    index: SmallIndex, gallery: TenantGallery, other: TenantGallery, vector_engine_url: str
) -> None:
    """All of it, in the same order and with the same cosines, in collections, too."""
    index.tenants.append(other.tenant)
    gallery.groups.create(gallery.tenant, "staff", "", "staff")
    labels = fill(gallery, 30) + [
        gallery.label(gallery.add(f"staff-{number}", collections=["staff"]))
        for number in range(10)
    ]
    theirs = fill(other, 5)
    group = gallery.groups.get(gallery.tenant, "staff").id
    probes: list[tuple[str, list[int] | None]] = [
        (f"{gallery.tenant}-{number}", None) for number in range(30)
    ]
    probes += [(f"staff-{number}", [group]) for number in range(10)]
    local = [index.search(gallery, probe, 7, inside) for probe, inside in probes]
    index.serve()
    assert held(index, vector_engine_url, gallery) == labels
    assert held(index, vector_engine_url, other) == theirs
    for (probe, inside), expected in zip(probes, local, strict=True):
        found = index.search(gallery, probe, 7, inside)
        assert [hit.label for hit in found] == [hit.label for hit in expected]
        assert [hit.cosine for hit in found] == pytest.approx([hit.cosine for hit in expected])
    assert index.search(gallery, "staff-0", 7, []) == []
    assert set(index.labels(other, f"{gallery.tenant}-1", k=50)) == set(theirs)


def test_changes_that_the_engine_has_not_seen(
    index: SmallIndex, gallery: TenantGallery
) -> None:
    """Its follower comes only now and then; every search sees what was committed before it."""
    fill(gallery, 3)
    index.serve()
    missed = lingered = 0
    for number in range(30):
        face = gallery.add(f"new-{number}")
        label = gallery.label(face)
        missed += index.labels(gallery, f"new-{number}", k=1) != [label]
        gallery.faces.delete(gallery.tenant, face.id)
        lingered += label in index.labels(gallery, f"new-{number}", k=50)
        if number % 7 == 0:
            index.follow()
    assert (missed, lingered) == (0, 0)


def test_a_face_that_changes_its_collections(index: SmallIndex, gallery: TenantGallery) -> None:
    gallery.groups.create(gallery.tenant, "in", "", "in")
    group = gallery.groups.get(gallery.tenant, "in").id
    fill(gallery, 3)
    face = gallery.add("one")
    label = gallery.label(face)
    index.serve()
    for follows in (False, True):
        gallery.groups.bind(gallery.tenant, face.face_token, ["in"])
        if follows:
            index.follow()
        assert [hit.label for hit in index.search(gallery, "one", 5, [group])] == [label]
        gallery.groups.unbind(gallery.tenant, face.face_token, ["in"])
        if follows:
            index.follow()
        assert index.search(gallery, "one", 5, [group]) == []


def test_many_deleted_faces_hide_nobody(index: SmallIndex, gallery: TenantGallery) -> None:
    """More of the nearest are deleted than a search asks for."""
    fill(gallery, 3)
    near = [gallery.add(f"{n}", embedding=vector_of("one-0")) for n in range(15)]
    last = gallery.add("last", embedding=vector_of("one-0"))
    index.serve()
    for face in near:
        gallery.faces.delete(gallery.tenant, face.id)
    assert index.labels(gallery, "one", k=1) == [gallery.label(last)]


def test_a_search_waits_for_an_engine_that_is_too_far_behind(
    index: SmallIndex, gallery: TenantGallery
) -> None:
    fill(gallery, 3)
    index.serve()
    label = gallery.label(gallery.add("one"))
    for number in range(EVERYBODY.lag - 1):
        gallery.add(f"more-{number}")
    assert index.labels(gallery, "one", k=1) == [label]
    gallery.add("two")
    with pytest.raises(IndexBehind, match="21 changes behind") as error:
        index.search(gallery, "one")
    assert error.value.retryable
    index.follow()
    assert index.labels(gallery, "one", k=1) == [label]


def test_an_engine_that_is_away_loses_nothing(
    index: SmallIndex, gallery: TenantGallery, pgvector_server: PgvectorServer,
    vector_engine_url: str,
) -> None:
    fill(gallery, 3)
    gone = gallery.add("gone")
    index.serve()
    pgvector_server.kill()
    try:
        label = gallery.label(gallery.add("one"))
        gallery.faces.delete(gallery.tenant, gone.id)
        with pytest.raises(IndexBehind, match="does not answer"):
            index.search(gallery, "one")
        with pytest.raises(IndexBehind):
            index.follow()
        (row,) = index.outside.spaces.rows()
        assert "does not answer" in str(row.trouble)
    finally:
        pgvector_server.start()
    assert index.labels(gallery, "one", k=1) == [label]
    index.follow()
    (row,) = index.outside.spaces.rows()
    assert (row.trouble, row.number) == (None, gallery.log.latest(gallery.tenant))
    assert held(index, vector_engine_url, gallery) == sorted(gallery.state())


def test_an_engine_that_was_made_anew(
    index: SmallIndex, gallery: TenantGallery, vector_engine_url: str
) -> None:
    """Who was in it is searched in memory until it is in it again."""
    labels = fill(gallery, 5)
    index.serve()
    with psycopg.connect(vector_engine_url) as connection:
        connection.execute("DROP SCHEMA faceline_vectors CASCADE")
    with pytest.raises(IndexBehind):
        index.search(gallery, "one")
    index.follow()
    assert index.states()[gallery.tenant] is SpaceState.LEAVING
    assert set(index.labels(gallery, "one")) == set(labels)
    index.serve()
    assert held(index, vector_engine_url, gallery) == labels


def _forget_log(engine: Engine, tenant: int) -> None:
    with writing(engine) as connection:
        connection.execute(delete(changes).where(changes.c.tenant_id == tenant))


def _go_back(engine: Engine, tenant: int) -> None:
    _forget_log(engine, tenant)
    with writing(engine) as connection:
        connection.execute(
            update(tenants).where(tenants.c.id == tenant).values(log_number=1)
        )


def _lose_rows(engine: Engine, tenant: int) -> None:
    change_rows(engine, delete(vector_spaces))


@pytest.mark.parametrize("happens", [_forget_log, _go_back, _lose_rows])
def test_a_log_that_does_not_go_on_where_the_engine_is(
    index: SmallIndex, gallery: TenantGallery, vector_engine_url: str,
    happens: Callable[[Engine, int], None],
) -> None:
    """The log was truncated, or an older database restored, with the rows or without."""
    fill(gallery, 5)
    index.serve()
    before = engine_tables(vector_engine_url)
    label = gallery.label(gallery.add("one"))
    happens(gallery.engine, gallery.tenant)
    index.follow(2)
    index.serve()
    assert len(engine_tables(vector_engine_url)) == 1
    assert engine_tables(vector_engine_url) != before
    assert index.labels(gallery, "one", k=1) == [label]


def test_a_gallery_of_another_model_is_read_anew(
    index: SmallIndex, gallery: TenantGallery, vector_engine_url: str
) -> None:
    faces = [gallery.add(f"{number}") for number in range(3)]
    index.serve()
    for face in faces:
        gallery.faces.delete(gallery.tenant, face.id)
    label = gallery.label(gallery.add("first", model=VectorModel("dlib", "b" * 64, 16)))
    index.follow()
    assert index.states()[gallery.tenant] is SpaceState.LEAVING
    index.serve()
    assert held(index, vector_engine_url, gallery) == [label]


def test_encrypted_galleries_stay_in_memory(
    open_index: OpenIndex, gallery: TenantGallery, vector_engine_url: str
) -> None:
    """Also one that becomes encrypted later; unless the operator allows it."""
    fill(gallery, 3)
    index = open_index()
    index.serve()
    with writing(gallery.engine) as connection:
        connection.execute(insert(data_keys).values(
            tenant_id=gallery.tenant, wrapped=b"x", state=KeyState.CONVERTING.value,
            created_at=0.0,
        ))
    index.follow(3)
    assert index.states() == {}
    assert engine_tables(vector_engine_url) == []
    assert len(index.search(gallery, "one")) == 3
    allowed = open_index(replace(EVERYBODY, encrypted=True))
    allowed.serve()


def test_size_and_settings_choose(
    open_index: OpenIndex, gallery: TenantGallery, vector_engine_url: str
) -> None:
    """A gallery moves while it is searched: at the limit into the engine, at half of it out."""
    index = open_index(replace(EVERYBODY, faces=8))
    faces = [gallery.add(f"{number}") for number in range(7)]
    index.follow(3)
    assert index.states() == {}
    faces.append(gallery.add("7"))
    index.serve()
    for face in faces[:4]:
        gallery.faces.delete(gallery.tenant, face.id)
    index.follow(2)
    assert index.states() == {gallery.tenant: SpaceState.SERVING}
    gallery.faces.delete(gallery.tenant, faces[4].id)
    index.follow(3)
    assert (index.states(), engine_tables(vector_engine_url)) == ({}, [])
    assert len(index.search(gallery, "7")) == 3


def test_the_engine_is_emptied_by_a_setting(
    open_index: OpenIndex, gallery: TenantGallery, vector_engine_url: str
) -> None:
    fill(gallery, 3)
    index = open_index()
    index.serve()
    index.outside.spaces.give_back(index.outside.holder)
    nobody = open_index(replace(EVERYBODY, faces=0))
    nobody.follow(2)
    assert (nobody.states(), engine_tables(vector_engine_url)) == ({}, [])
    assert len(nobody.search(gallery, "one")) == 3


def test_a_tenant_that_is_gone_leaves_nothing(
    index: SmallIndex, gallery: TenantGallery, other: TenantGallery, vector_engine_url: str
) -> None:
    index.tenants.append(other.tenant)
    fill(gallery, 3)
    fill(other, 3)
    index.serve()
    index.tenants.remove(other.tenant)
    index.follow(2)
    assert index.states() == {gallery.tenant: SpaceState.SERVING}
    assert len(engine_tables(vector_engine_url)) == 1


def test_another_follower_takes_over(
    open_index: OpenIndex, gallery: TenantGallery, clock: Clock, vector_engine_url: str
) -> None:
    """After the lease of one that died, and at once after one that ended."""
    first, second, third = (open_index(clock=clock) for _ in range(3))
    fill(gallery, 3)
    first.serve()
    label = gallery.label(gallery.add("one"))
    second.follow()
    assert second.outside.held == []
    assert second.labels(gallery, "one", k=1) == [label]
    clock.forward(LEASE_S + 1)
    second.follow()
    assert [row.tenant_id for row in second.outside.held] == [gallery.tenant]
    assert label in held(second, vector_engine_url, gallery)
    second.outside.close()
    third.follow()
    assert [row.tenant_id for row in third.outside.held] == [gallery.tenant]


def test_a_follower_that_was_asleep_changes_nothing(
    index: SmallIndex, gallery: TenantGallery, vector_engine_url: str
) -> None:
    """It has read a face that was deleted meanwhile, which another follower has applied."""
    fill(gallery, 3)
    face = gallery.add("one")
    label = gallery.label(face)
    (stale,) = gallery.log.entries(gallery.tenant, [label])
    index.serve()
    space = index.outside.spaces.serving(gallery.tenant)
    assert space is not None
    before = index.outside.engine.heads()[space]
    gallery.faces.delete(gallery.tenant, face.id)
    index.follow()
    with pytest.raises(IndexBehind):
        index.outside.engine.apply(space, before, before + 1, [stale], ())
    assert label not in held(index, vector_engine_url, gallery)


def test_a_gallery_whose_reader_died_is_read_again(
    open_index: OpenIndex, gallery: TenantGallery, clock: Clock, vector_engine_url: str
) -> None:
    labels = fill(gallery, 3)
    dead, index = open_index(clock=clock), open_index(clock=clock)
    dead.outside._choose(dead.tenants)
    (row,) = dead.outside.spaces.take(dead.outside.holder)
    dead.outside.engine.create(row.space, 8, row.number)
    index.follow()
    assert index.states() == {gallery.tenant: SpaceState.FILLING}
    assert set(index.labels(gallery, "one")) == set(labels)  # in memory
    clock.forward(LEASE_S + 1)
    index.follow(2)
    index.serve()
    assert held(index, vector_engine_url, gallery) == labels
    assert len(engine_tables(vector_engine_url)) == 1


def test_a_deleted_vector_leaves_the_files(
    index: SmallIndex, gallery: TenantGallery, vector_engine_url: str
) -> None:
    """Not while somebody may still read it."""
    fill(gallery, 3)
    face = gallery.add("one")
    index.serve()
    index.follow()
    with psycopg.connect(vector_engine_url) as reader:
        reader.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        reader.execute("SELECT 1")
        gallery.faces.delete(gallery.tenant, face.id)
        index.follow(2)
        (row,) = index.outside.spaces.rows()
        latest = gallery.log.latest(gallery.tenant)
        assert (row.number, row.erased) == (latest, latest - 1)
    index.follow()
    (row,) = index.outside.spaces.rows()
    assert row.erased == latest
