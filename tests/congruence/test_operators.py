"""Accounts of operators and the audit log, while several change them at once."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest
from sqlalchemy import Engine

from pipeline.errors import FaceError, IdentityRefused, LastAdministrator
from pipeline.operators import audit
from pipeline.operators.audit import AuditFilter, AuditLog
from pipeline.operators.external import ExternalAccounts, Identity
from pipeline.operators.model import Operator, OperatorRole
from pipeline.operators.store import OperatorStore
from tests.job_factory import Clock

ISSUER = "https://id.example"
ROUNDS = 10


def at_once(*works: Callable[[], Operator]) -> list[Operator | FaceError]:
    """What each gives or raises, begun in the same moment."""
    together = threading.Barrier(len(works))
    ended: list[Operator | FaceError] = []

    def run(work: Callable[[], Operator]) -> None:
        together.wait()
        try:
            ended.append(work())
        except FaceError as error:
            ended.append(error)

    threads = [threading.Thread(target=run, args=(work,)) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(ended) == len(works)
    return ended


@pytest.mark.parametrize("change", [
    {"disabled": True}, {"role": OperatorRole.VIEWER},
], ids=["disabling", "demoting"])
def test_two_administrators_who_shut_each_other_out(
    engine: Engine, change: dict[str, bool | OperatorRole]
) -> None:
    """One of them stays, whoever is first."""
    store = OperatorStore(engine)
    for name in ("ann", "bob"):
        store.create(name, OperatorRole.ADMINISTRATOR, sees_faces=False)
    for _ in range(ROUNDS):
        for name in ("ann", "bob"):
            store.change(name, role=OperatorRole.ADMINISTRATOR, disabled=False)
        ended = at_once(
            lambda: store.change("ann", **change),  # type: ignore[arg-type]
            lambda: store.change("bob", **change),  # type: ignore[arg-type]
        )
        assert [type(each) for each in ended if isinstance(each, FaceError)] == [LastAdministrator]
        left = [
            each for each in store.all()
            if each.role is OperatorRole.ADMINISTRATOR and each.disabled_at is None
        ]
        assert len(left) == 1


def test_without_an_administrator_others_can_be_changed(engine: Engine) -> None:
    """As where accounts came from an identity provider only."""
    store = OperatorStore(engine)
    store.create("ann", OperatorRole.VIEWER, sees_faces=False)
    assert store.change("ann", role=OperatorRole.OPERATOR).role is OperatorRole.OPERATOR


def test_a_person_who_signs_in_twice_at_once_has_one_account(engine: Engine) -> None:
    store = OperatorStore(engine)
    external = ExternalAccounts(engine, store, ISSUER)
    for round_ in range(ROUNDS):
        person = Identity(ISSUER, f"subject {round_}", f"ann {round_}")
        ended = at_once(*[lambda: external.admit(person, creates=True)] * 2)  # noqa: B023
        assert ended[0] == ended[1]
        assert isinstance(ended[0], Operator)
    assert len(store.all()) == ROUNDS


def test_two_people_of_one_name(engine: Engine) -> None:
    """The account that awaits a name, and the name of a new one, go to one of them."""
    store = OperatorStore(engine)
    external = ExternalAccounts(engine, store, ISSUER)
    for round_ in range(ROUNDS):
        name, awaited = f"ann {round_}", round_ % 2 == 0
        if awaited:
            external.create(name, OperatorRole.OPERATOR, sees_faces=False)
        people = [Identity(ISSUER, f"{name} {each}", name) for each in range(2)]
        ended = at_once(
            lambda: external.admit(people[0], creates=True),  # noqa: B023
            lambda: external.admit(people[1], creates=True),  # noqa: B023
        )
        assert sorted(type(each).__name__ for each in ended) == ["IdentityRefused", "Operator"]
        (admitted,) = [each for each in ended if isinstance(each, Operator)]
        found = [external.find(person) for person in people]
        assert [each for each in found if each] == [admitted]
    for issuer in ("https://other.example", ISSUER):
        with pytest.raises(IdentityRefused):
            external.admit(Identity(issuer, "another", "ann 0"), creates=True)


def test_old_entries_of_the_audit_log_go(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit, "PAGE_ROWS", 3)
    clock = Clock(1_000.0)
    log = AuditLog(engine, clock)
    for _ in range(7):
        log.end(log.begin("ann", "face.show"))
    clock.now += 100.0
    kept = [log.begin("bob", "session.open") for _ in range(4)]
    assert log.purge(kept_s=100.0) == 0  # of just that age
    assert log.purge(kept_s=99.0) == 7
    assert [each.seq for each in log.export()] == kept
    assert log.page(AuditFilter(operator="ann")) == []
    assert log.begin("bob", "session.open") > kept[-1]
    clock.now += 100.0
    assert log.purge(kept_s=50.0) == 5
    assert log.page() == []
