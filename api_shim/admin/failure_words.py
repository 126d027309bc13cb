"""What went wrong, and what to do about it, in words: by the code of an error or of a refusal.

These are the English sentences; the console translates them (``locale/*/failures.po``).
``docs/runbooks.md`` says more where an alert belongs to it.
"""

from __future__ import annotations

from dataclasses import dataclass

from pipeline import errors
from pipeline.batches.model import NOT_IN_SOURCE, SAME_PICTURE
from pipeline.batches.reject import SAME_PERSON
from pipeline.errors import FaceError
from pipeline.sources.base import RefusalReason


@dataclass(frozen=True, slots=True)
class FailureWords:
    """``why`` is what is the case; ``advice`` what an operator does about a client's job;
    ``own`` what to do about a file of one's own."""

    why: str
    advice: str
    own: str


_FIND_IDS = "What the request names was deleted or never there: check its ids."
_LIST = "Look it up in its list: it may have been deleted meanwhile."
_NOTHING = "Nothing to mend: the gallery has what the request would add."
_PACK = "Check the model pack with faceline doctor, then retry the job."
_SIGN_IN = "Sign in again, or ask an administrator for a new link."
_ANOTHER_NAME = "Choose another name, or change the one that exists."
_RESTORE = "Use another backup, or the same version of the service."
_SIGN_ANEW = "The client has to sign each request anew."
_CREDENTIALS = "Check the credentials and the permissions of the application."
_DATABASE = "Check that the database answers and has space."
_MEDIA = "Check that the media store answers and has space, then retry."
_DISKS = "Check the disks of the media store, and restore the object."
_LIMIT = "Raise the limit of the application, or ask the client to send less."
_CHALLENGE = "The client has to ask for a challenge before each clip."
_INDEX = "Check that the index process runs and keeps up, then retry the job."

