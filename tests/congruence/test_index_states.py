"""What index processes note of their galleries, on each database."""

from __future__ import annotations

from dataclasses import replace

from sqlalchemy import Engine, event

from pipeline.deployment.processes import Heartbeat, Role
from pipeline.gallery.change_log import ChangeLog
from pipeline.index.local_views import LocalViews
from pipeline.index.states import (
    IndexState,
    StateNotes,
    forget_states,
    read_galleries,
    read_states,
    states_of,
)
from tests.gallery_factory import TenantGallery

STATE = IndexState("codes", number=7, faces=5, size=4096, checked=3, found=2)


def test_only_changes_are_written(engine: Engine) -> None:
    notes = StateNotes(engine, "p" * 32)
    assert notes.note({1: STATE, 2: STATE}) == 2
    written: list[str] = []
    event.listen(
        engine, "before_cursor_execute", lambda *given: written.append(given[2])
    )
    assert notes.note({1: STATE, 2: STATE}) == 0
    assert written == []
    assert notes.note({1: replace(STATE, checked=4)}) == 2
    (found,) = read_states(engine, [1, 2, 3])
    assert (found.tenant_id, found.state.checked) == (1, 4)


def test_processes_that_are_forgotten_leave_nothing(engine: Engine) -> None:
    running = Heartbeat(engine, Role.INDEX)
    running.beat()
    StateNotes(engine, running.id).note({1: STATE})
    StateNotes(engine, "gone").note({1: STATE, 2: STATE})
    assert forget_states(engine) == 2
    assert [each.process_id for each in read_states(engine, [1, 2])] == [running.id]
    running.close()


def test_galleries_with_what_a_process_holds(gallery: TenantGallery) -> None:
    gallery.enrol("two", 2)
    views = LocalViews(ChangeLog(gallery.engine), gallery.media)
    StateNotes(gallery.engine, "p").note(states_of(views))
    assert read_states(gallery.engine, [gallery.tenant]) == []
    view = views.view(gallery.tenant)
    StateNotes(gallery.engine, "p").note(states_of(views))
    (noted,) = read_states(gallery.engine, [gallery.tenant])
    assert (noted.state.engine, noted.state.faces, noted.state.number) == ("flat", 2, 2)
    (found,) = read_galleries(gallery.engine, gallery.tenant - 1, 1)
    assert (found.number, found.snapshot) == (2, None)
    view.snapshot()
    gallery.enrol("third")
    (found,) = read_galleries(gallery.engine, gallery.tenant - 1, 1)
    assert (found.number, found.snapshot, found.snapshot_faces) == (3, 2, 2)
    assert read_galleries(gallery.engine, found.tenant_id, 1) == []
