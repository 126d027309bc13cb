"""The pack of the deployment, which stands in the database.

It is recorded when the first worker starts, by ``faceline init``, or by ``faceline models pin``.
From then on no process with other models does any work: embeddings, boxes and scores of two packs
do not fit together.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from sqlalchemy import Engine, delete, insert, select
from sqlalchemy.exc import IntegrityError

from pipeline.config.settings import Settings
from pipeline.database.clock import database_time
from pipeline.database.engine import read_row, read_rows, writing
from pipeline.database.schema import deployment, pack_upgrade, tenants, vectors
from pipeline.errors import ConfigurationError, PackMissing, PackUpgradeInCourse, WrongPack
from pipeline.gallery.change_log import ChangeLog
from pipeline.sessions import registry
from pipeline.sessions.base import SHOWN_DIGITS, ModelTask, PackInfo

_THE_ROW = 1

_PINNED = select(
    deployment.c.pack, deployment.c.pack_digest, deployment.c.pinned_at, deployment.c.models
).where(deployment.c.id == _THE_ROW)

_LAST_VECTOR = select(vectors.c.pack, vectors.c.model_sha256).order_by(
    vectors.c.label.desc()
).limit(1)


@dataclass(frozen=True, slots=True)
class PinnedPack:
    """The deployment's pack: its name, the digest of its models, and since when (epoch seconds).
    ``recognition_model`` is the SHA-256 of its recognition model, empty where it is not known."""

    name: str
    digest: str
    pinned_at: float
    recognition_model: str = ""

    def __str__(self) -> str:
        return f"{self.name!r} ({self.digest[:SHOWN_DIGITS]})"


@dataclass(frozen=True, slots=True)
class PackUpgrade:
    """The upgrade of the pack in course: while it lasts galleries may be made with either pack,
    and processes that hold both serve both. ``started_at`` is in epoch seconds."""

    former: PinnedPack
    next: PinnedPack
    started_at: float

    @property
    def digests(self) -> tuple[str, str]:
        return self.former.digest, self.next.digest

    def other(self, recognition_model: str) -> PinnedPack:
        """The pack that is not the one with this recognition model."""
        return self.next if self.former.recognition_model == recognition_model else self.former


def current_upgrade(engine: Engine) -> PackUpgrade | None:
    """The upgrade in course, None without one. Raises ``DatabaseUnavailable``."""
    row = read_row(engine, select(pack_upgrade))
    if row is None:
        return None
    at = row.started_at
    return PackUpgrade(
        PinnedPack(row.former_pack, row.former_digest, at, _recognition(row.former_models)),
        PinnedPack(row.pack, row.pack_digest, at, _recognition(row.models)), at,
    )


def _recognition(models: list[dict[str, str]] | None) -> str:
    found = (each["sha256"] for each in models or () if each["task"] == ModelTask.RECOGNITION)
    return next(found, "")


def pinned_pack(engine: Engine) -> PinnedPack | None:
    """The deployment's pack; None before it is known. Raises ``DatabaseUnavailable``."""
    row = read_row(engine, _PINNED)
    if row is None:
        return None
    return PinnedPack(row.pack, row.pack_digest, row.pinned_at, _recognition(row.models))


def pin_pack(engine: Engine, info: PackInfo) -> None:
    """Make ``info`` the deployment's pack, whatever it was before. Raises
    ``PackUpgradeInCourse``, ``DatabaseUnavailable``."""
    now = database_time(engine)
    if current_upgrade(engine) is not None:
        raise PackUpgradeInCourse
    with writing(engine, durable=True) as connection:
        connection.execute(delete(deployment))
        connection.execute(insert(deployment), pack_row(info, now))


def choose_pack(settings: Settings, engine: Engine, *, alone: bool = False) -> PackInfo:
    """The pack that a process with these settings uses: the deployment's.

    ``auto`` is the deployment's pack; before that is known, the one that made the enrolled faces;
    without any, the best one found, if this machine is ``alone`` or has the database in a file.
    Raises ``WrongPack`` when the settings name another pack than the deployment's,
    ``PackMissing`` and ``PackDamaged`` when it is not here, ``ConfigurationError`` for ``auto``
    where each machine would choose, ``DatabaseUnavailable``.
    """
    pinned = pinned_pack(engine)
    if settings.pack != registry.AUTO:
        info = registry.choose(settings)
        require_pinned(info, pinned, current_upgrade(engine))
        return info
    if pinned is not None:
        return find_pack(settings, pinned)
    last = read_row(engine, _LAST_VECTOR)
    if last is not None:
        return _that_made(settings, last.pack, last.model_sha256)
    if not alone and engine.dialect.name != "sqlite":
        raise ConfigurationError(
            "FACELINE_PACK is not set, and the deployment has no pack yet: each machine would "
            "take the best one that it has. Name one for all processes, such as "
            "FACELINE_PACK=dlib, or run `faceline models pin NAME` once"
        )
    return registry.choose(settings)


