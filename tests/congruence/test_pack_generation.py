"""Two vectors of each face: filling, exchanging, and what happens to faces meanwhile."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, cast

import numpy as np
import pytest
from sqlalchemy import select

from pipeline.analysis.engine import AnalysisResources
from pipeline.database.engine import change_rows, read_rows, reading
from pipeline.database.schema import faces, other_vectors, receipts, vectors
from pipeline.encryption.data_key import NoKeys
from pipeline.errors import UpgradeNotReady
from pipeline.gallery import other_vectors as other_vectors_module
from pipeline.gallery.other_vectors import (
    drop_other_vectors,
    fill_state,
    switch_gallery,
    try_unfit_again,
)
from pipeline.gallery.records import FaceRecord
from pipeline.index.options import ViewOptions
from pipeline.index.tenant_view import TenantView
from pipeline.index.vector_spaces import SpaceState, SpaceStore
from pipeline.pack_change import generation
from pipeline.pack_change.embed_again import EmbeddedAgain, StoredFace
from pipeline.pack_change.generation import GenerationFill
from pipeline.types import Embedding, VectorModel
from tests.gallery_factory import MODEL, TenantGallery, vector_of
from tests.job_factory import add_tenant

NEW = VectorModel("new", "b" * 64, 6)

Fill = Callable[..., int]


def vector_by(model: VectorModel, person_id: str) -> Embedding:
    return vector_of((model.pack, person_id), model.dimension)


@pytest.fixture
def fill(gallery: TenantGallery, monkeypatch: pytest.MonkeyPatch) -> Fill:
    """Fills with invented vectors; ``unfit`` faces have none."""

    def run(
        model: VectorModel = NEW, unfit: Sequence[int] = (),
        meanwhile: Callable[[], object] = lambda: None,
    ) -> int:
        def embedded(stored: Sequence[StoredFace], *_: Any) -> list[EmbeddedAgain]:
            meanwhile()
            return [
                EmbeddedAgain(face, None, missing="no_face") if face.id in unfit
                else EmbeddedAgain(face, vector_by(model, face.person_id), "picture")
                for face in stored
            ]

        monkeypatch.setattr(generation, "embed_again", embedded)
        resources = cast(AnalysisResources, None)
        return GenerationFill(
            gallery.engine, NoKeys(), gallery.media, resources, model
        ).fill(gallery.tenant)

    return run


def served(gallery: TenantGallery) -> dict[int, tuple[int, str, bytes]]:
    """Label, model and vector of each face that can be found."""
    rows = read_rows(gallery.engine, select(vectors).where(vectors.c.tenant_id == gallery.tenant))
    return {row.face_id: (row.label, row.model_sha256, bytes(row.vector)) for row in rows}


def others(gallery: TenantGallery) -> dict[int, bytes | None]:
    rows = read_rows(gallery.engine, select(other_vectors))
    return {row.face_id: row.vector and bytes(row.vector) for row in rows}


def test_a_switch_and_back_is_what_it_was(gallery: TenantGallery, fill: Fill) -> None:
    made = [gallery.add(word) for word in ("ann", "bob", "cid")]
    before = served(gallery)
    assert fill_state(gallery.engine, gallery.tenant, NEW.sha256).pending == 3
    assert fill() == 3
    assert fill() == 0
    assert served(gallery) == before

    assert switch_gallery(gallery.engine, gallery.tenant, NEW.sha256) == 0

    now = served(gallery)
    for face in made:
        assert now[face.id] == (
            before[face.id][0], NEW.sha256, vector_by(NEW, face.person_id).tobytes()
        )
    assert others(gallery) == {face: row[2] for face, row in before.items()}
    dan = gallery.add("dan", model=NEW)
    with pytest.raises(UpgradeNotReady):
        switch_gallery(gallery.engine, gallery.tenant, MODEL.sha256)
    assert fill(MODEL) == 1
    switch_gallery(gallery.engine, gallery.tenant, MODEL.sha256)
    back = served(gallery)
    assert {face.id: back[face.id] for face in made} == before
    assert back[dan.id][1:] == (MODEL.sha256, vector_by(MODEL, dan.person_id).tobytes())


def test_pages_are_filled_until_none_is_left(
    gallery: TenantGallery, fill: Fill, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(other_vectors_module, "PAGE_FACES", 2)
    for number in range(5):
        gallery.add(f"face{number}")
    assert fill() == 5
    state = fill_state(gallery.engine, gallery.tenant, NEW.sha256)
    assert (state.faces, state.filled, state.unfit, state.pending) == (5, 5, 0, 0)


def test_a_deleted_face_is_in_no_generation(gallery: TenantGallery, fill: Fill) -> None:
    kept, gone = gallery.add("ann"), gallery.add("bob")
    fill()

    gallery.faces.delete_token(gallery.tenant, gone.face_token)

    assert list(served(gallery)) == list(others(gallery)) == [kept.id]
    (row,) = read_rows(gallery.engine, select(receipts.c.counts))
    assert (row.counts["vectors"], row.counts["other_vectors"]) == (1, 1)


def test_faces_that_change_while_they_are_embedded(gallery: TenantGallery, fill: Fill) -> None:
    gone, moved, kept = (gallery.add(word) for word in ("ann", "bob", "cid"))
    once: list[FaceRecord] = [moved]

    def meanwhile() -> None:
        for face in once:
            gallery.faces.delete_token(gallery.tenant, gone.face_token)
            gallery.replace(face, "bob-now")
        once.clear()

    fill(meanwhile=meanwhile)

    state = fill_state(gallery.engine, gallery.tenant, NEW.sha256)
    assert (state.faces, state.pending) == (2, 0)
    assert set(others(gallery)) == {moved.id, kept.id}
    rows = read_rows(gallery.engine, select(other_vectors.c.face_id, other_vectors.c.label))
    assert {row.face_id: row.label for row in rows} == {
        face: row[0] for face, row in served(gallery).items()
    }


def test_another_picture_takes_the_other_vector_away(gallery: TenantGallery, fill: Fill) -> None:
    face = gallery.add("ann")
    fill()
    gallery.replace(face, "ann-now")
    assert others(gallery) == {}
    with pytest.raises(UpgradeNotReady):
        switch_gallery(gallery.engine, gallery.tenant, NEW.sha256)


def test_faces_that_cannot_be_embedded_block_the_switch(
    gallery: TenantGallery, fill: Fill
) -> None:
    fit, unfit = gallery.add("ann"), gallery.add("bob")
    before = served(gallery)
    fill(unfit=[unfit.id])
    without = select(other_vectors.c.face_id, other_vectors.c.error_code).where(
        other_vectors.c.vector.is_(None)
    )
    (told,) = read_rows(gallery.engine, without)
    assert tuple(told) == (unfit.id, "no_face")

    with pytest.raises(UpgradeNotReady, match="1 faces cannot be"):
        switch_gallery(gallery.engine, gallery.tenant, NEW.sha256)
    assert served(gallery) == before

    assert switch_gallery(gallery.engine, gallery.tenant, NEW.sha256, leave_out=True) == 1
    assert list(served(gallery)) == [fit.id]
    assert gallery.count() == 2
    switch_gallery(gallery.engine, gallery.tenant, MODEL.sha256)
    assert served(gallery) == before
    assert try_unfit_again(gallery.engine, gallery.tenant, NEW.sha256) == 1
    assert fill() == 1


def test_the_index_follows_a_switch(gallery: TenantGallery, fill: Fill) -> None:
    made = [gallery.add(word) for word in ("ann", "bob", "cid")]
    view = TenantView(gallery.tenant, gallery.log, gallery.media, ViewOptions())
    view.open()
    fill()
    assert view.catch_up() == 3
    for model in (NEW, MODEL):
        switch_gallery(gallery.engine, gallery.tenant, model.sha256)
        seen = gallery.log.latest(gallery.tenant)
        for face in made:
            vector = np.frombuffer(served(gallery)[face.id][2], "<f4")
            ((hit,),) = view.search(vector[None, :], 1, at_least=seen)
            assert hit.label == served(gallery)[face.id][0]
            assert hit.cosine == pytest.approx(1.0, abs=1e-5)
    assert not view.verify()


def test_other_tenants_are_left_alone(gallery: TenantGallery, fill: Fill) -> None:
    other = gallery.other(add_tenant(gallery.engine, "other"))
    theirs = other.add("eve")
    gallery.add("ann")
    before = served(other)
    fill()
    switch_gallery(gallery.engine, gallery.tenant, NEW.sha256)
    assert served(other) == before
    assert theirs.id not in others(gallery)


def test_dropping_leaves_what_serves(gallery: TenantGallery, fill: Fill) -> None:
    gallery.add("ann")
    fill()
    switch_gallery(gallery.engine, gallery.tenant, NEW.sha256)
    now = served(gallery)
    assert drop_other_vectors(gallery.engine) == 1
    assert others(gallery) == {}
    assert served(gallery) == now


def test_a_deleted_tenant_leaves_none(gallery: TenantGallery, fill: Fill) -> None:
    gallery.add("ann")
    fill()
    change_rows(gallery.engine, faces.delete().where(faces.c.tenant_id == gallery.tenant))
    with reading(gallery.engine) as connection:
        assert connection.execute(select(other_vectors)).all() == []


def test_a_vector_engine_serves_a_switched_gallery_no_longer(
    gallery: TenantGallery, fill: Fill
) -> None:
    gallery.add("ann")
    spaces = SpaceStore(gallery.engine)
    spaces.open(gallery.tenant, MODEL, 1, "holder")
    fill()
    switch_gallery(gallery.engine, gallery.tenant, NEW.sha256)
    assert [row.state for row in spaces.rows()] == [SpaceState.LEAVING]
