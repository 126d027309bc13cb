"""Media in a bucket of any S3 server, with minio-py.

minio-py's defaults block for up to half an hour on a server that does not answer (six times
five minutes); here every call has one deadline. The store uses only plain calls (put, get,
head, delete, list), which any S3 server supports. It tries MinIO's unpacking of archives
once and checks the result.
"""

from __future__ import annotations

import base64
import io
import secrets
import tarfile
import time
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from datetime import timedelta
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from http.client import HTTPException
from typing import TypeVar

import urllib3
from minio.error import MinioAdminException, MinioException, S3Error
from minio.helpers import DictType, check_bucket_name
from urllib3.exceptions import HTTPError
from urllib3.response import BaseHTTPResponse

from pipeline.config.settings import Settings
from pipeline.errors import (
    ConfigurationError,
    FaceError,
    MediaFull,
    MediaNotFound,
    MediaUnavailable,
)
from pipeline.media.base import PROBE, MediaStore, StoredObject, check_bytes, check_key
from pipeline.media.s3_client import open_s3
from pipeline.media.s3_errors import explain_s3_error
from pipeline.storage_keys import plain_name, probe_media, tenant_of, transient_media

# Seconds. A submit must answer within five when the store is away: attempts start within the
# first second, and the last one may wait for its connection and its response.
CONNECT_S = 1.5
ANSWER_S = 2.5
TRY_AGAIN_S = 0.8
PAUSE_S = 0.1

BLOCK_BYTES = 256 * 1024
POOL_SIZE = 16  # connections, shared by the shim's threads

# MinIO unpacks a tar into objects. For objects up to this size a bundle costs the client a
# fifth of single puts, and MinIO less as well; for larger ones it saves nothing.
UNPACK_HEADER = {"X-Amz-Meta-Snowball-Auto-Extract": "true"}
MAX_BUNDLED_BYTES = 64 * 1024
BUNDLE_BYTES = 2 * 1024 * 1024

PUT_THREADS = 4  # at a time; more are no faster

# What servers answer when their drives are full, or the bucket has all that it may have: MinIO's
# codes, those of Ceph and others, and the status that WebDAV defined for it.
FULL_CODES = frozenset({
    "XMinioStorageFull", "XMinioAdminBucketQuotaExceeded", "QuotaExceeded", "InsufficientStorage",
})
INSUFFICIENT_STORAGE = 507

NO_BUCKET = "NoSuchBucket"

NO_KEY = "faceline-probe"
"""The start of keys that no object has, to ask what is permitted."""

PROBE_EXPIRY = timedelta(minutes=1)

WRONG_MD5 = base64.b64encode(bytes(16)).decode()
"""Of nothing that anybody knows."""

BAD_CHECKSUM = ("BadDigest", "InvalidDigest")

Result = TypeVar("Result")

VENDOR_ERRORS = (
    MinioException,
    MinioAdminException,
    HTTPError,
    HTTPException,
    OSError,
    # minio-py's parser raises these for responses that are not S3, such as a gateway's page.
    ET.ParseError,
    ValueError,
)


