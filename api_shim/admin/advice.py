"""What to do about an error of a job or a request: a sentence for operators by the error's code.

The console translates the sentences. ``docs/runbooks.md`` says more where an alert belongs to it.
"""

from __future__ import annotations

from functools import cache

from pipeline import errors
from pipeline.errors import FaceError

ADVICE: dict[type[FaceError], str] = {
    errors.BadInput: "The client has to send another request: the message says what is wrong.",
    errors.MissingParameter: "The client has to send the parameter that the message names.",
    errors.InvalidParameter: "The client has to correct the parameter that the message names.",
    errors.BadEncoding: "The client has to encode the whole picture in Base64, once.",
    errors.MediaTooLarge: "The client has to send a smaller file, or the limit is raised.",
    errors.NotAPicture: "The client has to send a picture in one of the accepted formats.",
    errors.PictureCorrupt: "The client has to send the whole file again.",
    errors.PictureOutOfRange: "The client has to scale the picture to the size that is taken.",
    errors.NoFace: "Ask for a picture in which a face is larger, upright and not covered.",
    errors.ManyFaces: "Ask for a picture with one person, or crop it.",
    errors.BadQuality: "Ask for a sharper, frontal picture in even light.",
    errors.DownloadRefused: "Check that the address is public and answers with the picture.",
    errors.DownloadTimedOut: "Check how fast the server of the address is, then retry the job.",
    errors.ClipCorrupt: "The client has to record the clip again, shorter or in a usual format.",
    errors.RequestRefused: "Check the credentials and the permissions of the application.",
    errors.ReplayedRequest: "The client has to sign each request anew.",
    errors.StaleRequest: "Set the client's clock by NTP.",
    errors.IdempotencyConflict: "The client has to use a new Idempotency-Key for each request.",
    errors.CredentialExpired: "Rotate the credentials of the application.",
    errors.NotPermitted: "Give the application the permission, if it should have it.",
    errors.ChallengeUnusable: "The client has to ask for a challenge before each clip.",
    errors.LimitReached: "Raise the limit of the application, or ask the client to send less.",
    errors.NotFound: "What the request names was deleted or never there: check its ids.",
    errors.Conflict: "Nothing to mend: the gallery has what the request would add.",
    errors.CollectionLimit: "Delete collections that are not used any more.",
    errors.Unavailable: "Run faceline doctor: a store was away for too long. Then retry the job.",
    errors.MediaUnavailable: "Check that the media store answers and has space, then retry.",
    errors.BrokerUnavailable: "Check that Redis or the broker answers; jobs wait meanwhile.",
    errors.DatabaseUnavailable: "Check that the database answers and has space.",
    errors.Overloaded: "Start more workers, or limit the application that sends so much.",
    errors.IndexBehind: "Check that the index process runs and keeps up, then retry the job.",
    errors.DecoderUnavailable: "Check memory and processes of the worker's machine, then retry.",
    errors.OperationUnknown: "Finish the upgrade: a worker is older than the service.",
    errors.PackError: "Check the model pack with faceline doctor, then retry the job.",
    errors.TaskUnsupported: "Choose a pack with a model for this task.",
    errors.Uncalibrated: "Run faceline calibrate, then retry the job.",
    errors.PackMismatch: "Use the pack that the gallery was made with, or enrol it again.",
    errors.WrongPack: "Install the deployment's pack on the machine of that worker.",
    errors.JobCrashed: "The picture killed its worker each time: look at the worker's log.",
    errors.JobCancelled: "Nothing to mend: the client or an operator cancelled the job.",
    errors.JobTimedOut: "Retry the job; if it times out again, look at the load of the workers.",
    errors.MediaCorrupt: "Check the disks of the media store, and restore the object.",
    errors.DecryptionFailed: "Check the master key and the data key of the application.",
    errors.ConfigurationError: "Correct the setting that the message names.",
    FaceError: "A fault of the service: its log has the traceback beside the job's id.",
}


def advice_on(code: str) -> str:
    """The sentence about a code of an error: that of the nearest class in the tree of errors."""
    kind = _kinds().get(code, FaceError)
    return next(ADVICE[each] for each in kind.__mro__ if each in ADVICE)


@cache
def _kinds() -> dict[str, type[FaceError]]:
    """The classes of errors by their codes; where several share one, the highest."""
    found: dict[str, type[FaceError]] = {}
    level: list[type[FaceError]] = [FaceError]
    while level:
        for kind in level:
            found.setdefault(kind.code, kind)
        level = [below for kind in level for below in kind.__subclasses__()]
    return found
