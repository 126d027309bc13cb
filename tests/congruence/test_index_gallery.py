"""A view over the real gallery, on both databases: it holds exactly the gallery's faces."""

from __future__ import annotations

import random

import numpy as np
import pytest

from pipeline.gallery.records import FaceRecord
from pipeline.index.engine_choice import Engine, EngineChoice
from pipeline.index.options import ViewOptions
from pipeline.index.tenant_view import TenantView
from pipeline.types import VectorModel
from tests.gallery_factory import TenantGallery, vector_of
from tests.job_factory import add_tenant


def view_of(gallery: TenantGallery, engine: Engine = "flat") -> TenantView:
    options = ViewOptions(
        engine_choice=EngineChoice(engine, short_list=20), snapshot_changes=20, purge_after_s=1e-9,
        canary_every=0,
    )
    view = TenantView(gallery.tenant, gallery.log, gallery.media, options, gallery.clock)
    view.open()
    return view


def nearest(
    view: TenantView, gallery: TenantGallery, crop: str, collections: set[int] | None
) -> int:
    probe = vector_of(crop)[None]
    found = view.search(probe, 1, collections, gallery.log.latest(gallery.tenant))
    return found[0][0].label if found[0] else 0


def test_whoever_enrols_finds(gallery: TenantGallery) -> None:
    replicas = [view_of(gallery), view_of(gallery, "codes")]
    default = gallery.groups.get(gallery.tenant, "default").id
    for turn in range(20):
        face = gallery.add(f"picture {turn}", collections=("default",))
        label = gallery.label(face)
        crop = f"picture {turn}-0"
        assert {nearest(view, gallery, crop, None) for view in replicas} == {label}
        assert {nearest(view, gallery, crop, {default}) for view in replicas} == {label}
        assert {nearest(view, gallery, crop, {default + 999}) for view in replicas} == {0}


def test_a_replaced_picture_is_not_found_any_more(gallery: TenantGallery) -> None:
    view = view_of(gallery)
    face = gallery.add("old")
    gallery.add("somebody else")
    before = nearest(view, gallery, "old-0", None)
    gallery.replace(face, "new")

    after = nearest(view, gallery, "new-0", None)

    assert after == gallery.label(face) != before
    assert nearest(view, gallery, "old-0", None) != before
    assert not view.verify()


@pytest.mark.parametrize("kind", ["flat", "codes"])
def test_views_follow_whatever_happens(gallery: TenantGallery, kind: Engine) -> None:
    draw = random.Random(4)
    view = view_of(gallery, kind)
    live: list[FaceRecord] = []
    for turn in range(60):
        if live and draw.random() < 0.3:
            gallery.faces.delete(gallery.tenant, live.pop(draw.randrange(len(live))).id)
        elif live and draw.random() < 0.2:
            gallery.replace(draw.choice(live), f"replaced {turn}")
        else:
            groups = ("default",) if draw.random() < 0.5 else ()
            live.append(gallery.add(f"picture {turn}", collections=groups))
        if turn % 7 == 0:
            view.maintain()
        if turn % 20 == 0:
            view = view_of(gallery, kind)
    view.catch_up()

    assert not view.verify()
    assert view.labels().tolist() == sorted(gallery.state())
    assert not view_of(gallery, kind).verify()
    assert len(gallery.log.snapshots(gallery.tenant)) > 0


def test_tenants_have_views_of_their_own(gallery: TenantGallery) -> None:
    other = gallery.other(add_tenant(gallery.engine, "other"))
    mine, theirs = gallery.add("mine"), other.add("theirs")
    labels = (gallery.label(mine), other.label(theirs))
    views = view_of(gallery), view_of(other)
    for view in views:
        view.snapshot()

    assert [view.labels().tolist() for view in views] == [[labels[0]], [labels[1]]]
    assert [view_of(each).labels().tolist() for each in (gallery, other)] == [
        [labels[0]], [labels[1]]
    ]


def test_an_emptied_gallery_may_have_another_pack(gallery: TenantGallery) -> None:
    view = view_of(gallery)
    face = gallery.add("old")
    view.catch_up()
    view.snapshot()
    gallery.faces.delete(gallery.tenant, face.id)
    new = VectorModel("other", "b" * 64, 16)
    face = gallery.add("new", model=new)

    found = view.search(vector_of("new-0", 16)[None], 1, None, gallery.log.latest(gallery.tenant))

    assert [hit.label for hit in found[0]] == [gallery.label(face)]
    assert not view_of(gallery).verify()
    np.testing.assert_array_equal(view_of(gallery).labels(), [gallery.label(face)])
