"""Opens the source that an operator names."""

from __future__ import annotations

from pathlib import Path

from pipeline.config.settings import Settings
from pipeline.errors import InvalidParameter
from pipeline.media.picture_formats import picture_format
from pipeline.sources.archives import ArchiveOptions, archive_kind
from pipeline.sources.base import PictureSource
from pipeline.sources.folder import FolderSource
from pipeline.sources.manifest import ManifestSource, ObjectReader
from pipeline.sources.names import Layout
from pipeline.sources.path_source import report_unreadable
from pipeline.sources.tar import TarSource
from pipeline.sources.zip import ZipSource

HEAD_BYTES = 512  # the first record of a tar, which identifies it


def open_source(
    location: str, settings: Settings, *, layout: Layout = "auto", anywhere: bool = False,
    encoding: str | None = None, bucket: str = "",
) -> PictureSource:
    """A folder, an archive (by its bytes), a bucket (by its URL), else a manifest.

    ``anywhere``: a manifest may name files outside its folder. ``encoding``: of archive
    members' names that are not UTF-8. ``bucket``: the bucket of a manifest's keys, a URL.
    Raises ``InvalidParameter`` when there is nothing to read.
    """
    # Imported here because minio-py costs 90 ms, and files do not need it.
    if "://" in location:
        from pipeline.sources.bucket import Bucket, BucketSource, parse_location

        return BucketSource(Bucket(parse_location(location), settings), layout)
    path = Path(location)
    if path.is_dir():
        return FolderSource(path, layout)
    head = _head(path)
    kind = archive_kind(head)
    if kind in ("7z", "rar"):
        raise InvalidParameter(f"{path} is a {kind} archive; only tar and zip can be read")
    archive = ArchiveOptions(layout, _checked(encoding))
    if kind == "zip":
        return ZipSource(path, archive)
    if kind is not None:
        return TarSource(path, archive)
    if picture_format(head) is not None:
        raise InvalidParameter(f"{path} is one picture; name its folder instead")
    return ManifestSource(path, anywhere=anywhere, objects=_objects(bucket, settings))


def _head(path: Path) -> bytes:
    if path.exists() and not path.is_file():
        raise InvalidParameter(f"{path} is neither a folder nor a file")
    with report_unreadable(path), path.open("rb") as file:
        return file.read(HEAD_BYTES)


def _checked(encoding: str | None) -> str | None:
    if encoding is not None:
        try:
            b"".decode(encoding)
            "".encode(encoding)
        except LookupError as error:
            raise InvalidParameter(f"there is no encoding {encoding}") from error
    return encoding


def _objects(bucket: str, settings: Settings) -> ObjectReader | None:
    if not bucket:
        return None
    from pipeline.sources.bucket import Bucket, parse_location

    return Bucket(parse_location(bucket), settings).read
