"""The beginning and the end of an upgrade of the deployment's pack, and which pack it serves."""

from __future__ import annotations

from sqlalchemy import Engine, delete, insert, select, update
from sqlalchemy.exc import IntegrityError

from pipeline.database.clock import database_time
from pipeline.database.engine import change_rows, writing
from pipeline.database.schema import deployment, pack_upgrade
from pipeline.deployment.pack import PackUpgrade, current_upgrade, pack_row
from pipeline.errors import InvalidParameter, PackUpgradeInCourse
from pipeline.sessions.base import PackInfo


def begin_upgrade(engine: Engine, info: PackInfo) -> PackUpgrade:
    """Begin the upgrade to ``info``, or find it begun. Raises ``PackUpgradeInCourse`` for that to
    another pack, ``InvalidParameter`` when there is nothing to upgrade, ``DatabaseUnavailable``.
    """
    if current_upgrade(engine) is None:
        _begin(engine, info)
    upgrade = current_upgrade(engine)
    if upgrade is None or info.digest not in upgrade.digests:
        raise PackUpgradeInCourse
    return upgrade


def _begin(engine: Engine, info: PackInfo) -> None:
    now = database_time(engine)
    try:
        with writing(engine, durable=True) as connection:
            served = connection.execute(select(deployment)).one_or_none()
            if served is None:
                raise InvalidParameter("the deployment has no pack yet: nothing is to be upgraded")
            if served.pack_digest == info.digest:
                raise InvalidParameter(f"{info.name!r} is the deployment's pack already")
            fresh = pack_row(info, now)
            connection.execute(insert(pack_upgrade), {
                "id": 1, "former_pack": served.pack, "former_digest": served.pack_digest,
                "former_models": served.models, "pack": fresh["pack"],
                "pack_digest": fresh["pack_digest"], "models": fresh["models"], "started_at": now,
            })
    except IntegrityError:
        pass  # another command was quicker


def serve_pack(engine: Engine, digest: str) -> None:
    """Make one of the two packs of the upgrade the deployment's. Raises
    ``DatabaseUnavailable``."""
    now = database_time(engine)
    with writing(engine, durable=True) as connection:
        row = connection.execute(select(pack_upgrade)).one()
        name, models = (
            (row.pack, row.models) if digest == row.pack_digest
            else (row.former_pack, row.former_models)
        )
        connection.execute(update(deployment).values(
            pack=name, pack_digest=digest, models=models, pinned_at=now
        ))


def end_upgrade(engine: Engine) -> None:
    """End the upgrade: from now on the deployment has one pack. Raises
    ``DatabaseUnavailable``."""
    change_rows(engine, delete(pack_upgrade))
