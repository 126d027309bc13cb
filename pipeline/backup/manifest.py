"""The manifest of a backup: what it consists of, signed by the deployment that made it."""

from __future__ import annotations

from typing import Any

import msgspec

from pipeline.deletions.signing import SigningKey, parse_document, verify_document
from pipeline.errors import BackupUnusable, SignatureInvalid

FORMAT = 1


class BlobRef(msgspec.Struct, frozen=True, array_like=True):
    """Stored bytes, by their SHA-256 (hex) and size."""

    sha256: str
    size: int


class TableCopy(msgspec.Struct, frozen=True):
    """The rows of a table in order of its key, in parts (``tables.py``)."""

    columns: list[str]
    rows: int
    parts: list[BlobRef]


class MediaCopy(msgspec.Struct, frozen=True):
    """The objects: ``parts`` list their keys with the blobs that hold their bytes."""

    objects: int
    bytes: int
    parts: list[BlobRef]


class BackupManifest(msgspec.Struct, frozen=True, kw_only=True):
    """``created_at`` is UTC (ISO 8601); ``revision`` that of the database's tables;
    ``master_keys`` the ids of the keys of which a restore needs one; ``signing_key`` the
    private signing key under it (Base64); ``sequences`` the last assigned id of each table;
    ``missing`` objects that rows name and the media store did not have."""

    format: int = FORMAT
    id: str
    created_at: str
    version: str
    revision: str
    database: str
    master_keys: list[str]
    signing_key: str
    tables: dict[str, TableCopy]
    sequences: dict[str, int]
    media: MediaCopy
    files: dict[str, BlobRef]
    missing: list[str]


def encode_manifest(manifest: BackupManifest, key: SigningKey) -> bytes:
    """The signed manifest as JSON."""
    return msgspec.json.encode(key.sign(msgspec.to_builtins(manifest)), order="sorted")


def decode_manifest(data: bytes, public_key: bytes | None = None) -> BackupManifest:
    """The manifest, after checking its signature: with ``public_key`` that the deployment made
    it, without that it is unchanged. Raises ``BackupUnusable``, ``SignatureInvalid``."""
    document: dict[str, Any] = parse_document(data)
    try:
        verify_document(document, public_key)
    except SignatureInvalid as error:
        raise SignatureInvalid(f"The manifest cannot be trusted. {error.message}") from error
    try:
        manifest = msgspec.convert(document, BackupManifest)
    except msgspec.ValidationError as error:
        raise BackupUnusable(f"The manifest cannot be read: {error}") from error
    if manifest.format != FORMAT:
        raise BackupUnusable(f"The backup has the format {manifest.format}, not {FORMAT}.")
    return manifest
