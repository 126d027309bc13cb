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
from pipeline.media.folder import FolderStore
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
    store: MediaStore = MeasuredStore(open_plain_media(settings))
    if engine is not None:
        store = RowReadingStore(store, engine)
    return RereadingStore(store if keys is None else EncryptedStore(store, keys))


def open_plain_media(settings: Settings) -> MediaStore:
    """The media store that gives objects as they are stored. Raises ``ConfigurationError``."""
    return open_location(settings.media_location, settings, "FACELINE_MEDIA_URL", folders=False)


def open_location(
    location: str, settings: Settings, name: str, *, folders: bool = True
) -> MediaStore:
    """A store of whole objects at a URL like those of media stores, reached with the media
    store's credentials; with ``folders`` it may be a folder of a bucket. ``name`` is that of
    the setting or argument. Raises ``ConfigurationError``."""
    if location.startswith("file://"):
        path = location.removeprefix("file://")
        if not path.startswith("/"):
            raise ConfigurationError(f"{name} must be file:///path, not {location!r}")
        return DirectoryStore(Path(path))
    # Importing minio-py takes 90 ms, which a directory store saves.
    from pipeline.media.minio import MinioStore

    parts = urlsplit(location)
    path = parts.path.strip("/")
    endpoint, bucket, secure = parts.netloc, "", parts.scheme == "s3+https"
    if parts.scheme == "s3":
        endpoint, bucket, secure = AWS_ENDPOINT, parts.netloc, True
    elif parts.scheme in ("s3+http", "s3+https"):
        bucket, _, path = path.partition("/")
    if not (endpoint and bucket) or (path and not folders):
        folder = "[/folder]" if folders else ""
        raise ConfigurationError(
            f"{name} must be file:///path, s3://bucket{folder}, "
            f"s3+http://host:port/bucket{folder} or s3+https://host:port/bucket{folder}"
        )
    store = MinioStore(endpoint, bucket, secure=secure, settings=settings)
    return FolderStore(store, path) if path else store
