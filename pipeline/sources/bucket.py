"""The objects of a bucket on any S3 server: all below a prefix, or one by its key."""

from __future__ import annotations

import hashlib
import logging
import re
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import partial
from urllib.parse import urlsplit

import urllib3
from minio.error import S3Error
from minio.helpers import check_bucket_name
from urllib3.response import BaseHTTPResponse

from pipeline.config.settings import Settings
from pipeline.errors import InvalidParameter, MediaUnavailable
from pipeline.media.minio import map_minio_errors
from pipeline.media.open import AWS_ENDPOINT
from pipeline.media.s3_client import open_s3
from pipeline.media.s3_errors import reason_of
from pipeline.sources.base import (
    BLOCK_BYTES,
    Item,
    ItemRefused,
    RefusalReason,
    RefusedItem,
    too_large,
)
from pipeline.sources.names import Layout, about_from_path, inner_path, printable

logger = logging.getLogger(__name__)

READS = 4  # of an object whose bytes differ from read to read

MD5_TAG = re.compile(r"[0-9a-f]{32}")

SCHEMES = ("s3", "s3+http", "s3+https")

CONNECT_S = 5.0
ANSWER_S = 60.0  # for an object of some megabytes from a store on another continent

# Retries for some seconds while a store is busy. Its Retry-After is ignored: a MinIO that has
# just started asks for a minute.
RETRY = urllib3.Retry(
    total=4, connect=1, redirect=False, backoff_factor=0.5, status_forcelist=(500, 502, 503, 504),
    respect_retry_after_header=False, raise_on_status=False,
)

# Also the answer for a missing object when the credentials may not list the bucket.
ACCESS_DENIED = "AccessDenied"
MAX_DENIED_IN_A_ROW = 3

# Codes that concern one object, which is refused while the source continues.
REFUSED_CODES = {
    "NoSuchKey": RefusalReason.NOT_FOUND,
    ACCESS_DENIED: RefusalReason.UNREADABLE,
    "InvalidObjectState": RefusalReason.UNREADABLE,  # in an archive that takes hours to answer
    "KeyTooLongError": RefusalReason.UNSAFE_NAME,
    "XMinioInvalidObjectName": RefusalReason.UNSAFE_NAME,
}
_BAD_CREDENTIALS = (
    "The store of the bucket {bucket} rejects the credentials FACELINE_MEDIA_ACCESS_KEY and "
    "FACELINE_MEDIA_SECRET_KEY ({code})."
)
# Codes that concern the bucket, whose reading ends.
FATAL_CODES = {
    "NoSuchBucket": "There is no bucket {bucket}: create it, or correct its name.",
    ACCESS_DENIED: "The bucket {bucket} may not be listed and read with these credentials: "
    "allow it in the bucket's policy ({code}).",
    "InvalidAccessKeyId": _BAD_CREDENTIALS,
    "SignatureDoesNotMatch": _BAD_CREDENTIALS,
}


@dataclass(frozen=True, slots=True)
class BucketLocation:
    """A bucket and a prefix of its keys."""

    endpoint: str
    bucket: str
    prefix: str
    secure: bool


def parse_location(url: str) -> BucketLocation:
    """``s3://bucket/prefix`` or ``s3+http://host:port/bucket/prefix`` (``s3+https``).
    Raises ``InvalidParameter``."""
    parts = urlsplit(url)
    path = parts.path.lstrip("/")
    if parts.scheme == "s3":
        endpoint, bucket, prefix = AWS_ENDPOINT, parts.netloc, path
    else:
        bucket, _, prefix = path.partition("/")
        endpoint = parts.netloc
    if parts.scheme not in SCHEMES or not endpoint or "@" in endpoint:
        raise InvalidParameter(f"not the URL of a bucket: {url}")
    try:
        check_bucket_name(bucket, strict=True)
    except ValueError as error:
        raise InvalidParameter(f"{url}: not the name of a bucket: {bucket}") from error
    return BucketLocation(endpoint, bucket, prefix, secure=parts.scheme != "s3+http")


