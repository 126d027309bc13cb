"""``faceline enroll``: a whole folder, archive, manifest or bucket into a gallery."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import typer

from infra.cli.database import open_tenants
from infra.cli.dataclass_command import command_with_options
from infra.cli.enroll.dry_run import show_dry_run
from infra.cli.enroll.request import EnrolRequest
from pipeline.batches.model import BatchOptions
from pipeline.config.settings import Settings, load_settings
from pipeline.sources.names import Layout
from pipeline.sources.open import SourceOptions, open_source


@dataclass(frozen=True, slots=True)
class EnrollOptions:
    """What ``faceline enroll`` takes."""

    source: Annotated[
        str,
        typer.Argument(help="A folder; a tar or zip archive; a manifest (CSV with a header, or "
                       "JSON Lines); a bucket, s3://BUCKET/PREFIX or "
                       "s3+http://HOST:PORT/BUCKET/PREFIX."),
    ]
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say what the source would bring.")
    ] = False
    tenant: Annotated[
        str | None,
        typer.Option(help="The application to enrol for; not needed where there is one."),
    ] = None
    collection: Annotated[
        str, typer.Option(help="The group of items for which the source names none.")
    ] = ""
    create_collections: Annotated[
        bool,
        typer.Option("--create-collections", help="Make the groups that are not there."),
    ] = False
    layout: Annotated[
        Layout,
        typer.Option(help="Whose picture it is: `person`, the folder has the name; `flat`, the "
                     "file; `auto`, the folder where there is one."),
    ] = "auto"
    faces: Annotated[
        Literal["largest", "one", "all"],
        typer.Option(help="Which faces of a picture: the `largest`; the only `one` (several are "
                     "refused); `all`."),
    ] = "largest"
    gate: Annotated[
        bool, typer.Option("--gate", help="Refuse faces of low quality (FACELINE_QUALITY_...).")
    ] = False
    reject_duplicates: Annotated[
        bool,
        typer.Option("--refuse-doubles", help="Refuse who is there under another name; else the "
                     "summary tells of them."),
    ] = False
    report_to: Annotated[
        Path | None,
        typer.Option("--report", help="Write a line an item to this .csv or .jsonl file."),
    ] = None
    wait: Annotated[
        bool,
        typer.Option("--wait/--no-wait", help="Stay until every item has its outcome, or only "
                     "until all are handed over to a running service."),
    ] = True
    anywhere: Annotated[
        bool, typer.Option("--anywhere", help="A manifest may name files outside its folder.")
    ] = False
    bucket: Annotated[
        str, typer.Option(help="The bucket of a manifest's keys, as a URL.")
    ] = ""
    names: Annotated[
        str | None,
        typer.Option(help="Encoding of archive members' names that are not UTF-8, as gb18030."),
    ] = None
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False

    def request(self, settings: Settings) -> EnrolRequest:
        """What is to be done. The same source is the same batch, wherever it is named from."""
        return EnrolRequest(
            settings=settings,
            source=self.source if "://" in self.source else str(Path(self.source).resolve()),
            options=BatchOptions(
                collection=self.collection, faces=self.faces, gate=self.gate,
                reject_duplicates=self.reject_duplicates, layout=self.layout,
                anywhere=self.anywhere,
                encoding=self.names, bucket=self.bucket,
            ),
            tenant=self.tenant, create_collections=self.create_collections,
            report_to=self.report_to, wait=self.wait, json=self.json,
        )


@command_with_options(EnrollOptions)
def enroll(options: EnrollOptions) -> None:
    """Enrol a whole source: every item ends as enrolled, duplicate or rejected, with a reason.

    Interrupted, by Ctrl-C or by a power cut, the same command goes on where it was. Exit
    codes: 0 every item has its outcome, also when some were rejected; 1 it could not be
    done; 2 it was asked wrongly; 130 interrupted.
    """
    settings = load_settings()
    source = open_source(
        options.source,
        SourceOptions(options.layout, options.anywhere, options.names, options.bucket), settings,
    )
    if not options.dry_run:
        # With it come Celery and OpenCV, for which no other command should wait.
        from infra.cli.enroll.run import enrol

        enrol(options.request(settings))
        return
    if options.tenant is not None:
        open_tenants(settings).by_name(options.tenant)
    show_dry_run(
        source, settings, collection=options.collection, report_to=options.report_to,
        json=options.json,
    )
