"""Opens the media store of a location."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

from sqlalchemy import Engine

from pipeline.config.settings import Settings
from pipeline.encryption.data_key import KeySource
from pipeline.errors import ConfigurationError
from pipeline.media.base import MediaStore
from pipeline.media.directory import DirectoryStore
from pipeline.media.encrypted import EncryptedStore
from pipeline.media.measured import MeasuredStore
from pipeline.media.rereading import RereadingStore
from pipeline.media.rows import RowReadingStore

AWS_ENDPOINT = "s3.amazonaws.com"


def open_media(
    settings: Settings, keys: KeySource | None = None, engine: Engine | None = None
) -> MediaStore:
    """The media store of these settings, which connects at its first use. With the tenants'
    ``keys`` it reads and writes encrypted objects, too; with an ``engine`` it reads the
    pictures that wait in that database. It reads an object that comes damaged again.

    Open it after a fork: connections do not survive one. Raises ``ConfigurationError``.
    """
    store: MediaStore = MeasuredStore(_open_plain(settings))
    if engine is not None:
        store = RowReadingStore(store, engine)
    return RereadingStore(store if keys is None else EncryptedStore(store, keys))


def _open_plain(settings: Settings) -> MediaStore:
    location = settings.media_location
    if location.startswith("file://"):
        path = location.removeprefix("file://")
        if not path.startswith("/"):
            raise ConfigurationError(f"FACELINE_MEDIA_URL must be file:///path, not {location!r}")
        return DirectoryStore(Path(path))
    return _open_s3(settings)


def _open_s3(settings: Settings) -> MediaStore:
    # Importing minio-py takes 90 ms, which a directory store saves.
    from pipeline.media.minio import MinioStore

    parts = urlsplit(settings.media_location)
    path = parts.path.strip("/")
    if parts.scheme == "s3" and parts.netloc and not path:
        endpoint, bucket, secure = AWS_ENDPOINT, parts.netloc, True
    elif parts.scheme in ("s3+http", "s3+https") and parts.netloc and path and "/" not in path:
        endpoint, bucket, secure = parts.netloc, path, parts.scheme == "s3+https"
    else:
        raise ConfigurationError(
            "FACELINE_MEDIA_URL must be file:///path, s3://bucket, s3+http://host:port/bucket "
            "or s3+https://host:port/bucket"
        )
    return MinioStore(endpoint, bucket, secure=secure, settings=settings)
