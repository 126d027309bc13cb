"""Looking through galleries: the same parts on both databases, each found by its key."""

from __future__ import annotations

from itertools import pairwise

import pytest
from sqlalchemy import Engine

from pipeline.errors import CollectionNotFound, FaceNotFound, InvalidParameter
from pipeline.gallery import browse
from pipeline.gallery.browse import GalleryBrowser, GalleryPart
from tests.gallery_factory import MODEL, TenantGallery
from tests.job_factory import add_tenant
from tests.query_plans import watch
from tests.synthetic_gallery import fill_gallery

NAMES = ["Zoë", "zoe", "Zo", "ZOE", "zebra", "Émile", "émile", "李明", "李", "100%", "a_b", "aXb",
         "", "Zo", "Zo", "O'Neil", "o'neil", "\U0001f600 face", "O\\x"]


@pytest.fixture
def browser(engine: Engine) -> GalleryBrowser:
    return GalleryBrowser(engine)


def named(browser: GalleryBrowser, tenant: int, prefix: str, limit: int) -> list[str]:
    """The names that begin so, read in parts of ``limit``."""
    found: list[str] = []
    key: str | None = ""
    while key is not None:
        part = browser.named(tenant, prefix, after=key, limit=limit)
        found += [each.name for each in part.faces]
        key = part.next
    return found


@pytest.mark.parametrize("limit", [1, 2, 50])
def test_names_that_begin_so(browser: GalleryBrowser, gallery: TenantGallery, limit: int) -> None:
    for number, name in enumerate(NAMES):
        gallery.add(f"p{number}", name=name)
    for prefix, expected in {
        "zo": ["ZOE", "Zo", "Zo", "Zo", "Zoë", "zoe"], "ÉM": ["Émile", "émile"],
        "李": ["李", "李明"], "100%": ["100%"], "a_": ["a_b"], "o'n": ["O'Neil", "o'neil"],
        "O\\": ["O\\x"], "\U0001f600": ["\U0001f600 face"], "nobody": [],
    }.items():
        assert named(browser, gallery.tenant, prefix, limit) == expected, prefix


def test_faces_come_newest_first_and_none_twice(
    browser: GalleryBrowser, gallery: TenantGallery
) -> None:
    gallery.groups.create(gallery.tenant, "odd", "")
    ids = [
        gallery.add(f"p{n}", collections=("odd",) if n % 2 else ()).id for n in range(7)
    ]
    gallery.other(add_tenant(gallery.engine, "other")).add("p")
    for collection, expected in ((None, ids), ("odd", ids[1::2])):
        found: list[int] = []
        key: str | None = ""
        while key is not None:
            part = browser.newest(gallery.tenant, collection=collection, after=key, limit=2)
            found += [each.id for each in part.faces]
            key = part.next
        assert found == expected[::-1]
    assert browser.count(gallery.tenant) == 7
    odd = gallery.groups.get(gallery.tenant, "odd")
    assert browser.count(gallery.tenant, odd.id) == 3
    assert part.collections[found[-1]] == [odd]


def test_what_is_no_key_is_refused(browser: GalleryBrowser, gallery: TenantGallery) -> None:
    for key in ("x", "-1", "1 2", "9" * 30, "²"):
        with pytest.raises(InvalidParameter):
            browser.newest(gallery.tenant, after=key)
    with pytest.raises(InvalidParameter):
        browser.named(gallery.tenant, "a", after="5 \x00")
    with pytest.raises(CollectionNotFound):
        browser.newest(gallery.tenant, collection="nobody")


def test_a_count_ends(
    browser: GalleryBrowser, gallery: TenantGallery, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(browse, "MOST_COUNTED", 2)
    for number in range(5):
        gallery.add(f"p{number}")
    assert browser.count(gallery.tenant) == 3


def test_faces_by_any_of_their_ids(browser: GalleryBrowser, gallery: TenantGallery) -> None:
    one, two = gallery.enrol("both", count=2).faces
    other = gallery.other(add_tenant(gallery.engine, "other"))
    foreign = other.add("both")

    def ids(part: GalleryPart) -> list[int]:
        return [each.id for each in part.faces]

    for text in (str(one.id), one.person_id, one.face_token):
        assert ids(browser.identified(gallery.tenant, text)) == [one.id]
    assert ids(browser.identified(gallery.tenant, one.image_id)) == [one.id, two.id]
    for text in (str(foreign.id), foreign.person_id, "9" * 40, "²", ""):
        assert ids(browser.identified(gallery.tenant, text)) == []


def test_faces_move_together_or_not_at_all(gallery: TenantGallery) -> None:
    for key in ("a", "b"):
        gallery.groups.create(gallery.tenant, key, "")
    one, two = gallery.add("1", collections=("a",)), gallery.add("2")
    foreign = gallery.other(add_tenant(gallery.engine, "other")).add("x")
    with pytest.raises(FaceNotFound):
        gallery.groups.move(gallery.tenant, [one.id, foreign.id], into=["b"], out_of=[])
    with pytest.raises(CollectionNotFound):
        gallery.groups.move(gallery.tenant, [one.id], into=["nobody"], out_of=["a"])
    assert gallery.groups_of(one) == ["a"]
    before = gallery.state()
    moved = gallery.groups.move(gallery.tenant, [one.id, two.id], into=["b"], out_of=["a"])
    assert moved == 2
    assert (gallery.groups_of(one), gallery.groups_of(two)) == (["b"], ["b"])
    assert gallery.groups.move(gallery.tenant, [one.id], into=["b"], out_of=["a"]) == 0
    # An index learns of both, once each.
    changed = [label for label, state in gallery.state().items() if state != before[label]]
    last = gallery.log.latest(gallery.tenant)
    assert len(changed) == 2
    assert gallery.numbers()[-1] == last


def test_many_faces_go_with_one_receipt(gallery: TenantGallery) -> None:
    one, two, three = (gallery.add(each) for each in "123")
    foreign = gallery.other(add_tenant(gallery.engine, "other")).add("x")
    gone = gallery.faces.delete_many(
        gallery.tenant, [one.id, two.id, foreign.id], keep_images=False
    )
    assert gone.faces == 2
    assert gallery.count() == 1
    assert gallery.faces.by_id(gallery.tenant, three.id)
    with pytest.raises(FaceNotFound):
        gallery.faces.delete_many(gallery.tenant, [one.id, foreign.id], keep_images=False)


def test_no_part_reads_a_whole_gallery(sqlite: Engine) -> None:
    """Each statement finds its rows by an index; those of a part come in its order."""
    tenant = add_tenant(sqlite, "many")
    fill_gallery(sqlite, tenant, 3000, MODEL)
    seen, found = watch(sqlite, r"SCAN (?!CONSTANT|\(subquery)")
    _, sorted_ones = watch(sqlite, "TEMP B-TREE FOR ORDER")
    browser = GalleryBrowser(sqlite)
    part = browser.newest(tenant)
    assert part.next is not None
    browser.newest(tenant, after=part.next)
    names = browser.named(tenant, "made up 2")
    assert names.next is not None
    assert browser.named(tenant, "made up 2", after=names.next).faces[0].name > names.faces[-1].name
    assert all(a.name <= b.name for a, b in pairwise(names.faces))
    browser.on_picture(tenant, "i17")
    browser.of_name(tenant, "made up 17", 5)
    # The few collections of the faces of a part are sorted.
    assert not [each for each in sorted_ones if not each.startswith("SELECT collections.id")]
    browser.identified(tenant, "p17")
    assert seen
    assert not found
