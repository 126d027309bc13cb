"""What a score means: the tables of the pack and of an application's gallery, and the score to ask
for in a search."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import msgspec

from api_shim.admin.operation import Actor, AdminOperation, AdminServices
from pipeline.calibration.advice import advise
from pipeline.calibration.table import Calibration, load_own_tables, load_table
from pipeline.deployment.pack import PinnedPack
from pipeline.operators.model import OperatorRole

SCORES = (40, 50, 60, 70, 80, 85, 90, 95, 97, 99)
"""The scores whose cosines are told."""


class CalibrationQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Whose table, and for which search a score is wanted: among ``faces`` (without them the
    application's), where the share ``strangers`` of unknown people may be hit."""

    application: Annotated[str, msgspec.Meta(max_length=128)] = ""
    faces: Annotated[int, msgspec.Meta(ge=1, le=10**9)] | None = None
    strangers: Annotated[float, msgspec.Meta(ge=1e-6, le=0.5)] = 0.01


class CalibrationPoint(msgspec.Struct, frozen=True):
    """The false-match rate of one comparison at a cosine, and the score (0 to 100) that both
    have."""

    score: int
    cosine: float
    fmr: float


class ShownTable(msgspec.Struct, frozen=True):
    """A calibration table. ``knots`` are (cosine, log10 of the false-match rate); below the rate
    ``measured_to`` they follow a model of the tail."""

    knots: list[tuple[float, float]]
    points: list[CalibrationPoint]
    people: int
    faces: int
    impostor_pairs: int
    measured_to: float
    true_match_rate: float
    origin: str


class AdvisedScore(msgspec.Struct, frozen=True):
    """The score to ask for in a search among ``faces``, of one group or, with an empty
    ``group``, of all: ``fmr`` is the rate that one comparison may have, ``expected`` the share of
    strangers that reach the score, ``group_score`` the one that the group has now."""

    group: str
    faces: int
    strangers: float
    fmr: float
    cosine: float
    score: int
    expected: float
    group_score: float | None


class CalibrationState(msgspec.Struct, frozen=True):
    """The deployment's pack, its table, the application's own (both as this machine has them), and
    what they advise. Empty and null where there is none."""

    pack: str
    table: ShownTable | None
    own_table: ShownTable | None
    advice: list[AdvisedScore]


@dataclass(frozen=True, slots=True)
class _Tables:
    """The tables that this machine has for the deployment's pack."""

    deployed: Calibration | None = None
    own: Calibration | None = None

    @property
    def served(self) -> Calibration | None:
        return self.own or self.deployed


def show(services: AdminServices, _actor: Actor, given: CalibrationQuery) -> CalibrationState:
    """Raises ``NotFound``, ``ConfigurationError`` for an unreadable table."""
    tenant = services.tenant(given.application) if given.application else None
    pinned = services.service.pinned_pack()
    tables = _Tables() if pinned is None else _load(services, pinned, tenant.id if tenant else None)
    advice: list[AdvisedScore] = []
    records = services.service.records
    if tables.served is not None and (tenant or given.faces):
        faces = given.faces or (records.galleries.count_faces(tenant.id) if tenant else 0)
        advice.append(_advise(tables.served, "", faces, given.strangers, None))
        for group, size in records.collections.all(tenant.id) if tenant else ():
            advice.append(_advise(tables.served, group.key, size, given.strangers, group.score))
    return CalibrationState(
        pinned.name if pinned else "", _shown(tables.deployed), _shown(tables.own), advice
    )


def served_table(services: AdminServices, tenant_id: int) -> Calibration | None:
    """The table that makes a tenant's scores, None without any on this machine. Raises
    ``ConfigurationError`` for an unreadable one."""
    pinned = services.service.pinned_pack()
    return None if pinned is None else _load(services, pinned, tenant_id).served


def _load(services: AdminServices, pinned: PinnedPack, tenant_id: int | None) -> _Tables:
    directory, model = services.service.settings.data_dir, pinned.recognition_model
    own = load_own_tables(pinned.name, directory, model) if tenant_id is not None else {}
    return _Tables(
        load_table(pinned.name, directory, model),
        None if tenant_id is None else own.get(tenant_id),
    )


def _advise(
    served: Calibration, group: str, faces: int, strangers: float, group_score: float | None
) -> AdvisedScore:
    found = advise(faces, strangers, served, None)
    return AdvisedScore(
        group, faces, strangers, found.fmr, served.cosine_of(found.score / 100), found.score,
        found.expected, group_score,
    )


def _shown(table: Calibration | None) -> ShownTable | None:
    if table is None:
        return None
    cosines = [(score, table.cosine_of(score / 100)) for score in SCORES]
    return ShownTable(
        knots=list(table.knots),
        points=[CalibrationPoint(score, cosine, table.fmr(cosine)) for score, cosine in cosines],
        people=table.people, faces=table.faces, impostor_pairs=table.impostor_pairs,
        measured_to=table.measured_to, true_match_rate=table.true_match_rate,
        origin=table.origin,
    )


SHOW = AdminOperation(
    "calibration.show", "GET", "/calibration",
    "What a score means, and which one to ask for in a search.",
    OperatorRole.VIEWER, CalibrationQuery, CalibrationState, show,
)

OPERATIONS = (SHOW,)
