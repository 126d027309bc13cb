"""Real faces, some of them under wrong names: the findings of a search of their batch, and
its false findings."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import Engine

from pipeline.batches.duplicate_search import FindingKind
from pipeline.batches.findings import list_findings
from pipeline.calibration.table import load_table
from pipeline.sessions.base import Pack
from tests.benchmarks.face_like import embed_aligned
from tests.databases import BACKENDS
from tests.duplicates_gallery import Gallery, plant

# Of both databases ``congruence/test_findings.py`` looks at the same statements.
pytestmark = pytest.mark.parametrize("database_url", BACKENDS[:1], indirect=True)

PEOPLE = 40  # with three photos or more each
PLANTED = 5


@pytest.fixture(scope="module")
def few(test_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Some people of the shared photos."""
    folder = tmp_path_factory.mktemp("few")
    many = [each for each in sorted((test_data / "lfw_aligned").iterdir())
            if len(list(each.glob("*.jpg"))) >= 3]
    for person in many[:: len(many) // PEOPLE][:PEOPLE]:
        (folder / person.name).mkdir()
        for photo in sorted(person.glob("*.jpg"))[:4]:
            (folder / person.name / photo.name).symlink_to(photo)
    return folder


def test_wrong_names_are_found_and_right_ones_left_alone(
    engine: Engine, tenant: int, edge_pack: Pack, few: Path
) -> None:
    table = load_table("edge")
    assert table is not None
    photos = embed_aligned(few, edge_pack)
    planted = plant(photos.people.tolist(), PLANTED, seed=6)
    gallery = Gallery(engine, tenant, table)
    batch = gallery.batch()
    gallery.fill(zip(planted.names, photos.vectors, strict=True), batch)
    search, _ = gallery.search(batch)

    assert (search.state, search.faces) == ("done", len(photos.people))
    found = list_findings(engine, batch.id, limit=1000)
    pairs = {
        frozenset({each.face.name, each.other.name})
        for each in found if each.kind is FindingKind.TWO_NAMES and each.other is not None
    }
    odd = {(each.face.item or 0) - 1 for each in found if each.kind is FindingKind.ODD_FACE}
    two = {each.face.name for each in found if each.kind is FindingKind.TWO_PEOPLE}
    assert len(planted.duplicates & pairs) >= PLANTED - 1
    assert len(planted.strays & odd) >= PLANTED - 1
    assert len(planted.merged & two) >= PLANTED - 1
    # A stray is its own person's double, too.
    strange = {frozenset({photos.people[place], planted.names[place]}) for place in planted.strays}
    assert len(pairs - planted.duplicates - strange) <= 1
    assert len(odd - planted.strays) <= 2
    assert len(two - planted.merged) <= 1
