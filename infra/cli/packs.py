"""``faceline packs``: changing the recognition pack of galleries."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from infra.cli.arguments import Json
from infra.cli.console import err, print_json, print_notice, print_table
from infra.cli.database import Stores
from infra.cli.pack_upgrade import upgrade
from infra.cli.progress import count_bar
from infra.cli.reports import check_target, open_report
from pipeline.analysis.tools import open_tools
from pipeline.calibration.table import Calibration, load_own_tables, load_table
from pipeline.config.settings import Settings
from pipeline.duplicates.names import name_numbers
from pipeline.errors import InvalidParameter, Uncalibrated
from pipeline.gallery.galleries import GalleryStore
from pipeline.pack_change.comparison import (
    NOBODY,
    SCORES,
    FaceComparison,
    Nearest,
    PackSide,
    compare_packs,
)
from pipeline.pack_change.embed_again import (
    EmbeddedAgain,
    choose_faces,
    embed_again,
    read_faces,
)
from pipeline.sessions import registry

app = typer.Typer(help="Changing the pack: comparison, upgrade, way back.", no_args_is_help=True)

MOST_FACES = 10_000  # all pairs of them are compared: 1 GB

REPORT_COLUMNS = (
    "person_id", "name", "embedded", "reason", "nearest_before", "score_before", "nearest_after",
    "score_after",
)


app.command("upgrade")(upgrade)


@app.command()
def compare(
    name: Annotated[str, typer.Argument(help="A pack of this machine.")],
    app_name: Annotated[str, typer.Argument(metavar="APP", help="The application's name.")],
    faces: Annotated[
        int, typer.Option(min=2, max=MOST_FACES, help="How many faces are compared at most.")
    ] = 5000,
    score: Annotated[
        list[float] | None,
        typer.Option(min=0, max=100, help="A score to compare at; may be repeated."),
    ] = None,
    report: Annotated[
        Path | None, typer.Option(help="Write a line for each face to this .csv or .jsonl file.")
    ] = None,
    json: Json = False,
) -> None:
    """Compare a pack with the one that made an application's gallery, on the gallery's own faces.

    Embeds stored pictures again with the pack and changes nothing: which faces it cannot embed,
    how often the nearest face is the same person's, scores of one person and of different people,
    and what searches at each score would answer otherwise.
    """
    if report is not None:
        check_target(report)
    stores = Stores()
    tenant = stores.tenants.by_name(app_name)
    model = GalleryStore(stores.engine, stores.media).stats(tenant.id).model
    if model is None:
        raise InvalidParameter(f"the gallery of {tenant.name} has no faces")
    settings = stores.settings.model_copy(update={"pack": name})
    info = registry.choose(settings)
    served = _table(model.pack, model.sha256, tenant.id, settings)
    other = _table(info.name, info.recognition_model, tenant.id, settings)
    ids, count = choose_faces(stores.engine, tenant.id, model, faces)
    stored = list(read_faces(stores.engine, stores.keys, tenant.id, ids))
    opened = open_tools(registry.load(info, settings), settings)
    with opened as resources, count_bar("faces", err) as progress:
        answers = embed_again(stored, stores.media, resources, progress)
    embedded = [each for each in answers if each.vector is not None]
    found = compare_packs(
        PackSide(np.array([each.face.vector for each in embedded], np.float32), served),
        PackSide(np.array([each.vector for each in embedded], np.float32), other),
        name_numbers([each.face.name for each in embedded]),
        [each.face.picture for each in embedded], tuple(score) if score else SCORES,
    ) if embedded else None
    with open_report(report, REPORT_COLUMNS) as write:
        for row in _face_rows(answers, embedded, found, served, other):
            write(row)
    summary = _summary(model.pack, info.name, count, answers)
    if json:
        print_json({**summary, **({} if found is None else asdict(found.report))})
    else:
        _show(summary, found)


def _table(pack: str, model: str, tenant_id: int, settings: Settings) -> Calibration:
    """The table that makes a tenant's scores under a pack. Raises ``Uncalibrated``."""
    own = load_own_tables(pack, settings.data_dir, model).get(tenant_id)
    table = own or load_table(pack, settings.data_dir, model)
    if table is None:
        raise Uncalibrated(
            f"The pack {pack!r} has no calibration table; `faceline calibrate --pack {pack}` makes "
            "one. Without it a score means nothing."
        )
    return table


def _summary(
    before: str, after: str, count: int, answers: Sequence[EmbeddedAgain]
) -> dict[str, Any]:
    sources = Counter(each.source for each in answers if each.vector is not None)
    return {
        "before": before, "after": after, "gallery": count, "drawn": len(answers),
        "from_pictures": sources["picture"], "from_cutouts": sources["cutout"],
        "missing": dict(Counter(each.missing for each in answers if each.vector is None)),
    }


def _face_rows(
    answers: Sequence[EmbeddedAgain], embedded: Sequence[EmbeddedAgain],
    found: FaceComparison | None, served: Calibration, other: Calibration,
) -> Iterator[dict[str, object]]:
    places = {each.face.id: place for place, each in enumerate(embedded)}
    for each in answers:
        row: dict[str, object] = dict.fromkeys(REPORT_COLUMNS)
        row |= {
            "person_id": each.face.person_id, "name": each.face.name,
            "embedded": each.source, "reason": each.missing,
        }
        if found is not None and each.face.id in places:
            place = places[each.face.id]
            row |= _nearest_cells("before", found.before, place, embedded, served)
            row |= _nearest_cells("after", found.after, place, embedded, other)
        yield row


def _nearest_cells(
    side: str, nearest: Nearest, place: int, embedded: Sequence[EmbeddedAgain], table: Calibration
) -> dict[str, object]:
    at = int(nearest.places[place])
    if at == NOBODY:
        return {}
    return {
        f"nearest_{side}": embedded[at].face.person_id,
        f"score_{side}": round(100 * table.confidence(float(nearest.cosines[place])), 2),
    }


def _show(summary: dict[str, Any], found: FaceComparison | None) -> None:
    before, after = summary["before"], summary["after"]
    missing = summary["missing"]
    reasons = ", ".join(f"{count} {code}" for code, count in sorted(missing.items()))
    print_notice(
        f"{summary['drawn']} of {summary['gallery']} faces made with {before!r}, embedded again "
        f"with {after!r}: {summary['from_pictures']} from their pictures, "
        f"{summary['from_cutouts']} from their cutouts; "
        + (f"{sum(missing.values())} cannot be: {reasons}." if missing else "none is missing.")
    )
    if found is None:
        return
    whole = found.report
    print_notice(
        f"The nearest face of another picture is one person's under both packs for "
        f"{whole.agreeing} of {whole.faces} faces."
    )
    print_table(
        ("has another picture", f"nearest under {before}", f"under {after}", "under both"),
        [(whole.mated, whole.right_before, whole.right_after, whole.right_both)],
    )
    print_table(
        ("scores of", "pairs", f"5, 50, 95 % under {before}", f"under {after}"),
        [
            (what, spread.pairs, *(", ".join(f"{each:.1f}" for each in side)
                                   for side in (spread.before, spread.after)))
            for what, spread in (
                ("one person", whole.one_person), ("different people", whole.different_people)
            )
        ],
    )
    print_table(
        ("score", "one person: lost", "gained", "different people: lost", "gained",
         "answers: same", "other person", "nobody now", "nobody before"),
        [
            (f"{each.score:g}", each.one_person.lost, each.one_person.gained,
             each.different_people.lost, each.different_people.gained,
             each.same, each.other, each.lost, each.gained)
            for each in whole.at_scores
        ],
    )
