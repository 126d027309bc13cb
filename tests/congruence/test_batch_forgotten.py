"""The same command again, once its batch is forgotten: everything is there already."""

from __future__ import annotations

from pipeline.batches.model import BatchState
from tests.batch_harness import BatchHarness, Listed, words

RETENTION_S = 90 * 24 * 3600.0
NAMES = tuple("abcdefg")


def test_nothing_is_enrolled_twice_after_the_retention(harness: BatchHarness) -> None:
    """An enrolled picture becomes a duplicate by its hash, without a job or an object; a
    rejected one is examined again, and an erased person is unknown by now."""
    source = Listed([*words(*NAMES), ("text", b"no picture")])
    first = harness.read(source)
    harness.work(unfit=["b"])
    erased = harness.items(first)[NAMES.index("c")].face_id
    assert erased is not None
    harness.gallery.faces.delete(harness.gallery.tenant, erased)
    before = harness.gallery.objects()

    harness.queue.clock.now += RETENTION_S + 1
    assert harness.store.expire(RETENTION_S) == 1
    assert harness.store.find(first.id) is None
    again = harness.read(source)

    assert again.id != first.id
    assert harness.states(again) == {
        **dict.fromkeys("adefg", "duplicate"), "b": "waiting", "c": "waiting",
        "text": "rejected",
    }
    assert sum(len(job.params["items"]) for job in harness.rung) == 2
    assert len(harness.gallery.objects() - before) == 2
    harness.work(unfit=["b"])
    done = harness.see(again)
    assert (done.state, done.duplicate, done.enrolled, done.rejected) == (
        BatchState.DONE, 5, 1, 2,
    )
    listed = harness.gallery.faces.after(harness.gallery.tenant, 0, 100)
    assert sorted(face.name for face in listed) == [
        f"person {name}" for name in sorted(set(NAMES) - {"b"})
    ]
