"""``faceline receipts``: what was deleted, from which stores it is gone, and the proof of it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from infra.cli.arguments import Json, Limit
from infra.cli.console import local_time, print_json, print_line, print_notice, print_table
from infra.cli.database import Stores
from infra.cli.reports import open_output
from pipeline.deletions.receipts import ReceiptStore, documents
from pipeline.deletions.record import SubjectKind
from pipeline.deletions.signing import (
    Document,
    parse_document,
    public_key_pem,
    read_public_key,
    signing_key,
    verify_document,
)
from pipeline.errors import InvalidParameter

app = typer.Typer(help="Receipts of deletions.", no_args_is_help=True)


@app.command("list")
def list_receipts(
    application: Annotated[
        str | None, typer.Option("--app", help="Of this application; it may be deleted.")
    ] = None,
    face: Annotated[int | None, typer.Option(help="About the face with this id.")] = None,
    pending: Annotated[bool, typer.Option("--pending", help="Those not complete yet.")] = False,
    limit: Limit = 50,
    json: Json = False,
) -> None:
    """List receipts, newest first."""
    about = None if face is None else (SubjectKind.FACE, face)
    found = ReceiptStore(Stores().engine).newest(limit, application, about, pending=pending)
    if json:
        print_json(documents(found))
        return
    print_table(
        ("receipt", "app", "what", "faces", "pictures", "deleted", "complete", "waits for"),
        (
            (each.id, each.application, each.kind.value, each.counts.get("faces", ""),
             each.counts.get("images", ""), local_time(each.deleted_at),
             local_time(each.completed_at), ", ".join(each.waits_for))
            for each in found
        ),
    )


@app.command()
def show(
    receipt: Annotated[str, typer.Argument(help="The (beginning of the) receipt's id.")],
    to: Annotated[Path | None, typer.Option("--to", help="File to write; else stdout.")] = None,
) -> None:
    """Print a receipt as JSON: signed once it is complete; before, what it waits for."""
    reader = ReceiptStore(Stores().engine)
    found = reader.get(receipt)
    if found.document is None:
        waiting = [place.value for place in found.waits_for]
        print_json({**reader.unsigned(found), "state": "pending", "waits_for": waiting})
        print_notice(f"It is not complete, and not signed: it waits for {', '.join(waiting)}.")
        return
    if to is None:
        print_line(found.document)
    else:
        with open_output(to) as stream:
            stream.write(found.document + "\n")
    if held := reader.backups_with(found):
        print_notice(
            f"{len(held)} backups that were made before still hold it: {', '.join(held[:5])}. The "
            "deletion journal keeps it from returning by a restore."
        )


@app.command()
def verify(
    file: Annotated[Path, typer.Argument(help="A receipt.")],
    key: Annotated[
        Path | None,
        typer.Option(help="File with the deployment's public key (`faceline receipts key`); else "
                     "that of this deployment."),
    ] = None,
) -> None:
    """Check a receipt, with a key offline. Exit code 1 when it was changed, or another
    deployment has signed it."""
    document = _read(file)
    verify_document(document, _public_key(key))
    print_notice(
        f"The receipt {document.get('receipt')} of {document.get('completed_at')} is genuine."
    )


@app.command("key")
def show_key() -> None:
    """Print the public key with which anybody can check this deployment's receipts."""
    stores = Stores()
    typer.echo(public_key_pem(signing_key(stores.engine, stores.vault).public_key), nl=False)


def _read(file: Path) -> Document:
    try:
        return parse_document(file.read_bytes())
    except OSError as error:
        raise InvalidParameter(f"{file} cannot be read: {error.strerror}") from error


def _public_key(file: Path | None) -> bytes:
    if file is None:
        stores = Stores()
        return signing_key(stores.engine, stores.vault).public_key
    try:
        return read_public_key(file.read_text())
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidParameter(f"{file} cannot be read") from error