def agree_on_pack(settings: Settings, engine: Engine, *, alone: bool = False) -> PackInfo:
    """As ``choose_pack``; where the deployment has no pack yet, this becomes it."""
    info = choose_pack(settings, engine, alone=alone)
    confirm_pack(info, engine)
    return info


def confirm_pack(info: PackInfo, engine: Engine) -> None:
    """Make sure that ``info`` is the deployment's pack, which it becomes if there is none. Raises
    ``WrongPack``, ``DatabaseUnavailable``."""
    pinned = pinned_pack(engine)
    if pinned is None:
        try:
            now = database_time(engine)
            with writing(engine, durable=True) as connection:
                connection.execute(insert(deployment), pack_row(info, now))
        except IntegrityError:
            pinned = pinned_pack(engine)  # another process was quicker
    require_pinned(info, pinned, current_upgrade(engine))


def require_pinned(
    info: PackInfo, pinned: PinnedPack | None, upgrade: PackUpgrade | None
) -> None:
    """Raises ``WrongPack`` when ``info`` is neither the deployment's pack nor one of the two of
    its upgrade."""
    if upgrade is not None and info.digest in upgrade.digests:
        return
    if pinned is not None and info.digest != pinned.digest:
        raise WrongPack(
            f"The deployment's pack is {pinned}, and this process has {info.name!r} "
            f"({info.digest[:SHOWN_DIGITS]}, in {info.path}). Give this machine the models of "
            f"{pinned.name!r} and set FACELINE_PACK={pinned.name}; or, to change the pack of the "
            f"whole deployment, run `faceline models pin {info.name}` and restart its workers"
        )


def foreign_galleries(engine: Engine, info: PackInfo) -> dict[str, str]:
    """The galleries that ``info`` can neither search nor add to: the names of their packs by
    tenant. Raises ``DatabaseUnavailable``."""
    rows = read_rows(engine, select(tenants.c.id, tenants.c.name))
    models = {row.name: ChangeLog(engine).vector_model(row.id) for row in rows}
    upgrade = current_upgrade(engine)
    known = {info.recognition_model} if upgrade is None else {
        upgrade.former.recognition_model, upgrade.next.recognition_model
    }
    return {
        name: model.pack for name, model in models.items()
        if model is not None and model.sha256 not in known
    }


def pack_row(info: PackInfo, now: float) -> dict[str, object]:
    """The row of ``deployment`` that names a pack."""
    models = [
        {"task": file.task.value, "file": file.name, "sha256": file.sha256} for file in info.files
    ]
    return {
        "id": _THE_ROW, "pack": info.name, "pack_digest": info.digest, "models": models,
        "pinned_at": now,
    }


def find_pack(settings: Settings, pinned: PinnedPack) -> PackInfo:
    """The deployment's pack on this machine. Raises ``PackMissing``."""
    return _find(
        settings, lambda info: info.digest == pinned.digest, f"The deployment's pack is {pinned}",
        "changes the pack of the whole deployment",
    )


def _that_made(settings: Settings, name: str, model_sha256: str) -> PackInfo:
    return _find(
        settings, lambda info: info.recognition_model == model_sha256,
        f"The enrolled faces were made with the pack {name!r}",
        "chooses another pack, for which they must be enrolled anew",
    )


def _find(
    settings: Settings, fits: Callable[[PackInfo], bool], wanted: str, otherwise: str
) -> PackInfo:
    """The pack of this machine that ``fits``. Raises ``PackMissing``, which says what is
    ``wanted`` and what `models pin` does ``otherwise``."""
    found = registry.available(settings)
    for info in found:
        if fits(info):
            return info
    places = ", ".join(str(place) for place in registry.search_paths(settings))
    raise PackMissing(
        f"{wanted}, which is not on this machine: {places} and the Python packages have "
        f"{', '.join(info.name for info in found) or 'none'}. Copy its models to this machine, or "
        f"point FACELINE_MODELS at them; `faceline models pin NAME` {otherwise}"
    )