class MinioStore(MediaStore):
    """A ``MediaStore`` in ``bucket``, with the credentials and the region of ``settings``.

    Raises ``ConfigurationError`` for names that S3 does not allow.
    """

    def __init__(self, endpoint: str, bucket: str, *, secure: bool, settings: Settings) -> None:
        self._bucket = bucket
        self._region = settings.media_region
        self._unpacks = True
        try:
            check_bucket_name(bucket, strict=True)
            self._client, self._connections = open_s3(
                endpoint, secure=secure, settings=settings,
                timeout=urllib3.Timeout(connect=CONNECT_S, read=ANSWER_S), retries=False,
                connections=POOL_SIZE,
            )
        except ValueError as error:
            raise ConfigurationError(f"FACELINE_MEDIA_URL: {error}") from error

    def put(self, key: str, data: bytes) -> None:
        check_key(key)
        self._send(key, data)

    def _send(self, key: str, data: bytes, metadata: DictType | None = None) -> None:
        self._call(
            lambda _: self._client.put_object(
                self._bucket, key, io.BytesIO(data), len(data), metadata=metadata
            )
        )

    def put_many(self, pairs: Sequence[tuple[str, bytes]]) -> None:
        single: list[tuple[str, bytes]] = []
        for bundle in _bundles(pairs):
            if len(bundle) < 2 or not self._unpack(bundle):
                single += bundle
        with ThreadPoolExecutor(PUT_THREADS) as pool:
            for _ in pool.map(lambda pair: self.put(*pair), single):
                pass

    def _unpack(self, pairs: Sequence[tuple[str, bytes]]) -> bool:
        """Store objects with one call; False when the server does not support it."""
        if not self._unpacks:
            return False
        # Upkeep removes a bundle that is neither unpacked nor deleted.
        key = transient_media(tenant_of(pairs[0][0]), secrets.token_hex(16), "tar", time.time())
        try:
            self._send(key, _tar(pairs), {**UNPACK_HEADER})
            if self.exists(pairs[-1][0]):
                return True
            self._unpacks = False
            self.delete(key)
        except MediaUnavailable as error:
            if isinstance(error, MediaFull) or not isinstance(error.__cause__, S3Error):
                raise
            # The server answers but rejects the bundle; single puts may still work.
        return False

    def get(self, key: str) -> bytes:
        check_key(key)
        return check_bytes(key, self._call(
            lambda deadline: _read(self._client.get_object(self._bucket, key), deadline)
        ))

    def exists(self, key: str) -> bool:
        check_key(key)
        try:
            self._call(lambda _: self._client.stat_object(self._bucket, key))
        except MediaNotFound:
            return False
        return True

    def delete(self, key: str) -> None:
        check_key(key)
        self._call(lambda _: self._client.remove_object(self._bucket, key))

    def walk(self, prefix: str) -> Iterator[StoredObject]:
        if prefix:
            check_key(prefix.rstrip("/"))
        self.ping()
        with map_minio_errors(self._bucket):
            for found in self._client.list_objects(self._bucket, prefix, recursive=True):
                yield StoredObject(
                    key=found.object_name or "",
                    size=found.size or 0,
                    modified=found.last_modified.timestamp() if found.last_modified else 0.0,
                )

    def ping(self) -> None:
        # A request for headers alone gets no reason with its refusal.
        self._call(lambda _: next(self._client.list_objects(self._bucket, NO_KEY), None))

    def prepare(self) -> bool:
        try:
            self.ping()
        except MediaUnavailable as error:
            if not (isinstance(error.__cause__, S3Error) and error.__cause__.code == NO_BUCKET):
                raise
        else:
            return False
        self._call(lambda _: self._make_bucket())
        return True

    def check_access(self) -> None:
        self.ping()
        key = f"{NO_KEY}/{secrets.token_hex(16)}"
        self._call(lambda _: self._put_nothing(key))
        # Succeeds without an object, and removes what a server without checksums has taken.
        self._call(lambda _: self._client.remove_object(self._bucket, key))

    def server_time(self) -> float | None:
        return self._call(lambda _: self._date())

    def _date(self) -> float | None:
        url = self._client.get_presigned_url("GET", self._bucket, NO_KEY, PROBE_EXPIRY)
        told = self._connections.request("GET", url).headers.get("date")
        return None if told is None else parsedate_to_datetime(told).timestamp()

    def _put_nothing(self, key: str) -> None:
        """Put an object with another checksum than its own: a server that would let it be
        written refuses it for that."""
        url = self._client.get_presigned_url("PUT", self._bucket, key, PROBE_EXPIRY)
        answer = self._connections.request(
            "PUT", url, body=b"", headers={"Content-MD5": WRONG_MD5}
        )
        if answer.status == HTTPStatus.OK:
            return
        error = S3Error.fromxml(answer)
        if error.code not in BAD_CHECKSUM:
            raise error

    def try_write(self) -> None:
        key = probe_media(plain_name(PROBE))
        self.put(key, PROBE)
        self.delete(key)

    def _call(self, work: Callable[[float], Result]) -> Result:
        """Runs ``work``, with retries for a moment while the store is away (a kept connection
        that the server has closed, a restart). ``work`` takes its deadline (monotonic)."""
        began = time.monotonic()
        while True:
            try:
                with map_minio_errors(self._bucket):
                    return work(time.monotonic() + ANSWER_S)
            except MediaFull:
                raise
            except MediaUnavailable:
                if time.monotonic() + PAUSE_S > began + TRY_AGAIN_S:
                    raise
            time.sleep(PAUSE_S)

    def _make_bucket(self) -> None:
        try:
            self._client.make_bucket(self._bucket, self._region)
        except S3Error as error:
            # Another process has created it.
            if error.code != "BucketAlreadyOwnedByYou":
                raise


def _bundles(pairs: Sequence[tuple[str, bytes]]) -> Iterator[list[tuple[str, bytes]]]:
    """Groups small objects into bundles of a few megabytes; large ones stay single."""
    bundle: list[tuple[str, bytes]] = []
    size = 0
    for key, data in pairs:
        check_key(key)
        if len(data) > MAX_BUNDLED_BYTES:
            yield [(key, data)]
            continue
        bundle.append((key, data))
        size += len(data)
        if size >= BUNDLE_BYTES:
            yield bundle
            bundle, size = [], 0
    if bundle:
        yield bundle


def _tar(pairs: Sequence[tuple[str, bytes]]) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        for key, data in pairs:
            member = tarfile.TarInfo(key)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return packed.getvalue()


def _read(response: BaseHTTPResponse, deadline: float) -> bytes:
    """Reads the whole body by ``deadline`` (monotonic s); read() itself only limits the wait
    for each packet. Raises ``MediaUnavailable`` when it is late or short."""
    expected = response.headers.get("content-length")
    body = bytearray()
    # Closing drops a connection with unread bytes, which would otherwise be read as the
    # response to the next request.
    with closing(response):
        while block := response.read1(BLOCK_BYTES):
            body += block
            if time.monotonic() > deadline:
                break
        if not block and expected in (None, str(len(body))):
            response.release_conn()
            return bytes(body)
    raise MediaUnavailable(f"The media store sent {len(body)} of {expected} bytes in time.")


@contextmanager
def map_minio_errors(bucket: str) -> Iterator[None]:
    """Translates the errors of minio-py and urllib3 about ``bucket``."""
    try:
        yield
    except VENDOR_ERRORS as error:
        raise _translated(error, bucket) from error


def _translated(error: Exception, bucket: str) -> FaceError:
    if isinstance(error, S3Error) and error.code in ("NoSuchKey", "NoSuchVersion"):
        return MediaNotFound()
    if isinstance(error, S3Error) and (
        error.code in FULL_CODES or error.response.status == INSUFFICIENT_STORAGE
    ):
        return MediaFull(f"The media store has no space left: {str(error)[:300]}")
    return MediaUnavailable(explain_s3_error(error, bucket))
