"""``faceline enroll``: a whole folder, archive, manifest or bucket into a gallery."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from infra.cli.arguments import Json
from infra.cli.database import Stores
from infra.cli.enroll.dry_run import show_dry_run
from infra.cli.enroll.request import EnrolRequest
from pipeline.batches.model import BatchOptions
from pipeline.config.settings import load_settings
from pipeline.gallery.records import DEFAULT_COLLECTION
from pipeline.sources.names import Layout


def enroll(
    source: Annotated[
        str,
        typer.Argument(help="A folder; a tar or zip archive; a manifest (CSV with a header, or "
                       "JSON Lines); a bucket, s3://BUCKET/PREFIX or "
                       "s3+http://HOST:PORT/BUCKET/PREFIX."),
    ],
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only show what the source would bring.")
    ] = False,
    tenant: Annotated[
        str | None,
        typer.Option(help="The application to enrol for; not needed when there is only one."),
    ] = None,
    collection: Annotated[
        str,
        typer.Option(help="The collection of items for which the source names none.",
                     show_default=DEFAULT_COLLECTION),
    ] = "",
    create_collections: Annotated[
        bool, typer.Option("--create-collections", help="Create collections that do not exist.")
    ] = False,
    layout: Annotated[
        Layout,
        typer.Option(help="Where a path has the person's name: `person`, in the folder; `flat`, "
                     "in the file name; `auto`, in the folder if there is one."),
    ] = "auto",
    faces: Annotated[
        Literal["largest", "one", "all"],
        typer.Option(help="Which faces of a picture: the `largest`; the only `one` (pictures with "
                     "several are rejected); `all`."),
    ] = "largest",
    gate: Annotated[
        bool, typer.Option("--gate", help="Reject faces of low quality (FACELINE_QUALITY_...).")
    ] = False,
    reject_duplicates: Annotated[
        bool,
        typer.Option("--reject-duplicates", help="Reject people who are enrolled under another "
                     "name; without it the summary lists them."),
    ] = False,
    refuse_doubles: Annotated[bool, typer.Option("--refuse-doubles", hidden=True)] = False,
    report_to: Annotated[
        Path | None,
        typer.Option("--report", help="Write a line for every item to this .csv or .jsonl file."),
    ] = None,
    wait: Annotated[
        bool,
        typer.Option("--wait/--no-wait", help="Wait until every item has its outcome, or only "
                     "until a running service has received all of them."),
    ] = True,
    anywhere: Annotated[
        bool, typer.Option("--anywhere", help="A manifest may name files outside its folder.")
    ] = False,
    bucket: Annotated[str, typer.Option(help="The bucket of a manifest's keys, as a URL.")] = "",
    names: Annotated[
        str | None,
        typer.Option(help="The encoding of names, and of a manifest, that are not UTF-8, such as "
                     "gb18030."),
    ] = None,
    take_litter: Annotated[
        bool,
        typer.Option("--take-litter", help="Take also what NAS, macOS, Windows and programs leave "
                     "beside pictures, hidden files and thumbnails."),
    ] = False,
    json: Json = False,
) -> None:
    """Enrol a whole source: every item ends as enrolled, duplicate or rejected, with a reason.

    After an interruption, by Ctrl-C or by a power cut, the same command continues. Exit codes:
    0 every item has its outcome, even if some were rejected; 1 it could not be done; 2 wrong
    arguments; 130 interrupted.
    """
    settings = load_settings()
    request = EnrolRequest(
        settings=settings,
        # Absolute, so that the same source is the same batch from every directory.
        source=source if "://" in source else str(Path(source).resolve()),
        options=BatchOptions(
            collection=collection, faces=faces, gate=gate,
            reject_duplicates=reject_duplicates or refuse_doubles, layout=layout,
            anywhere=anywhere, encoding=names, bucket=bucket, take_litter=take_litter,
        ),
        tenant=tenant, create_collections=create_collections, report_to=report_to, wait=wait,
        json=json,
    )
    opened = request.open_source(settings)
    if not dry_run:
        # Imported here: it brings Celery and OpenCV, for which no other command should wait.
        from infra.cli.enroll.run import enrol

        enrol(request)
        return
    if tenant is not None:
        Stores().tenants.by_name(tenant)
    show_dry_run(
        opened, settings, collection=collection or DEFAULT_COLLECTION, report_to=report_to,
        json=json,
    )
