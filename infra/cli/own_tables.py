"""What the faces of an application's gallery say about scores: a table of its own, and the score
to ask for."""

from __future__ import annotations

from typing import Any

from infra.cli.database import Stores
from pipeline.accounts.model import Tenant
from pipeline.calibration.advice import ScoreAdvice, advise
from pipeline.calibration.fit import CalibrationSource
from pipeline.calibration.own import SAMPLE_FACES, fit_gallery
from pipeline.calibration.table import Calibration, load_own_tables, load_table
from pipeline.duplicates.names import name_numbers
from pipeline.errors import InvalidParameter, PackMismatch, Uncalibrated
from pipeline.gallery.collections import CollectionStore
from pipeline.gallery.galleries import GalleryStore
from pipeline.gallery.sample import sample_faces
from pipeline.sessions.base import PackInfo


def fit_own_table(stores: Stores, tenant: Tenant, info: PackInfo) -> Calibration:
    """A table fitted to at most ``SAMPLE_FACES`` faces of a gallery. Raises ``InvalidParameter``
    for too few people, ``PackMismatch``, ``Uncalibrated``."""
    deployed = deployed_table(stores, info)
    model = GalleryStore(stores.engine, stores.media).stats(tenant.id).model
    if model is None:
        raise InvalidParameter(f"the gallery of {tenant.name} has no faces")
    if model.sha256 != info.recognition_model:
        raise PackMismatch(
            f"The gallery of {tenant.name} was made with the pack {model.pack!r}, and "
            f"{info.name!r} is served."
        )
    sample = sample_faces(stores.engine, stores.keys, tenant.id, model, SAMPLE_FACES)
    source = CalibrationSource(
        info.name, info.recognition_model, info.dimension,
        origin=f"the gallery of {tenant.name}: {len(sample.names)} of {sample.of} faces",
    )
    return fit_gallery(sample.vectors, name_numbers(sample.names), deployed, source)


def advice_rows(
    stores: Stores, tenant: Tenant, info: PackInfo, strangers: float
) -> list[dict[str, Any]]:
    """The advised score of the whole gallery, then of each group. Raises ``Uncalibrated``."""
    own_tables = load_own_tables(info.name, stores.settings.data_dir, info.recognition_model)
    served = own_tables.get(tenant.id) or deployed_table(stores, info)
    try:
        own, note = fit_own_table(stores, tenant, info), ""
    except (InvalidParameter, PackMismatch) as error:
        own, note = None, f"{tenant.name}: by size only, since {error.message}"
    whole = GalleryStore(stores.engine, stores.media).stats(tenant.id).faces
    rows = [_advice_row(tenant, "", None, advise(whole, strangers, served, own), note)]
    for group, size in CollectionStore(stores.engine, stores.media).all(tenant.id):
        advice = advise(size, strangers, served, own)
        rows.append(_advice_row(tenant, group.key, group.score, advice, note))
    return rows


def deployed_table(stores: Stores, info: PackInfo) -> Calibration:
    """The pack's table. Raises ``Uncalibrated``."""
    table = load_table(info.name, stores.settings.data_dir, info.recognition_model)
    if table is None:
        raise Uncalibrated
    return table


def _advice_row(
    tenant: Tenant, group: str, group_score: float | None, advice: ScoreAdvice, note: str
) -> dict[str, Any]:
    by_faces = advice.by_faces
    return {
        "app": tenant.name, "group": group, "faces": advice.faces,
        "strangers": advice.strangers, "fmr": float(f"{advice.fmr:.3g}"),
        "by_size": round(advice.by_size, 1),
        "by_faces": None if by_faces is None else round(by_faces, 1),
        "score": advice.score, "expected": float(f"{advice.expected:.2g}"),
        "group_score": group_score, "note": note,
    }
