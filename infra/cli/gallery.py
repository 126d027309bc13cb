"""``faceline gallery``: what is kept of each application, its export and its removal."""

from __future__ import annotations

import base64
import json as jsonlib
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, TextIO

import typer
from sqlalchemy import Engine

from infra.cli.arguments import AppName, Json
from infra.cli.console import print_json, print_notice, print_table
from infra.cli.database import open_database
from pipeline.accounts import deletion
from pipeline.accounts.model import Tenant
from pipeline.accounts.tenants import TenantStore
from pipeline.config.settings import load_settings
from pipeline.encryption.data_keys import open_keys
from pipeline.encryption.vault import open_vault
from pipeline.errors import FaceNotFound, InvalidParameter
from pipeline.gallery.faces import FaceStore
from pipeline.gallery.galleries import GalleryStore
from pipeline.gallery.records import Collection, FaceRecord, StoredImage, box_json
from pipeline.media.base import MediaStore
from pipeline.media.open import open_media

app = typer.Typer(
    help="Galleries: how large they are, export, removal.", no_args_is_help=True
)



@dataclass(frozen=True, slots=True)
class _GalleryStores:
    tenants: TenantStore
    galleries: GalleryStore
    faces: FaceStore
    engine: Engine
    media: MediaStore


def _open() -> _GalleryStores:
    settings = load_settings()
    engine = open_database(settings)
    keys = open_keys(settings, engine)
    media = open_media(settings, keys)
    return _GalleryStores(
        TenantStore(engine, open_vault(settings)),
        GalleryStore(engine, media),
        FaceStore(engine, media, keys=keys),
        engine,
        media,
    )


@app.command()
def stats(
    name: Annotated[
        str | None, typer.Argument(help="An application; without one: all.")
    ] = None,
    json: Json = False,
) -> None:
    """How many faces, pictures and groups there are, and how many bytes."""
    stores = _open()
    chosen = stores.tenants.all() if name is None else [stores.tenants.by_name(name)]
    rows = [_counted(tenant, stores.galleries) for tenant in chosen]
    if json:
        print_json(rows)
        return
    columns = ("app", "faces", "images", "groups", "bindings", "megabytes", "changes", "pack")
    print_table(columns, ([row[column] for column in columns] for row in rows))


def _counted(tenant: Tenant, galleries: GalleryStore) -> dict[str, Any]:
    there = galleries.stats(tenant.id)
    return {
        "app": tenant.name,
        "faces": there.faces,
        "images": there.images,
        "groups": there.collections,
        "bindings": there.bindings,
        "megabytes": round(there.bytes / 1e6, 1),
        "changes": there.last_change,
        "pack": there.model.pack if there.model else "",
    }


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
    """Write one JSON object a line for each face, then for each picture without one."""
    stores = _open()
    tenant = stores.tenants.by_name(name)
    count = 0
    with _output(to) as stream:
        for line in _lines(tenant, stores, embeddings):
            stream.write(jsonlib.dumps(line, ensure_ascii=False) + "\n")
            count += 1
    print_notice(f"{count} records of {name}.")


def _lines(tenant: Tenant, stores: _GalleryStores, embeddings: bool) -> Iterator[dict[str, Any]]:
    for face, groups in stores.galleries.export(tenant.id):
        line = _face_line(face, groups)
        if embeddings:
            try:
                vector, model = stores.faces.vector(tenant.id, face.id)
            except FaceNotFound:  # deleted since the line was read
                continue
            line["pack"], line["model"] = model.pack, model.sha256
            line["embedding"] = base64.b64encode(vector.tobytes()).decode()
        yield line
    for image in stores.galleries.faceless_images(tenant.id):
        yield _image_line(image)


def _face_line(face: FaceRecord, groups: list[Collection]) -> dict[str, Any]:
    return {
        "id": face.id,
        "person_id": face.person_id,
        "face_token": face.face_token,
        "image_id": face.image_id,
        "name": face.name,
        "gender": face.gender,
        "description": face.description,
        "groups": [group.key for group in groups],
        "box": box_json(face.box),
        "quality": face.quality,
        "created_at": _iso(face.created_at),
    }


def _image_line(image: StoredImage) -> dict[str, Any]:
    return {
        "image_id": image.image_id,
        "description": image.description,
        "created_at": _iso(image.created_at),
    }


def _iso(moment: float) -> str:
    return datetime.fromtimestamp(moment, UTC).isoformat(timespec="seconds")


@contextmanager
def _output(to: Path | None) -> Iterator[TextIO]:
    if to is None:
        yield sys.stdout
        return
    try:
        # Readable by this user only: it holds names, and perhaps vectors.
        descriptor = os.open(to, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
            yield stream
    except OSError as error:
        raise InvalidParameter(f"{to} cannot be written: {error.strerror}") from error


@app.command("delete-tenant")
def delete_tenant(
    name: AppName,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Delete an application: credentials, jobs, faces, pictures. There is no way back."""
    stores = _open()
    tenant = stores.tenants.by_name(name)
    if not yes:
        there = stores.galleries.stats(tenant.id)
        print_notice(f"{name} has {there.faces} faces and {there.images} pictures.")
        if typer.prompt("Type the application's name to delete it") != name:
            raise InvalidParameter("that is not its name; nothing was deleted")
    deletion.delete_tenant(stores.engine, stores.media, tenant.id)
    print_notice(f"{name} is deleted. Backups and an index process may hold it a while longer.")
