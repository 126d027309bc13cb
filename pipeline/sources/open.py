"""Opens the source that an operator names."""

from __future__ import annotations

from pathlib import Path

from pipeline.config.settings import Settings
from pipeline.errors import InvalidParameter
from pipeline.media.picture_formats import picture_format
from pipeline.sources.archives import ArchiveOptions, ArchiveSource, archive_kind
from pipeline.sources.base import PictureSource
from pipeline.sources.folder import FolderSource
from pipeline.sources.litter import WithoutLitter
from pipeline.sources.manifest import ManifestSource, ObjectReader
from pipeline.sources.names import Layout
from pipeline.sources.path_source import report_unreadable
from pipeline.sources.tar import TarSource
from pipeline.sources.zip import ZipSource

HEAD_BYTES = 512  # the first record of a tar, which identifies it


def open_source(
    location: str, settings: Settings, *, layout: Layout = "auto", anywhere: bool = False,
    encoding: str | None = None, bucket: str = "", take_litter: bool = False,
) -> PictureSource:
    """A folder, an archive (by its bytes), a bucket (by its URL), else a manifest.

    ``anywhere``: a manifest may name files outside its folder. ``encoding``: of names and
    manifests that are not Unicode. ``bucket``: the bucket of a manifest's keys, a URL.
    ``take_litter``: with ``litter``, which is skipped otherwise, except that a manifest names
    what it wants. Raises ``InvalidParameter`` when there is nothing to read.
    """
    encoding = _checked(encoding)
    source: PictureSource
    below = ""
    # Imported here because minio-py costs 90 ms, and files do not need it.
    if "://" in location:
        from pipeline.sources.bucket import Bucket, BucketSource, folder_of, parse_location

        place = parse_location(location)
        below = folder_of(place.prefix)
        source = BucketSource(Bucket(place, settings), layout)
    elif (path := Path(location)).is_dir():
        source = FolderSource(path, layout, encoding)
    elif (opened := _archive(path, ArchiveOptions(layout, encoding))) is not None:
        source = opened
    else:
        objects = _objects(bucket, settings)
        return ManifestSource(path, anywhere=anywhere, objects=objects, encoding=encoding)
    return source if take_litter else WithoutLitter(source, below)


def _archive(path: Path, options: ArchiveOptions) -> ArchiveSource | None:
    """The archive at ``path``; None for another file. Raises ``InvalidParameter``."""
    head = _head(path)
    kind = archive_kind(head)
    if kind in ("7z", "rar"):
        raise InvalidParameter(f"{path} is a {kind} archive; only tar and zip can be read")
    if kind is not None:
        return ZipSource(path, options) if kind == "zip" else TarSource(path, options)
    if picture_format(head) is not None:
        raise InvalidParameter(f"{path} is one picture; name its folder instead")
    return None


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
