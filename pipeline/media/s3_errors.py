"""What the errors of an S3 store mean, and what to do."""

from __future__ import annotations

import ssl

from minio.error import S3Error
from urllib3.exceptions import (
    ConnectTimeoutError,
    HTTPError,
    NameResolutionError,
    NewConnectionError,
    ReadTimeoutError,
)

from pipeline.media.s3_credentials import CredentialsUnavailable

MEANINGS = {
    "NoSuchBucket": "There is no bucket {bucket}: correct FACELINE_MEDIA_URL, or let "
    "`faceline init` create it.",
    "InvalidAccessKeyId": "The media store does not know the access key: correct "
    "FACELINE_MEDIA_ACCESS_KEY.",
    "SignatureDoesNotMatch": "The media store rejects the secret key: correct "
    "FACELINE_MEDIA_SECRET_KEY.",
    "AccessDenied": "The media store denies access to the bucket {bucket}: its policy must allow "
    "this user (FACELINE_MEDIA_ACCESS_KEY, or a role) to get, put, delete and list.",
    "AllAccessDisabled": "The media store has disabled the bucket {bucket}.",
    "ExpiredToken": "The keys of the media store have expired: renew FACELINE_MEDIA_SESSION_TOKEN, "
    "or use a role.",
    "InvalidToken": "The media store rejects the session token, or misses one: correct "
    "FACELINE_MEDIA_SESSION_TOKEN.",
    "InvalidTokenId": "The media store rejects the session token, or misses one: correct "
    "FACELINE_MEDIA_SESSION_TOKEN.",
    "RequestTimeTooSkewed": "The media store's clock differs from this machine's by more than "
    "15 minutes: set both by NTP.",
    "AuthorizationHeaderMalformed": "The bucket {bucket} is in another region: correct "
    "FACELINE_MEDIA_REGION.",
    "PermanentRedirect": "The bucket {bucket} is in another region: correct FACELINE_MEDIA_REGION.",
}
"""By the code of S3."""


def explain_s3_error(error: Exception, bucket: str) -> str:
    """One sentence about an error of minio-py or urllib3."""
    if isinstance(error, CredentialsUnavailable):
        return f"The media store cannot be used: {error}"
    if isinstance(error, S3Error) and error.code in MEANINGS:
        return f"{MEANINGS[error.code].format(bucket=bucket)} ({error.code})"
    return f"The media store does not answer: {reason_of(error)}"


def reason_of(error: Exception) -> str:
    """What keeps a connection from being made; else the error's own words."""
    reason = getattr(error, "reason", None) or error
    if isinstance(reason, NameResolutionError):
        return "its name does not resolve"
    if isinstance(reason, NewConnectionError):  # also a ConnectTimeoutError
        return str(reason).rpartition(": ")[2]  # urllib3 names its objects first
    if isinstance(reason, ConnectTimeoutError | ReadTimeoutError):
        return "no answer in time"
    cause = reason.args[0] if isinstance(reason, HTTPError) and reason.args else None
    if isinstance(cause, ssl.SSLCertVerificationError):
        return (
            f"its certificate is not trusted ({cause.verify_message}); add its authority to the "
            "system's, or name it in SSL_CERT_FILE"
        )
    if isinstance(cause, ssl.SSLError):
        return f"no TLS connection ({cause.reason}); choose between s3+http:// and s3+https://"
    return str(error)[:300]