ADVICE: dict[type[FaceError], str] = {
    FaceError: "A fault of the service: its log has the traceback beside the job's id.",
    errors.BadInput: "The client has to send another request: the message says what is wrong.",
    errors.MissingParameter: "The client has to send the parameter that the message names.",
    errors.InvalidParameter: "The client has to correct the parameter that the message names.",
    errors.BadEncoding: "The client has to encode the whole picture in Base64, once.",
    errors.MediaTooLarge: "The client has to send a smaller file, or the limit is raised.",
    errors.NotAPicture: "The client has to send a picture in one of the accepted formats.",
    errors.FormatNotAccepted: "The client has to send a picture in one of the accepted formats.",
    errors.PictureCorrupt: "The client has to send the whole file again.",
    errors.PictureOutOfRange: "The client has to scale the picture to the size that is taken.",
    errors.NoFace: "Ask for a picture in which a face is larger, upright and not covered.",
    errors.ManyFaces: "Ask for a picture with one person, or crop it.",
    errors.BadQuality: "Ask for a sharper, frontal picture in even light.",
    errors.DownloadRefused: "Check that the address is public and answers with the picture.",
    errors.DownloadTimedOut: "Check how fast the server of the address is, then retry the job.",
    errors.ClipCorrupt: "The client has to record the clip again, shorter or in a usual format.",
    errors.ClipOutOfRange: "The client has to record the clip again, shorter or in a usual format.",
    errors.RequestRefused: _CREDENTIALS,
    errors.BadSignature: _CREDENTIALS,
    errors.BadCredentials: _CREDENTIALS,
    errors.WrongCode: _SIGN_IN,
    errors.LinkUnusable: _SIGN_IN,
    errors.IdentityRefused: _SIGN_IN,
    errors.CrossSiteRequest: "Open the service's own address, and not from a page of another site.",
    errors.ReplayedRequest: _SIGN_ANEW,
    errors.StaleRequest: "Set the client's clock by NTP.",
    errors.IdempotencyConflict: "The client has to use a new Idempotency-Key for each request.",
    errors.ChallengeRequired: _CHALLENGE,
    errors.ChallengeUnusable: _CHALLENGE,
    errors.CredentialExpired: "Rotate the credentials of the application.",
    errors.NotPermitted: "Give the application the permission, if it should have it.",
    errors.LimitReached: _LIMIT,
    errors.RateLimited: _LIMIT,
    errors.QuotaExceeded: _LIMIT,
    errors.NotFound: _FIND_IDS,
    errors.JobNotFound: _FIND_IDS,
    errors.MediaNotFound: _FIND_IDS,
    errors.FaceNotFound: _FIND_IDS,
    errors.PersonNotFound: _FIND_IDS,
    errors.ImageNotFound: _FIND_IDS,
    errors.CollectionNotFound: _FIND_IDS,
    errors.BatchNotFound: _FIND_IDS,
    errors.TenantNotFound: _LIST,
    errors.CredentialNotFound: _LIST,
    errors.ReceiptNotFound: _LIST,
    errors.FindingNotFound: _LIST,
    errors.WebhookNotFound: _LIST,
    errors.DeliveryNotFound: _LIST,
    errors.OperatorNotFound: _LIST,
    errors.Conflict: _NOTHING,
    errors.FaceExists: _NOTHING,
    errors.CollectionExists: _NOTHING,
    errors.CollectionNameTaken: _ANOTHER_NAME,
    errors.CollectionLimit: "Delete collections that are not used any more.",
    errors.CollectionInUse: "Take what uses the collection out of it first.",
    errors.BatchBusy: "Wait until the source is read, or cancel the batch.",
    errors.BatchCancelled: "Start the batch again: what is enrolled already is passed over.",
    errors.OperatorExists: _ANOTHER_NAME,
    errors.LastAdministrator: "Make another administrator first.",
    errors.Unavailable: "Run faceline doctor: a store was away for too long. Then retry the job.",
    errors.MediaUnavailable: _MEDIA,
    errors.MediaFull: _MEDIA,
    errors.BrokerUnavailable: "Check that Redis or the broker answers; jobs wait meanwhile.",
    errors.IdentityProviderUnavailable: "Check that the identity provider answers.",
    errors.DatabaseUnavailable: _DATABASE,
    errors.DatabaseFull: _DATABASE,
    errors.Overloaded: "Start more workers, or limit the application that sends so much.",
    errors.GalleryBusy: "Wait until the large change of the gallery is done, then retry the job.",
    errors.IndexBehind: _INDEX,
    errors.SnapshotUnusable: _INDEX,
    errors.DecoderUnavailable: "Check memory and processes of the worker's machine, then retry.",
    errors.OperationUnknown: "Finish the upgrade: a worker is older than the service.",
    errors.PackError: _PACK,
    errors.PackMissing: _PACK,
    errors.PackDamaged: _PACK,
    errors.DownloadFailed: _PACK,
    errors.BadVector: _PACK,
    errors.ProviderUnavailable: "Choose a provider that the machine of that worker has.",
    errors.TaskUnsupported: "Choose a pack with a model for this task.",
    errors.Uncalibrated: "Run faceline calibrate, then retry the job.",
    errors.PackMismatch: "Use the pack that the gallery was made with, or enrol it again.",
    errors.WrongPack: "Install the deployment's pack on the machine of that worker.",
    errors.PackUpgradeInCourse: "Finish or give up the upgrade of the pack first.",
    errors.UpgradeNotReady: "Look at faceline packs upgrade --status, then switch again.",
    errors.JobLost: "Retry the job; if it fails again, look at the worker's log.",
    errors.IntermediateLost: "Retry the job; if it fails again, look at the worker's log.",
    errors.JobCrashed: "The picture killed its worker each time: look at the worker's log.",
    errors.JobCancelled: "Nothing to mend: the client or an operator cancelled the job.",
    errors.JobTimedOut: "Retry the job; if it times out again, look at the load of the workers.",
    errors.MediaCorrupt: _DISKS,
    errors.DecryptionFailed: "Check the master key and the data key of the application.",
    errors.SignatureInvalid: "Get the document again from who issued it.",
    errors.BackupUnusable: _RESTORE,
    errors.ConfigurationError: "Correct the setting that the message names.",
    errors.WrongMasterKey: "Configure the master key that the database was made with.",
}
"""What an operator does about a client's job or request, by the error; each code once."""