class Bucket:
    """Reads objects and never writes. The credentials are those of the media store."""

    def __init__(self, location: BucketLocation, settings: Settings) -> None:
        self.location = location
        self._denied = 0  # denied objects in a row
        self._client, _ = open_s3(
            location.endpoint, secure=location.secure, settings=settings,
            timeout=urllib3.Timeout(connect=CONNECT_S, read=ANSWER_S), retries=RETRY,
        )

    def walk(self) -> Iterator[str]:
        """The keys below the location, sorted. Raises ``InvalidParameter`` when the bucket
        does not exist or may not be read, ``MediaUnavailable``."""
        bucket, prefix = self.location.bucket, self.location.prefix
        with _map_errors(bucket):
            for found in self._client.list_objects(bucket, prefix, recursive=True):
                yield found.object_name or ""

    def read(self, key: str, limit: int) -> bytes:
        """An object's bytes. They are read again unless they have the MD5 that their ETag most
        often is, or come alike twice. Raises ``ItemRefused``, ``MediaUnavailable``."""
        earlier: bytes | None = None
        for _ in range(READS):
            with _map_errors(self.location.bucket), closing(self._answer(key)) as response:
                data = _body(response, limit, time.monotonic() + ANSWER_S)
                tag = response.headers.get("etag", "").strip('"').lower()
            # An object that was uploaded in parts has a tag with a hyphen.
            if MD5_TAG.fullmatch(tag) is None or data == earlier:
                return data
            if hashlib.md5(data, usedforsecurity=False).hexdigest() == tag:
                return data
            earlier = data
        logger.warning(
            "An object of a source comes with other bytes each time",
            extra={"action": "object_damaged", "key": printable(key), "of": READS},
        )
        raise MediaUnavailable(f"{printable(key)} came with other bytes each of {READS} times.")

    def _answer(self, key: str) -> BaseHTTPResponse:
        try:
            answer = self._client.get_object(self.location.bucket, key)
        except S3Error as error:
            if error.code not in REFUSED_CODES or (
                error.code == ACCESS_DENIED and self._is_bucket_denied()
            ):
                raise
            raise ItemRefused(REFUSED_CODES[error.code], f"{error.code}") from error
        except ValueError as error:  # minio-py refuses a key that no object can have
            raise ItemRefused(RefusalReason.UNSAFE_NAME, "a key that no object can have") from error
        self._denied = 0
        return answer

    def _is_bucket_denied(self) -> bool:
        """Whether the credentials may not read the whole bucket, rather than one object."""
        self._denied += 1
        if self._denied < MAX_DENIED_IN_A_ROW:
            return False
        location = self.location
        try:
            next(iter(self._client.list_objects(location.bucket, location.prefix)), None)
        except S3Error as error:
            return error.code == ACCESS_DENIED
        self._denied = 0
        return False


def _body(response: BaseHTTPResponse, limit: int, deadline: float) -> bytes:
    expected = response.headers.get("content-length")
    if expected is not None and int(expected) > limit:
        raise too_large(limit)
    body = bytearray()
    while block := response.read1(BLOCK_BYTES):
        body += block
        if len(body) > limit:
            raise too_large(limit)
        if time.monotonic() > deadline:
            raise MediaUnavailable(f"The bucket sent {len(body)} bytes in {ANSWER_S:.0f} s.")
    if expected is not None and len(body) != int(expected):
        raise MediaUnavailable(f"The bucket sent {len(body)} of {expected} bytes.")
    response.release_conn()
    return bytes(body)


class BucketSource:
    """Every object below a prefix, in the order of the keys, named relative to the key
    prefix ``relative_to``."""

    def __init__(self, bucket: Bucket, layout: Layout = "auto", relative_to: str = "") -> None:
        self._bucket = bucket
        self._layout = layout
        self._relative_to = relative_to

    @property
    def location(self) -> str:
        return printable(f"{self._bucket.location.bucket}/{self._bucket.location.prefix}")

    def position(self) -> tuple[int, int]:
        """Unknown: a listing does not tell its length."""
        return 0, 0

    def items(self) -> Iterator[Item | RefusedItem]:
        for key in self._bucket.walk():
            if not key.endswith("/"):  # some tools store such a key for a folder
                yield self._item(key)

    def _item(self, key: str) -> Item | RefusedItem:
        source_name = printable(key.removeprefix(self._relative_to))
        try:
            about = about_from_path(self._parts(key), self._layout)
        except ItemRefused as refused:
            return refused.as_item(source_name)
        return Item(source_name, about, partial(self._bucket.read, key))

    def _parts(self, key: str) -> tuple[str, ...]:
        """The key as a path below the folder of the prefix."""
        return inner_path(key.removeprefix(folder_of(self._bucket.location.prefix)).lstrip("/"))


def folder_of(prefix: str) -> str:
    """The folders that all keys below a prefix have in common, with the last slash."""
    folder, slash, _ = prefix.rpartition("/")
    return folder + slash


@contextmanager
def _map_errors(bucket: str) -> Iterator[None]:
    """Translate the errors that concern the whole bucket."""
    try:
        with map_minio_errors(bucket):
            try:
                yield
            except S3Error as error:
                if error.code not in FATAL_CODES:
                    raise
                message = FATAL_CODES[error.code].format(bucket=bucket, code=error.code)
                raise InvalidParameter(message) from error
    except MediaUnavailable as error:
        cause = error.__cause__
        if not isinstance(cause, Exception):
            raise
        raise MediaUnavailable(
            f"The store of the bucket {bucket} does not answer: {reason_of(cause)}."
        ) from error
