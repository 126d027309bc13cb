"""Where the keys of an S3 store come from, in the order of AWS's own tools."""

from __future__ import annotations

import configparser
import os
import re
import threading
import time
from collections.abc import Callable
from pathlib import Path

import urllib3
from minio.credentials.credentials import Credentials
from minio.credentials.providers import (
    AWSConfigProvider,
    EnvAWSProvider,
    EnvMinioProvider,
    IamAwsProvider,
    Provider,
    StaticProvider,
)
from urllib3.exceptions import HTTPError

from pipeline.config.settings import Settings
from pipeline.tls import client_tls

# Seconds for connecting to who gives out a role's keys, and for an answer. A machine that is in
# no cloud has nobody at the address, and often no answer either.
CONNECT_S = 1.0
ANSWER_S = 2.0

# Seconds until a machine without keys looks for a role again.
LOOK_AGAIN_S = 60.0

CONTAINER_ROLE = (
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "AWS_CONTAINER_CREDENTIALS_FULL_URI",
)


class CredentialsUnavailable(ValueError):
    """No keys from the place where they should come from; the message has no secret."""


def find_credentials(settings: Settings) -> Provider:
    """The keys of the settings; without them the first that the environment offers."""
    if settings.media_access_key:
        return StaticProvider(
            settings.media_access_key, settings.media_secret_key.get_secret_value(),
            settings.media_session_token.get_secret_value() or None,
        )
    return FoundCredentials()


class FoundCredentials(Provider):
    """Keys from the environment, a web identity, AWS's credentials file, the role of the container
    or of the machine: the first place that is configured. Temporary keys are renewed before they
    expire. Requests of a machine that has none are not signed. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._place, self._provider = self._choose()
        self._look_at = 0.0

    def retrieve(self) -> Credentials:
        """Raises ``CredentialsUnavailable``. None, which minio-py takes for "do not sign", from a
        machine without a role."""
        with self._lock:
            if time.monotonic() < self._look_at:
                return None  # type: ignore[return-value]
            try:
                return self._provider.retrieve()
            except (ValueError, OSError, KeyError, HTTPError, configparser.Error) as error:
                if not self._place:
                    self._look_at = time.monotonic() + LOOK_AGAIN_S
                    return None  # type: ignore[return-value]
                raise CredentialsUnavailable(
                    f"no S3 credentials from {self._place}: {_without_secrets(error)}"
                ) from error

    def _choose(self) -> tuple[str, Provider]:
        """The place, empty for a machine that may have no role, and its provider."""
        has = os.environ.get
        places: tuple[tuple[object, str, Callable[[], Provider]], ...] = (
            (has("AWS_ACCESS_KEY_ID") or has("AWS_ACCESS_KEY"),
             "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY", EnvAWSProvider),
            (has("MINIO_ACCESS_KEY"), "MINIO_ACCESS_KEY and MINIO_SECRET_KEY", EnvMinioProvider),
            (has("AWS_WEB_IDENTITY_TOKEN_FILE"), "the web identity in AWS_WEB_IDENTITY_TOKEN_FILE",
             lambda: _role(has("AWS_ENDPOINT_URL_STS"))),
            (has("AWS_PROFILE") or _file_has_keys(), "AWS's credentials file",
             AWSConfigProvider),
            (any(map(has, CONTAINER_ROLE)), "the container's role", _role),
        )
        for configured, place, provider in places:
            if configured:
                return place, provider()
        return "", _role(has("AWS_EC2_METADATA_SERVICE_ENDPOINT"))


def _file_has_keys() -> bool:
    file = configparser.ConfigParser()
    file.read(
        os.environ.get("AWS_SHARED_CREDENTIALS_FILE") or Path.home() / ".aws" / "credentials"
    )
    return file.has_option("default", "aws_access_key_id")


def _role(endpoint: str | None = None) -> Provider:
    return IamAwsProvider(
        custom_endpoint=endpoint,
        http_client=urllib3.PoolManager(
            timeout=urllib3.Timeout(connect=CONNECT_S, read=ANSWER_S), retries=False,
            ssl_context=client_tls(),
        ),
    )


def _without_secrets(error: Exception) -> str:
    """The message without the query of an address, in which a web identity sends its token."""
    return re.sub(r"\?\S+", "", str(error))[:300]