_SMALLER = "Save it with fewer pixels or as a JPEG, and send it again."
_AWAY = "Try again in a moment; System says what is away."
_PACK_FOR_IT = "Serve a pack that has the models for it; faceline models lists them."

OWN: dict[type[FaceError], str] = {
    errors.MissingParameter: "Choose a file, then press the button.",
    errors.MediaTooLarge: _SMALLER,
    errors.PictureOutOfRange: _SMALLER,
    errors.NotAPicture: "Send a picture, such as a JPEG or PNG.",
    errors.FormatNotAccepted: "Save it as a JPEG or PNG, and send it again.",
    errors.PictureCorrupt: "The file was probably not copied whole: take it from its source again.",
    errors.NoFace: "Take the photo from nearer, upright and with light on the face.",
    errors.ManyFaces: "Cut out the person who is meant, or let only one into the picture.",
    errors.BadQuality: "Take a sharper photo, from the front and in even light.",
    errors.ClipCorrupt: "Send an MP4, WebM, MOV or AVI as the camera wrote it.",
    errors.ClipOutOfRange: "Record a shorter clip, of some seconds and at most 20 MB.",
    errors.NotFound: "Choose an application from the list.",
    errors.MediaNotFound: "Put the file where the source names it, then read the source again.",
    errors.FaceNotFound:
        "Look up the number on the face's page in the gallery, or leave the field empty.",
    errors.CollectionNotFound: "Make the collection first, or choose another one.",
    errors.FaceExists: "Nothing to do: the gallery has this photo.",
    errors.NotPermitted: "Ask an administrator to let your account see pictures of people.",
    errors.Uncalibrated: "Run faceline calibrate, or serve a pack that has a table.",
    errors.TaskUnsupported: _PACK_FOR_IT,
    errors.Overloaded: "Try again in a moment.",
    errors.GalleryBusy: "Try again in a moment.",
    errors.MediaUnavailable: _AWAY,
    errors.DatabaseUnavailable: _AWAY,
    errors.MediaFull: "Make room in the media store, then try again.",
    errors.DatabaseFull: "Make room for the database, then try again.",
    errors.JobCrashed: "The file ended its worker again and again: it is refused for good.",
    errors.JobCancelled: "Send it again, if it is still wanted.",
    errors.JobTimedOut: "Try again when less is waiting; Jobs has the timeline.",
}
"""What to do about one's own file, where that is something else."""

_UNPACK = "Unpack it, and give the folder as the source."
_ENROLLED = "Nothing to do, if it is the same person; else rename one of the two."

