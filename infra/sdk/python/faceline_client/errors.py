"""Everything that the client raises.

    FacelineError
    |-- CredentialMissing       the client was given no credential of the kind that a call needs
    |-- ConnectionLost          no answer came; whether the service acted is not known
    |-- TimedOut                the job is not finished in the time given; it goes on
    |-- UnexpectedAnswer        what answered is no face service, or a newer one
    |-- WebhookRefused          a webhook's signature or time does not fit
    `-- ApiError                the service refused the call, or its job failed
        |-- BadInput            a parameter cannot be used
        |   |-- BadPicture      no picture, in a format that is not taken, damaged, too large
        |   |-- NoFace          no face in a picture that must have one
        |   |-- ManyFaces       several faces where one is meant
        |   |-- BadQuality      the face is too small, blurred, dark, ... to be enrolled
        |   |-- BadClip         no clip, damaged, too large or too long
        |   `-- ChallengeRefused  no such challenge, used, expired, or one is obligatory
        |-- Unauthorized        no credential, a wrong or an expired one
        |-- NotPermitted        the operation is closed to the application
        |-- NotFound            no such face, collection, picture, job, batch
        |-- Conflict            what exists already does not allow this
        |-- RateLimited         a rate or a quota is used up
        |-- Unavailable         the service is overloaded, or a part of it is away
        `-- JobFailed           the job was cancelled, crashed, or the model pack cannot do it
"""

from __future__ import annotations


class FacelineError(Exception):
    """Anything that goes wrong in this package."""


class CredentialMissing(FacelineError):
    """The client was given no credential of the kind that the call needs."""


class ConnectionLost(FacelineError):
    """No answer came, also when the call was repeated where that is safe."""


class TimedOut(FacelineError):
    """The job has not ended in the time given. It goes on: ``client.job(job_id, ...)`` waits
    again."""

    def __init__(self, message: str, *, job_id: str) -> None:
        self.job_id = job_id
        super().__init__(message)


class UnexpectedAnswer(FacelineError):
    """The answer is not one of a face service: a proxy's, say, or a much newer one's.
    ``status`` is its HTTP status."""

    def __init__(self, message: str, *, status: int) -> None:
        self.status = status
        super().__init__(message)


class WebhookRefused(FacelineError):
    """The message is not signed with the secret, or its time is too far from now."""


class ApiError(FacelineError):
    """The service refused the call, or its job failed.

    ``status`` is the HTTP status, which can be 200: some documents say everything in a
    ``code``. ``message`` is the service's sentence, empty where a document has none.
    ``request_id`` finds the request in the service's logs, ``job_id`` the job if there is one.
    """

    def __init__(
        self, message: str = "", *, status: int = 0, code: str = "", request_id: str = "",
        job_id: str = "", retry_after: float | None = None,
    ) -> None:
        self.message = message
        self.status = status
        self.code = code
        self.request_id = request_id
        self.job_id = job_id
        self.retry_after = retry_after
        """Seconds until the same call may pass; None where the service does not say."""
        super().__init__(message)

    def __str__(self) -> str:
        said = self.message or (type(self).__doc__ or "").partition(".")[0]
        named = {"code": self.code, "request": self.request_id, "job": self.job_id}
        told = ", ".join(f"{name} {value}" for name, value in named.items() if value)
        return f"{said} ({told})" if told else said


class BadInput(ApiError):
    """A parameter cannot be used."""


class BadPicture(BadInput):
    """The picture cannot be used: its format, its size, or damage."""


class NoFace(BadInput):
    """No face was found in a picture."""


class ManyFaces(BadInput):
    """More faces are in the picture than the operation takes."""


class BadQuality(BadInput):
    """The face is not good enough to be enrolled."""

    @property
    def reason(self) -> str:
        """The first limit that failed: ``size``, ``blur``, ``brightness``, ``contrast``,
        ``yaw``, ``pitch`` or ``roll``."""
        return self.message.partition(":")[2]


class BadClip(BadInput):
    """The clip cannot be used: its format, its size or length, or damage."""


class ChallengeRefused(BadInput):
    """The challenge cannot be used, or one is obligatory."""


class Unauthorized(ApiError):
    """The credential is missing, wrong or expired, or its application disabled."""


class NotPermitted(ApiError):
    """The operation is closed to the application."""


class NotFound(ApiError):
    """No such thing, or another application's."""


class Conflict(ApiError):
    """What exists already does not allow this."""


class RateLimited(ApiError):
    """A rate or a quota is used up; ``retry_after`` says until when."""


class Unavailable(ApiError):
    """The service is overloaded or a part of it is away; ``retry_after`` says for how long."""


class JobFailed(ApiError):
    """The job ended without a result."""
