"""The seam between the service and the documented APIs.

A dialect owns its paths, its table of fields, the way its requests are read and its
envelopes. It never waits, stores, changes or queues anything: ``read`` returns the
job or action that a request asks for, the service carries it out, and the
envelope renders the outcome.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

from api_shim import parameters
from api_shim.body import BodyKind
from api_shim.dialects.answers import JSON, AnswerField, Responses
from api_shim.dialects.fields import Raw, RequestField
from api_shim.record_actions import RecordRequest
from api_shim.requests import AdmissionCheck, Call, JobRequest, Reply
from api_shim.service import RecordStores
from pipeline.accounts.app_settings import AppSetting
from pipeline.accounts.credential_set import Credentials
from pipeline.accounts.model import Tenant
from pipeline.accounts.tenants import TenantStore
from pipeline.config.settings import Settings
from pipeline.errors import BadCredentials, FaceError, InvalidParameter
from pipeline.jobs.model import Job
from pipeline.media.pictures import PictureLimits
from pipeline.operations import PLANS, LivingParams

GET, POST, PUT, DELETE = (frozenset({method}) for method in ("GET", "POST", "PUT", "DELETE"))

Security = list[dict[str, list[str]]]

API_KEY: Security = [{"key": []}]
"""The security of operations that take ``X-API-Key``."""

IN_PARAMETERS: Security = []
"""The security of operations whose credentials are parameters of the document: OpenAPI
has no scheme for those, they stand among the fields."""


DialectRequest = JobRequest | RecordRequest[Any] | Job
"""What a request asks for: a job, an action on records, or an earlier job that it repeats."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One operation of a document. Parts of ``path`` may be ``{names}``, see
    ``Call.path_values``; a path may have several endpoints, and the first that fits
    serves. ``operation`` is the document's name for it, ``action`` the neutral one
    (``PLANS``, ``RECORD_OPERATIONS``) that limits, permissions and usage go by. ``takes``
    are its own parameters in the document's order, ``gives`` the members of a good
    answer."""

    path: str
    methods: frozenset[str]
    operation: str
    action: str
    summary: str
    takes: tuple[RequestField[Any], ...] = ()
    gives: tuple[AnswerField, ...] = ()

    @property
    def body_kind(self) -> BodyKind:
        """What a body may carry; a larger one is not read."""
        return max((row.carries for row in self.takes), default=BodyKind.PLAIN)

    @property
    def is_job(self) -> bool:
        """Whether a request may become a job."""
        return self.action in PLANS

    @property
    def plain_path(self) -> str:
        """The path without the converters of the router."""
        return self.path.replace(":path", "")


@dataclass(frozen=True, slots=True)
class SampleRequest:
    """A request that shows an operation: what a client sends beside its credentials, and a line
    for a shell that sends it. In the line the pictures are files, ``$NAMES`` the credentials."""

    endpoint: Endpoint
    sent: Raw = field(repr=False)
    line: str


@dataclass(frozen=True, slots=True)
class RequestShape:
    """The places of a request's fields: the query, and the body by media type."""

    query: tuple[RequestField[Any], ...] = ()
    body: Mapping[str, tuple[RequestField[Any], ...]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Sample:
    """An answer to a call that was never made. ``title`` says which call; ``shows`` are the names
    of the settings that it depends on."""

    title: str
    shows: tuple[str, ...]
    reply: Reply


class Dialect(ABC):
    """One documented API. ``letter`` names it in job rows and settings, ``title`` is the
    document's own name."""

    letter: ClassVar[str]
    title: ClassVar[str]
    endpoints: ClassVar[tuple[Endpoint, ...]]
    security: ClassVar[Security] = API_KEY

    caller_parameter: ClassVar[str] = ""
    """The query parameter that names the caller, where the document has one. Limits per caller
    go by it before the credentials are verified."""

    caller_parameters: ClassVar[frozenset[str]] = frozenset()
    """The parameters by which a poll is known to carry the credentials of the document."""

    free_actions: ClassVar[frozenset[str]] = frozenset()
    """The actions whose success the document calls free of charge."""

    app_settings: ClassVar[tuple[AppSetting, ...]] = ()
    """What an application can choose."""

    profiles: ClassVar[Mapping[str, Mapping[str, str]]] = {}
    """Choices that belong together, by the name of the whole."""

    root: ClassVar[str | None] = None
    """The prefix of paths under which ``render_not_found`` answers, where the document
    has an answer for unknown paths."""

    no_credentials: ClassVar[type[FaceError]] = BadCredentials
    """The error of a call without credentials."""

    limits: PictureLimits
    """What pictures it takes, by their headers."""

    def __init__(self, settings: Settings, records: RecordStores) -> None:
        self.limits = PictureLimits.from_settings(settings)
        self._tenants = records.tenants

    @classmethod
    def curl_line(cls, url: str, credentials: Credentials, photo: str) -> str:  # noqa: ARG003
        """A line for a POSIX shell that calls the service at ``url`` (without a slash at its end)
        with the file ``photo`` and changes nothing there; empty if the credentials lack those of
        the document."""
        return ""

    @classmethod
    def samples(cls, tenant: Tenant) -> tuple[Sample, ...]:  # noqa: ARG003
        """Answers of the document to an application with the settings of ``tenant``: as many as
        show each of its ``app_settings``."""
        return ()

    @abstractmethod
    def read(self, endpoint: Endpoint, call: Call, admit: AdmissionCheck) -> DialectRequest:
        """Authenticate, ``admit`` and parse: a job to do, or an action on records. Runs
        in a thread; may read the database and changes nothing.

        Raises ``FaceError``, in the order of checks that the document gives.
        """

    def endpoint(self, operation: str) -> Endpoint:
        """The endpoint of one of the document's operations."""
        return next(each for each in self.endpoints if each.operation == operation)

    def sample(self, pictures: Sequence[bytes], url: str) -> SampleRequest | None:  # noqa: ARG002
        """The request that says most about one picture, or about two, and changes nothing;
        ``url`` is the service's. None where the document has no such operation."""
        return None

    def sample_job(self, sample: SampleRequest, tenant: Tenant) -> JobRequest:
        """The job that a tenant gets by a sample. Raises ``FaceError`` as ``read`` does."""
        raise NotImplementedError

    def clip_sample(self, params: LivingParams, url: str) -> SampleRequest | None:  # noqa: ARG002
        """The request by which a client has a clip watched. None where the document has no such
        operation, or not with these parameters."""
        return None

    def identify(self, call: Call, job_id: str) -> Tenant | None:
        """The tenant whose credentials, in the dialect's own form, the query or the body of a
        poll carries; None when they carry none of them (an API key serves every dialect).
        Runs in a thread. Raises ``FaceError`` when they are wrong."""
        for sent in parameters.places(call):
            if not self.caller_parameters.isdisjoint(sent):
                return self.authenticate_poll(sent, job_id)
        return None

    def authenticate_poll(self, sent: Raw, job_id: str) -> Tenant:
        """The tenant of parameters with some of ``caller_parameters``. Raises ``FaceError``
        when they are wrong."""
        raise NotImplementedError

    def attachments(self, job: Job) -> tuple[str, ...]:  # noqa: ARG002
        """The stored pictures (media keys) that the answer of an ended job shows."""
        return ()

    @abstractmethod
    def render(self, job: Job, attached: Mapping[str, bytes]) -> Reply:
        """The answer of a job that has ended; equal bytes for equal rows. ``attached``
        are its attachments, except those deleted since."""

    @abstractmethod
    def render_error(self, error: Exception, call: Call) -> Reply:
        """The answer of a request that became no job. ``call`` has an empty body when
        the body could not be read; any other exception than ``FaceError`` is an
        internal error."""

    def render_no_credentials(self, call: Call) -> Reply:
        """The answer, status 401, to a poll of one of its jobs without any credentials: what
        the document answers to a call without them."""
        error = self.no_credentials("The request carries no credentials.")
        return replace(self.render_error(error, call), status=401)

    def render_wrong_method(self, call: Call, allowed: str) -> Reply:
        """The answer, status 405, to a method that the path does not take; ``allowed``
        is the value of its ``Allow``."""
        reply = self.render_error(InvalidParameter(f"the method must be {allowed}"), call)
        return replace(reply, status=405, headers={"Allow": allowed})

    def render_not_found(self, call: Call) -> Reply:
        """The answer to a path under ``root`` that is not there."""
        raise NotImplementedError

    def shape(self, endpoint: Endpoint, method: str) -> RequestShape:
        """The places of a request's fields, for OpenAPI: the query with GET, a
        JSON body with other methods, unless the document says otherwise."""
        if method == "GET":
            return RequestShape(query=endpoint.takes)
        return RequestShape(body={JSON: endpoint.takes} if endpoint.takes else {})

    @abstractmethod
    def responses(self, endpoint: Endpoint) -> Responses:
        """The documented answers of an operation, for OpenAPI."""


def authenticate_api_key(call: Call, tenants: TenantStore) -> Tenant:
    """The tenant of ``X-API-Key``. Raises ``BadCredentials``, ``CredentialExpired``."""
    key = call.headers.get("x-api-key", "")
    tenant = tenants.credentials.by_api_key(key) if key else None
    if tenant is None:
        raise BadCredentials("check X-API-Key")
    return tenant


def schema_name(letter: str, endpoint: Endpoint, suffix: str) -> str:
    """A name for a schema of an operation in the components of the OpenAPI document."""
    words = "".join(part.capitalize() for part in endpoint.action.split("_"))
    return f"{letter.upper()}{words}{suffix}"