REFUSALS: dict[str, tuple[str, str]] = {
    RefusalReason.UNREADABLE: ("It could not be read.", "Check its permissions and its disk."),
    RefusalReason.EMPTY: ("The file is empty.", "Take it from its source again."),
    RefusalReason.LINK: ("It is a link and not a file.", "Put the file itself there."),
    RefusalReason.NOT_A_FILE:
        ("It is a device or a pipe and not a file.", "Take it out of the source."),
    RefusalReason.UNSAFE_NAME:
        ("Its name leads out of the source, or is too long.", "Rename it, and pack it again."),
    RefusalReason.TOO_DEEP: ("It lies too many folders deep.", "Move it further up."),
    RefusalReason.NO_PERSON:
        ("It is in no folder that names a person.", "Put it into a folder with the person's name."),
    RefusalReason.DUPLICATE_NAME:
        ("An earlier item has the same name.", "Rename it, if it is another picture."),
    RefusalReason.BROKEN_ROW:
        ("Its row of the list cannot be used.", "Correct the row that the detail names."),
    RefusalReason.NO_BUCKET:
        ("It names an object, and no bucket was named.", "Name the bucket when you start it."),
    RefusalReason.NO_COLLECTION:
        ("Its collection cannot be created.", "Delete collections that are not used any more."),
    RefusalReason.ENCRYPTED:
        ("It is encrypted in the archive.", "Pack the archive without a password."),
    RefusalReason.NESTED_ARCHIVE: ("It is an archive inside the source.", _UNPACK),
    RefusalReason.UNSUPPORTED: ("It is packed in a way that cannot be read.", _UNPACK),
    RefusalReason.BOMB: ("It unpacks to far more than its size.", _UNPACK),
    RefusalReason.TOO_MANY: ("The archive has too many members.", "Make several archives of it."),
    RefusalReason.ARCHIVE_DAMAGED:
        ("The archive is damaged from here on.", "Copy or make the archive again."),
    SAME_PERSON: ("The person is enrolled under another name.", _ENROLLED),
    SAME_PICTURE: ("The same picture is enrolled already.", "Nothing to do."),
    NOT_IN_SOURCE: ("It is no longer in the source.", "Put it back, if it is still wanted."),
}
"""Why items of batches are refused that no error refuses, and what to do."""


@dataclass(frozen=True, slots=True)
class QualityWords:
    """A limit that a face fails: in words, by its measure, and what to do. ``measure`` takes the
    ``value`` and the limits (``least``, ``most``)."""

    why: str
    measure: str
    own: str


_DEGREES = "It is %(value)s degrees, and %(most)s are allowed."

QUALITY: dict[str, QualityWords] = {
    "size": QualityWords(
        "The face is too small.", "It has %(value)s pixels, and %(least)s are needed.",
        "Go nearer, or send the photo in its full size.",
    ),
    "blur": QualityWords(
        "The face is not sharp.", "It has %(value)s of 100, and %(least)s are needed.",
        "Hold the camera still, and wipe its lens.",
    ),
    "brightness": QualityWords(
        "The face is too dark or too bright.",
        "It is %(value)s, and %(least)s to %(most)s is good.",
        "Let more even light fall on the face.",
    ),
    "contrast": QualityWords(
        "The face has too little contrast.", "It is %(value)s, and %(least)s is needed.",
        "Avoid fog, glare and light from behind.",
    ),
    "yaw": QualityWords("The head is turned too far aside.", _DEGREES, "Look into the camera."),
    "pitch": QualityWords(
        "The head is bent too far up or down.", _DEGREES,
        "Hold the camera at the height of the eyes.",
    ),
    "roll": QualityWords("The head is tilted too far.", _DEGREES, "Hold the head upright."),
}
"""Why a gallery that checks quality refuses a face, by the limit that it fails."""


def _of_error(kind: type[FaceError]) -> FailureWords:
    why = " ".join((kind.__doc__ or "").split())
    return FailureWords(why, ADVICE[kind], OWN.get(kind, ADVICE[kind]))


WORDS: dict[str, FailureWords] = {
    **{kind.code: _of_error(kind) for kind in ADVICE},
    **{str(code): FailureWords(why, own, own) for code, (why, own) in REFUSALS.items()},
}
"""The words about each code of an error of the domain, and of a batch's refusals."""


def words_about(code: str, reason: str = "") -> FailureWords:
    """The words about a code, with those of the limit that a face fails where ``reason`` names
    one. An unknown code, of a newer worker, has those of a fault."""
    words = WORDS.get(code, WORDS[FaceError.code])
    limit = QUALITY.get(reason) if code == errors.BadQuality.code else None
    return words if limit is None else FailureWords(limit.why, words.advice, limit.own)
