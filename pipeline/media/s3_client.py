"""Clients of S3 stores, for media and for sources of pictures."""

from __future__ import annotations

import urllib3
from minio import Minio

from pipeline.config.settings import Settings
from pipeline.media.s3_credentials import find_credentials
from pipeline.tls import client_tls


def open_s3(
    endpoint: str, *, secure: bool, settings: Settings, timeout: urllib3.Timeout,
    retries: urllib3.Retry | bool, connections: int = 10,
) -> tuple[Minio, urllib3.PoolManager]:
    """A client with the region and the credentials of ``settings``, and the connections that it
    uses; neither connects yet. Raises ``ValueError`` for an endpoint that is none."""
    pool = urllib3.PoolManager(
        num_pools=2, maxsize=connections, timeout=timeout, retries=retries,
        ssl_context=client_tls() if secure else None,
    )
    client = Minio(
        endpoint=endpoint, region=settings.media_region, secure=secure, http_client=pool,
        credentials=find_credentials(settings),
    )
    return client, pool
