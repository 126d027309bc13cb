"""Media in a bucket of any S3 server, through minio-py.

minio-py's own defaults keep a caller for up to half an hour on a server that does
not answer (five minutes, six times); here every call has one deadline. Only plain
calls are used (put, get, head, delete, list), so that any S3 store serves.
"""

from __future__ import annotations

import io
import time
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import TypeVar

import certifi
import urllib3
from minio import Minio
from minio.error import MinioException, S3Error
from minio.helpers import check_bucket_name
from urllib3.exceptions import HTTPError
from urllib3.response import BaseHTTPResponse

from pipeline.errors import ConfigurationError, FaceError, MediaNotFound, MediaUnavailable
from pipeline.media.base import StoredObject, check_bytes, check_key

# Seconds. A submit must answer within five when the store is away: tries begin within
# the first second, and the last one may wait for its connection and its answer.
CONNECT_S = 1.5
ANSWER_S = 2.5
TRY_AGAIN_S = 0.8
PAUSE_S = 0.1

BLOCK_BYTES = 256 * 1024
POOL_SIZE = 16  # connections; the shim's threads share them

Answer = TypeVar("Answer")

VENDOR_ERRORS = (
    MinioException,
    HTTPError,
    urllib3.exceptions.ProxySchemeUnsupported,  # the one of urllib3 outside its tree
    OSError,
    ET.ParseError,  # an answer that says it is XML and is not: something in between
    UnicodeDecodeError,
)


class MinioStore:
    """A ``MediaStore`` in ``bucket``, which is made when it is missing.

    Raises ``ConfigurationError`` for names that S3 does not allow.
    """

    def __init__(
        self, endpoint: str, bucket: str, *, access_key: str, secret_key: str, region: str,
        secure: bool,
    ) -> None:
        self._bucket = bucket
        self._region = region
        self._bucket_known = False
        try:
            check_bucket_name(bucket, strict=True)
            self._client = Minio(
                endpoint=endpoint,
                access_key=access_key or None,
                secret_key=secret_key or None,
                region=region,
                secure=secure,
                http_client=urllib3.PoolManager(
                    num_pools=2,
                    maxsize=POOL_SIZE,
                    timeout=urllib3.Timeout(connect=CONNECT_S, read=ANSWER_S),
                    retries=False,
                    cert_reqs="CERT_REQUIRED",
                    ca_certs=certifi.where(),
                ),
            )
        except ValueError as error:
            raise ConfigurationError(f"FACELINE_MEDIA_URL: {error}") from error

    def put(self, key: str, data: bytes) -> None:
        check_key(key)
        self._call(
            lambda _: self._client.put_object(self._bucket, key, io.BytesIO(data), len(data))
        )

    def get(self, key: str) -> bytes:
        check_key(key)

        def fetch(deadline: float) -> bytes:
            return _read(self._client.get_object(self._bucket, key), deadline)

        return check_bytes(key, self._call(fetch))

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
        with map_minio_errors():
            for found in self._client.list_objects(self._bucket, prefix, recursive=True):
                yield StoredObject(
                    key=found.object_name or "",
                    size=found.size or 0,
                    modified=found.last_modified.timestamp() if found.last_modified else 0.0,
                )

    def ping(self) -> None:
        self._call(lambda _: self._client.bucket_exists(self._bucket))

    def _call(self, work: Callable[[float], Answer]) -> Answer:
        """What ``work`` answers, tried again for a moment when the store is away (a
        kept connection that the server has closed, a restart). ``work`` gets the time
        (monotonic) at which it must have ended."""
        began = time.monotonic()
        while True:
            try:
                with map_minio_errors():
                    self._know_bucket()
                    return work(time.monotonic() + ANSWER_S)
            except MediaUnavailable:
                self._bucket_known = False
                if time.monotonic() + PAUSE_S > began + TRY_AGAIN_S:
                    raise
            time.sleep(PAUSE_S)

    def _know_bucket(self) -> None:
        if self._bucket_known:
            return
        try:
            if not self._client.bucket_exists(self._bucket):
                self._client.make_bucket(self._bucket, self._region)
        except S3Error as error:
            # Denied: keys that may use the bucket but not ask for it. Owned: another
            # process made it in between.
            if error.code not in ("AccessDenied", "BucketAlreadyOwnedByYou"):
                raise
        self._bucket_known = True


def _read(response: BaseHTTPResponse, deadline: float) -> bytes:
    """The whole body by ``deadline`` (monotonic s); read() itself only bounds the wait
    for each packet. Raises ``MediaUnavailable`` when it is late or short."""
    expected = response.headers.get("content-length")
    body = bytearray()
    # Closing throws away a connection with a rest in it: it would be read as the next
    # request's answer.
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
def map_minio_errors() -> Iterator[None]:
    """Translate all that minio-py and urllib3 raise."""
    try:
        yield
    except VENDOR_ERRORS as error:
        raise _translated(error) from error


def _translated(error: Exception) -> FaceError:
    if isinstance(error, S3Error) and error.code in ("NoSuchKey", "NoSuchVersion"):
        return MediaNotFound()
    return MediaUnavailable(f"The media store does not answer: {str(error)[:300]}")
