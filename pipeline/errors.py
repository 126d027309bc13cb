"""All errors, in one tree.

    FaceError
    |-- BadInput                the request cannot be used
    |   |-- MissingParameter    |-- InvalidParameter   |-- BadEncoding
    |   |                       |   `-- NotUtf8
    |   |-- MediaTooLarge       |-- NotAPicture        |-- PictureCorrupt
    |   |                       |   `-- FormatNotAccepted
    |   |-- PictureOutOfRange   |-- NoFace             |-- ManyFaces
    |   |-- BadQuality          |-- DownloadRefused    |-- DownloadTimedOut
    |   `-- ClipCorrupt             |-- ClipOutOfRange
    |-- RequestRefused          the caller may not do this
    |   |-- BadSignature        |-- BadCredentials     |-- ReplayedRequest
    |   |-- WrongCode           |-- LinkUnusable
    |   |-- StaleRequest        |-- IdempotencyConflict
    |   |-- CredentialExpired   |-- NotPermitted       |-- ChallengeRequired
    |   |-- ChallengeUnusable   |-- CrossSiteRequest
    |   `-- LimitReached            |-- RateLimited    |-- QuotaExceeded
    |-- NotFound
    |   |-- JobNotFound         |-- MediaNotFound      |-- TenantNotFound
    |   |-- FaceNotFound        |-- PersonNotFound     |-- ImageNotFound
    |   |-- CollectionNotFound  |-- CredentialNotFound   |-- BatchNotFound
    |   |-- ReceiptNotFound     |-- FindingNotFound
    |   |-- WebhookNotFound     |-- DeliveryNotFound   |-- OperatorNotFound
    |-- Conflict                existing data prevents it
    |   |-- FaceExists          |-- CollectionExists   |-- CollectionNameTaken
    |   |-- CollectionLimit     |-- CollectionInUse
    |   |-- BatchBusy           |-- BatchCancelled
    |   |-- OperatorExists      |-- LastAdministrator
    |-- Unavailable             a part of the service is away; retryable
    |   |-- MediaUnavailable    |-- BrokerUnavailable  |-- DatabaseUnavailable
    |   |   `-- MediaFull                                   `-- DatabaseFull
    |   |-- Overloaded            |-- IndexBehind
    |   |-- DecoderUnavailable    |-- OperationUnknown  |-- GalleryBusy
    |-- PackError               the model pack cannot serve the request
    |   |-- PackMissing         |-- PackDamaged        |-- TaskUnsupported
    |   |-- ProviderUnavailable |-- Uncalibrated       |-- DownloadFailed
    |   |-- PackMismatch        |-- BadVector          |-- WrongPack
    |-- JobLost                 the job ended without a result
    |   |-- JobCrashed          |-- JobCancelled       |-- JobTimedOut
    |-- SnapshotUnusable        a stored index is damaged or of another gallery
    |-- MediaCorrupt            the media store returned other bytes than were stored; retryable
    |   `-- MediaDamaged        again and again
    |-- DecryptionFailed        encrypted data cannot be decrypted
    |-- SignatureInvalid        a signed document was changed, or is of another deployment
    |-- BackupUnusable          a backup is damaged, incomplete or of another version
    |-- IntermediateLost        a stage's input is gone; the job starts over
    |-- ConfigurationError
    |   `-- WrongMasterKey      also Unavailable: it passes once the right key is configured

``code`` is the neutral name that a job row stores and a dialect translates. ``retryable`` errors
may not recur when the same call is repeated later. The docstring of a class is its default message.
"""

from __future__ import annotations

import re
from typing import ClassVar


class FaceError(Exception):
    """Something went wrong."""

    code: ClassVar[str] = "internal"
    retryable: ClassVar[bool] = False
    reason: str | None = None
    """One word of detail for dialects that show it."""

    def __init__(self, message: str | None = None, *, picture: int | None = None) -> None:
        """``picture`` is the index of the picture at fault among a job's pictures."""
        self.message = message or (type(self).__doc__ or "").strip()
        self.picture = picture
        super().__init__(self.message)

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if "code" not in cls.__dict__:
            cls.code = re.sub(r"(?<!^)(?=[A-Z])", "_", cls.__name__).lower()


class BadInput(FaceError):
    """The request cannot be used."""


class MissingParameter(BadInput):
    """A required parameter is missing."""


class InvalidParameter(BadInput):
    """A parameter has a wrong type or value."""


class NotUtf8(InvalidParameter):
    """The text is not UTF-8."""

    code = InvalidParameter.code  # only document c tells it from other wrong values


