"""A view over the real gallery, on both databases: what it holds is what is there."""

from __future__ import annotations

import random

import numpy as np
import pytest

from pipeline.gallery.records import FaceRecord
from pipeline.index.choice import Choice, Engine
from pipeline.index.options import ViewOptions
from pipeline.index.view import TenantView
from pipeline.types import VectorModel
from tests.gallery_factory import Shelf, vector_of
from tests.job_factory import add_tenant


def view_of(shelf: Shelf, engine: Engine = "flat") -> TenantView:
    options = ViewOptions(
        choice=Choice(engine, short_list=20), snapshot_changes=20, purge_after_s=1e-9,
        canary_every=0,
    )
    view = TenantView(shelf.tenant, shelf.log, shelf.media, options, shelf.clock)
    view.open()
    return view


def nearest(view: TenantView, shelf: Shelf, crop: str, collections: set[int] | None) -> int:
    probe = vector_of(crop)[None]
    found = view.search(probe, 1, collections, shelf.log.latest(shelf.tenant))
    return found[0][0].label if found[0] else 0


def test_whoever_enrols_finds(shelf: Shelf) -> None:
    replicas = [view_of(shelf), view_of(shelf, "codes")]
    default = shelf.groups.get(shelf.tenant, "default").id
    for turn in range(20):
        face = shelf.add(f"picture {turn}", collections=("default",))
        label = shelf.label(face)
        crop = f"picture {turn}-0"
        assert {nearest(view, shelf, crop, None) for view in replicas} == {label}
        assert {nearest(view, shelf, crop, {default}) for view in replicas} == {label}
        assert {nearest(view, shelf, crop, {default + 999}) for view in replicas} == {0}


def test_a_replaced_picture_is_not_found_any_more(shelf: Shelf) -> None:
    view = view_of(shelf)
    face = shelf.add("old")
    shelf.add("somebody else")
    before = nearest(view, shelf, "old-0", None)
    shelf.replace(face, "new")

    after = nearest(view, shelf, "new-0", None)

    assert after == shelf.label(face) != before
    assert nearest(view, shelf, "old-0", None) != before
    assert not view.verify()


@pytest.mark.parametrize("kind", ["flat", "codes"])
def test_views_follow_whatever_happens(shelf: Shelf, kind: Engine) -> None:
    draw = random.Random(4)
    view = view_of(shelf, kind)
    live: list[FaceRecord] = []
    for turn in range(60):
        if live and draw.random() < 0.3:
            shelf.faces.delete(shelf.tenant, live.pop(draw.randrange(len(live))).id)
        elif live and draw.random() < 0.2:
            shelf.replace(draw.choice(live), f"replaced {turn}")
        else:
            groups = ("default",) if draw.random() < 0.5 else ()
            live.append(shelf.add(f"picture {turn}", collections=groups))
        if turn % 7 == 0:
            view.maintain()
        if turn % 20 == 0:
            view = view_of(shelf, kind)
    view.catch_up()

    assert not view.verify()
    assert view.labels().tolist() == sorted(shelf.state())
    assert not view_of(shelf, kind).verify()
    assert len(shelf.log.snapshots(shelf.tenant)) > 0


def test_tenants_have_views_of_their_own(shelf: Shelf) -> None:
    other = shelf.other(add_tenant(shelf.engine, "other"))
    mine, theirs = shelf.add("mine"), other.add("theirs")
    labels = (shelf.label(mine), other.label(theirs))
    views = view_of(shelf), view_of(other)
    for view in views:
        view.snapshot()

    assert [view.labels().tolist() for view in views] == [[labels[0]], [labels[1]]]
    assert [view_of(each).labels().tolist() for each in (shelf, other)] == [
        [labels[0]], [labels[1]]
    ]


def test_an_emptied_gallery_may_have_another_pack(shelf: Shelf) -> None:
    view = view_of(shelf)
    face = shelf.add("old")
    view.catch_up()
    view.snapshot()
    shelf.faces.delete(shelf.tenant, face.id)
    new = VectorModel("other", "b" * 64, 16)
    face = shelf.add("new", model=new)

    found = view.search(vector_of("new-0", 16)[None], 1, None, shelf.log.latest(shelf.tenant))

    assert [hit.label for hit in found[0]] == [shelf.label(face)]
    assert not view_of(shelf).verify()
    np.testing.assert_array_equal(view_of(shelf).labels(), [shelf.label(face)])
