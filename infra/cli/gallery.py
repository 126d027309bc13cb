"""``faceline gallery``: size, advised scores, export and deletion of an application's gallery."""

from __future__ import annotations

import base64
import json as jsonlib
import sys
from collections.abc import Iterator
from contextlib import nullcontext
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from infra.cli.arguments import AppName, Json, OptionalAppName, Yes
from infra.cli.console import print_json, print_notice, print_table
from infra.cli.database import Stores
from infra.cli.own_tables import advice_rows
from infra.cli.reports import open_output
from pipeline.accounts import deletion
from pipeline.accounts.model import Tenant
from pipeline.config.storage import DataDirectory
from pipeline.errors import CollectionNotFound, FaceNotFound, InvalidParameter
from pipeline.gallery.collections import CollectionStore
from pipeline.gallery.faces import FaceStore
from pipeline.gallery.galleries import GalleryStore
from pipeline.gallery.records import Collection, FaceRecord, box_json

app = typer.Typer(help="Galleries: size, scores, export, deletion.", no_args_is_help=True)


@app.command()
def stats(name: OptionalAppName = None, json: Json = False) -> None:
    """Count faces, pictures, collections and bytes."""
    stores = Stores()
    galleries = GalleryStore(stores.engine, stores.media)
    rows = [_counted(tenant, galleries) for tenant in stores.chosen_tenants(name)]
    if json:
        print_json(rows)
        return
    columns = ("app", "faces", "images", "collections", "bindings", "megabytes", "changes", "pack")
    print_table(columns, ([row[column] for column in columns] for row in rows))


def _counted(tenant: Tenant, galleries: GalleryStore) -> dict[str, Any]:
    size = galleries.stats(tenant.id)
    return {
        "app": tenant.name, "faces": size.faces, "images": size.images,
        "collections": size.collections, "bindings": size.bindings,
        "megabytes": round(size.bytes / 1e6, 1),
        "changes": size.last_change,
        "pack": size.model.pack if size.model else "",
    }


@app.command()
def advise(
    name: OptionalAppName = None,
    strangers: Annotated[
        float, typer.Option(min=1e-6, max=0.5, help="The share of strangers that may be hit.")
    ] = 0.01,
    set_groups: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="GROUP", help="Store the score that is advised for this "
                     "group as its groupScore; may be repeated."),
    ] = None,
    json: Json = False,
) -> None:
    """Advise the score to ask for in searches of a gallery and of its groups, from their size and
    from what strangers among the gallery's faces reach."""
    stores = Stores()
    chosen = stores.chosen_tenants(name)
    if set_groups and len(chosen) != 1:
        raise InvalidParameter("--set takes the name of one application")
    info = stores.pack
    rows = [row for tenant in chosen for row in advice_rows(stores, tenant, info, strangers)]
    groups = CollectionStore(stores.engine, stores.media)
    for group in set_groups or ():
        score = next((row["score"] for row in rows if row["group"] == group), None)
        if score is None:
            raise CollectionNotFound(f"{chosen[0].name} has no group {group!r}")
        groups.update(chosen[0].id, group, score=score)
        print_notice(f"The groupScore of {group} is {score} now.")
    if json:
        print_json(rows)
        return
    shown = ("app", "group", "faces", "by_size", "by_faces", "score", "expected", "group_score")
    print_table(shown, ([row[column] for column in shown] for row in rows))
    for note in dict.fromkeys(row["note"] for row in rows if row["note"]):
        print_notice(note)


@app.command()
def export(
    name: AppName,
    to: Annotated[Path | None, typer.Option("--to", help="File to write; else stdout.")] = None,
    embeddings: Annotated[
        bool,
        typer.Option("--embeddings", help="With each face's vector: Base64 of float32, "
                     "little-endian. It identifies a person: keep it as you keep pictures."),
    ] = False,
) -> None:
    """Write one line of JSON for each face, then for each picture without a face."""
    stores = Stores()
    tenant = stores.tenants.by_name(name)
    count = 0
    with nullcontext(sys.stdout) if to is None else open_output(to) as stream:
        for line in _lines(tenant, stores, embeddings):
            stream.write(jsonlib.dumps(line, ensure_ascii=False) + "\n")
            count += 1
    print_notice(f"{count} records of {name}.")


def _lines(tenant: Tenant, stores: Stores, embeddings: bool) -> Iterator[dict[str, Any]]:
    galleries = GalleryStore(stores.engine, stores.media)
    faces = FaceStore(stores.engine, stores.media, keys=stores.keys)
    for face, collections in galleries.export(tenant.id):
        line = _face_line(face, collections)
        if embeddings:
            try:
                vector, model = faces.vector(tenant.id, face.id)
            except FaceNotFound:  # deleted since the line was read
                continue
            line["pack"], line["model"] = model.pack, model.sha256
            line["embedding"] = base64.b64encode(vector.tobytes()).decode()
        yield line
    for image in galleries.faceless_images(tenant.id):
        yield {
            "image_id": image.image_id, "description": image.description,
            "created_at": _iso(image.created_at),
        }


def _face_line(face: FaceRecord, collections: list[Collection]) -> dict[str, Any]:
    same_names = (
        "id", "person_id", "face_token", "image_id", "name", "gender", "description", "quality"
    )
    return {
        **{name: getattr(face, name) for name in same_names},
        "collections": [each.key for each in collections],
        "box": box_json(face.box), "created_at": _iso(face.created_at),
    }


def _iso(moment: float) -> str:
    return datetime.fromtimestamp(moment, UTC).isoformat(timespec="seconds")


@app.command("delete-tenant")
def delete_tenant(name: AppName, yes: Yes = False) -> None:
    """Delete an application: credentials, jobs, faces, pictures. This cannot be undone."""
    stores = Stores()
    tenant = stores.tenants.by_name(name)
    if not yes:
        size = GalleryStore(stores.engine, stores.media).stats(tenant.id)
        print_notice(f"{name} has {size.faces} faces and {size.images} pictures.")
        if typer.prompt("Type the application's name to delete it") != name:
            raise InvalidParameter("that is not its name; nothing was deleted")
    receipt = deletion.delete_tenant(
        stores.engine, stores.media, tenant.id, journal=stores.journal
    )
    DataDirectory(stores.settings.data_dir).delete_own_calibration(tenant.id)
    print_notice(f"{name} is deleted. Backups and an index process may hold it a while longer: "
        f"faceline receipts show {receipt}")