class BadEncoding(BadInput):
    """The picture is not valid Base64."""


class MediaTooLarge(BadInput):
    """The file is larger than the limit."""


class NotAPicture(BadInput):
    """The bytes are not a picture in an accepted format."""


class FormatNotAccepted(NotAPicture):
    """The picture is in a format that this operation does not take."""


class PictureCorrupt(BadInput):
    """The picture is truncated or damaged."""


class PictureOutOfRange(BadInput):
    """The picture has too few or too many pixels."""


class NoFace(BadInput):
    """No face was found in the picture."""


class ManyFaces(BadInput):
    """More faces were found in the picture than the operation takes."""


class BadQuality(BadInput):
    """The face is not good enough to be enrolled."""

    def __init__(self, reason: str, *, picture: int | None = None) -> None:
        """``reason`` names the first failed limit: ``blur``, ``yaw``, ..."""
        self.reason = reason
        super().__init__(f"The face did not pass the quality check: {reason}", picture=picture)


class DownloadRefused(BadInput):
    """The picture could not be fetched from its URL."""


class DownloadTimedOut(BadInput):
    """The picture could not be fetched from its URL in time."""


class ClipCorrupt(BadInput):
    """The clip is in no accepted format, or no frame of it can be decoded."""


class ClipOutOfRange(ClipCorrupt):
    """The clip is larger, longer or has more frames than is accepted."""


class RequestRefused(FaceError):
    """The caller may not do this."""

    code = "refused"


class BadSignature(RequestRefused):
    """The signature does not match, or the application is unknown."""


class BadCredentials(RequestRefused):
    """The credentials are missing or wrong."""


class WrongCode(RequestRefused):
    """The one-time code is wrong, or was used before."""


class LinkUnusable(RequestRefused):
    """The link was used before, has expired, or was replaced by a newer one."""


class IdentityRefused(RequestRefused):
    """Who the identity provider names is not let in."""

    def __init__(self, message: str | None = None, detail: str = "") -> None:
        """``detail`` is for the audit log."""
        self.detail = detail
        super().__init__(message)


class CrossSiteRequest(RequestRefused):
    """A page of another site sent the request, and it has no credentials."""

    reason = "CROSS_SITE"


class ReplayedRequest(RequestRefused):
    """The same signed request was already accepted."""


class StaleRequest(RequestRefused):
    """The request's timestamp is outside the accepted window."""


class IdempotencyConflict(RequestRefused):
    """The Idempotency-Key was already used for another request."""


class ChallengeRequired(RequestRefused):
    """The application must send a Challenge instead of an Action: ask for one before the clip
    is recorded."""


class ChallengeUnusable(RequestRefused):
    """The challenge cannot be used; ask for another one."""

    def __init__(self, reason: str) -> None:
        """``reason``: ``unknown``, ``expired``, ``used`` or ``other_face``."""
        self.reason = reason
        why = {
            "unknown": "is not known", "expired": "has expired", "used": "was used before",
            "other_face": "was issued for another face",
        }[reason]
        super().__init__(f"The challenge {why}; ask for another one.")


class CredentialExpired(RequestRefused):
    """The credentials have expired."""

    reason = "KEY_EXPIRED"


class NotPermitted(RequestRefused):
    """The application may not use this operation."""

    reason = "NO_PERMISSION"


class LimitReached(RequestRefused):
    """The application has used up what it may use."""

    def __init__(self, message: str | None = None, *, retry_after_s: float = 1.0) -> None:
        """``retry_after_s``: seconds until the same call may pass, without other calls."""
        self.retry_after_s = retry_after_s
        super().__init__(message)


class RateLimited(LimitReached):
    """Too many requests in a short time."""


class QuotaExceeded(LimitReached):
    """The quota of calls is used up."""

    reason = "OUT_OF_QUOTA"


class NotFound(FaceError):
    """No such thing."""


class ReceiptNotFound(NotFound):
    """No such receipt."""


class JobNotFound(NotFound):
    """No such job."""


class MediaNotFound(NotFound):
    """The stored picture is gone."""


class TenantNotFound(NotFound):
    """No such tenant."""


class CredentialNotFound(NotFound):
    """No such live credential."""


class FaceNotFound(NotFound):
    """No such face."""


class PersonNotFound(NotFound):
    """No such person."""


class ImageNotFound(NotFound):
    """No such image."""


class CollectionNotFound(NotFound):
    """No such collection."""


class BatchNotFound(NotFound):
    """No such batch."""


