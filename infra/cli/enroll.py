"""``faceline enroll``: what a folder, manifest, archive or bucket would bring."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated, Any

import typer

from infra.cli.console import err, print_json, print_table, say
from infra.cli.database import open_tenants
from infra.cli.findings import report
from infra.cli.progress import telling
from pipeline.config import Settings, load_settings
from pipeline.errors import InvalidParameter
from pipeline.media.header import PictureLimits
from pipeline.sources.base import Source
from pipeline.sources.names import Layout
from pipeline.sources.open import SourceOptions, open_source
from pipeline.sources.survey import Tally, Verdict, survey

REFRESH_S = 0.1  # between two looks of the bar

LABELS = {
    Verdict.ENROL: "would be enrolled",
    Verdict.DUPLICATE: "duplicate (the same picture)",
    Verdict.REJECTED: "rejected",
}


def enroll(
    source: Annotated[
        str,
        typer.Argument(help="A folder; a tar or zip archive; a manifest (CSV with a header, or "
                       "JSON Lines); a bucket, s3://BUCKET/PREFIX or "
                       "s3+http://HOST:PORT/BUCKET/PREFIX."),
    ],
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would happen. Needed, as yet.")
    ] = False,
    tenant: Annotated[
        str | None, typer.Option(help="The application to enrol for.")
    ] = None,
    collection: Annotated[
        str, typer.Option(help="The group of items for which the source names none.")
    ] = "",
    layout: Annotated[
        Layout,
        typer.Option(help="Whose picture it is: `person`, the folder has the name; `flat`, the "
                     "file; `auto`, the folder where there is one."),
    ] = "auto",
    report_to: Annotated[
        Path | None,
        typer.Option("--report", help="Write a line an item to this .csv or .jsonl file."),
    ] = None,
    anywhere: Annotated[
        bool, typer.Option("--anywhere", help="A manifest may name files outside its folder.")
    ] = False,
    bucket: Annotated[
        str, typer.Option(help="The bucket of a manifest's keys, as a URL.")
    ] = "",
    names: Annotated[
        str | None,
        typer.Option(help="Encoding of archive members' names that are not UTF-8, as gb18030."),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Say what a source would bring: what would be enrolled, what twice, what not and why.

    Reads every file and judges it by its header; no face is looked for yet.
    """
    if not dry_run:
        raise InvalidParameter(
            "enrolling a whole source comes with a later release; --dry-run says what it would "
            "bring"
        )
    settings = load_settings()
    if tenant is not None:
        open_tenants(settings).by_name(tenant)
    opened = open_source(source, SourceOptions(layout, anywhere, names, bucket), settings)
    tally = _surveyed(opened, settings, collection, report_to)
    if json:
        print_json(_summary(opened, tally))
    else:
        _show(tally)


def _surveyed(source: Source, settings: Settings, collection: str, to: Path | None) -> Tally:
    tally = Tally()
    limits = PictureLimits.from_settings(settings)
    shown_at = 0.0
    with report(to) as write, telling(err) as progress:
        for finding in survey(source, limits, collection):
            tally.add(finding)
            write(finding)
            if time.monotonic() > shown_at + REFRESH_S:
                shown_at = time.monotonic()
                progress(_counted(tally), *source.position())
    return tally


def _counted(tally: Tally) -> str:
    counts = tally.verdicts
    return (
        f"{tally.items} items: {counts[Verdict.ENROL]} to enrol, "
        f"{counts[Verdict.DUPLICATE]} duplicate, {counts[Verdict.REJECTED]} rejected"
    )


def _summary(source: Source, tally: Tally) -> dict[str, Any]:
    return {
        "source": source.location,
        "dry_run": True,
        "items": tally.items,
        **{str(verdict): tally.verdicts[verdict] for verdict in Verdict},
        "reasons": dict(tally.reasons.most_common()),
        "collections": dict(tally.collections.most_common()),
        "names": len(tally.people),
        "bytes": tally.bytes,
    }


def _show(tally: Tally) -> None:
    rows: list[tuple[object, object]] = [
        (LABELS[verdict], tally.verdicts[verdict]) for verdict in Verdict
    ]
    rows += [(f"  {reason}", count) for reason, count in tally.reasons.most_common()]
    print_table(("outcome", "items"), [*rows, ("all", tally.items)])
    collections = ", ".join(name or "none" for name, _ in tally.collections.most_common(10))
    say(
        f"{len(tally.people)} names, {tally.bytes / 1e6:.1f} MB; groups: {collections or 'none'}. "
        "Nothing was enrolled: this was a dry run, and no face was looked for."
    )
