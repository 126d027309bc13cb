"""What the same command brings once its batch is forgotten: everything is there already."""

from __future__ import annotations

from pipeline.batches.model import BatchState
from tests.batch_rig import BatchRig, Listed, words

RETENTION_S = 90 * 24 * 3600.0
NAMES = tuple("abcdefg")


def test_nothing_is_enrolled_twice_after_the_retention(rig: BatchRig) -> None:
    """What is enrolled becomes a duplicate by its hash, without a job or an object; what
    was refused is looked at again, and who was erased is unknown by now."""
    source = Listed([*words(*NAMES), ("text", b"no picture")])
    first = rig.read(source)
    rig.work(unfit=["b"])
    erased = rig.items(first)[NAMES.index("c")].face_id
    assert erased is not None
    rig.shelf.faces.delete(rig.shelf.tenant, erased)
    before = rig.shelf.objects()

    rig.queue.clock.now += RETENTION_S + 1
    assert rig.store.expire(RETENTION_S) == 1
    assert rig.store.find(first.id) is None
    again = rig.read(source)

    assert again.id != first.id
    assert rig.states(again) == {
        **dict.fromkeys("adefg", "duplicate"), "b": "waiting", "c": "waiting",
        "text": "rejected",
    }
    assert sum(len(job.params["items"]) for job in rig.rung) == 2
    assert len(rig.shelf.objects() - before) == 2
    rig.work(unfit=["b"])
    done = rig.see(again)
    assert (done.state, done.duplicate, done.enrolled, done.rejected) == (
        BatchState.DONE, 5, 1, 2,
    )
    listed = rig.shelf.faces.after(rig.shelf.tenant, 0, 100)
    assert sorted(face.name for face in listed) == [
        f"person {name}" for name in sorted(set(NAMES) - {"b"})
    ]