class FindingNotFound(NotFound):
    """There is no such finding, or one of its faces is gone."""


class OperatorNotFound(NotFound):
    """There is no such operator."""


class WebhookNotFound(NotFound):
    """No such webhook."""


class DeliveryNotFound(NotFound):
    """No such delivery of a webhook."""


class Conflict(FaceError):
    """Existing data does not allow this."""


class FaceExists(Conflict):
    """The face was already enrolled."""


class CollectionExists(Conflict):
    """A collection with this id exists."""


class CollectionNameTaken(Conflict):
    """A collection with this name exists."""


class CollectionLimit(Conflict):
    """The tenant has as many collections as it may have."""


class CollectionInUse(Conflict):
    """The collection is in use and cannot be deleted."""


class BatchBusy(Conflict):
    """The batch's source is already being read."""


class BatchCancelled(Conflict):
    """The batch was cancelled."""


class OperatorExists(Conflict):
    """An operator of this name, or of this identity, exists."""


class LastAdministrator(Conflict):
    """This is the last administrator who is not disabled: make another one first."""


class Unavailable(FaceError):
    """A part of the service is away; try again later."""

    retryable = True


class MediaUnavailable(Unavailable):
    """The media store does not answer."""


class MediaFull(MediaUnavailable):
    """The media store has no space left."""


class BrokerUnavailable(Unavailable):
    """The message broker does not answer."""


class DatabaseUnavailable(Unavailable):
    """The database does not answer."""


class DatabaseFull(DatabaseUnavailable):
    """The database has no space left."""


class Overloaded(Unavailable):
    """Too much work is waiting; try again later."""

    reason = "OVERLOADED"


class IdentityProviderUnavailable(Unavailable):
    """The identity provider does not answer. Sign in by a password, or try again later."""

    def __init__(self, detail: str = "") -> None:
        """``detail`` is for the logs, and for `faceline doctor`."""
        self.detail = detail
        super().__init__()


class GalleryBusy(Unavailable):
    """Another change of the gallery takes long; try again later."""


class DecoderUnavailable(Unavailable):
    """No decoder process can be started."""


class IndexBehind(Unavailable):
    """The index has not applied the change that the search needs."""


class OperationUnknown(Unavailable):
    """This worker is older than the service that accepted the job; another one runs it."""


class PackError(FaceError):
    """The model pack cannot be used."""


class PackMissing(PackError):
    """No such model pack was found."""


class PackDamaged(PackError):
    """A model file does not have the checksum that its manifest states."""


class TaskUnsupported(PackError):
    """The model pack does not serve this task."""


class ProviderUnavailable(PackError):
    """The configured execution provider is not available on this machine."""


class Uncalibrated(PackError):
    """The model pack has no calibration table; run `faceline calibrate`."""


class PackUpgradeInCourse(PackError):
    """An upgrade of the pack is in course; end it with `faceline packs upgrade --finish`."""


class UpgradeNotReady(PackError):
    """The pack cannot be switched yet."""


class DownloadFailed(PackError):
    """The model pack could not be downloaded."""


class PackMismatch(PackError):
    """The gallery was made with another model pack; enrol it again to change the pack."""


class WrongPack(PackError):
    """This process has another model pack than the deployment."""


class BadVector(PackError):
    """The model's output is not a unit vector of finite numbers."""


class JobLost(FaceError):
    """The job ended without a result."""


class JobCrashed(JobLost):
    """The job's worker process died each time it was tried."""


class JobCancelled(JobLost):
    """The job was cancelled."""


class JobTimedOut(JobLost):
    """The job could not be finished within its time."""


class SnapshotUnusable(FaceError):
    """The stored index cannot be used."""


class DecryptionFailed(FaceError):
    """Encrypted data was changed, or was encrypted under another key."""


class MediaCorrupt(FaceError):
    """The stored picture or clip was read damaged."""

    retryable = True


class MediaDamaged(MediaCorrupt):
    """The stored picture or clip is damaged."""

    code = MediaCorrupt.code
    retryable = False


class SignatureInvalid(FaceError):
    """The document was changed, or another deployment has signed it."""


class BackupUnusable(FaceError):
    """The backup cannot be used."""


class IntermediateLost(FaceError):
    """The input of a stage is gone from the broker; the job starts over."""


class ConfigurationError(FaceError):
    """The configuration cannot work."""


class WrongMasterKey(ConfigurationError, Unavailable):
    """The configured master key is not the one that the database's secrets are encrypted under."""
