"""The seam between the service and the five documented APIs.

A dialect owns its paths, the way its requests are read and its envelopes. It never
waits, stores or queues anything: ``read`` says what a request wants, the service does
it, and ``render`` says how the outcome looks.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from api_shim.requests import AdmissionCheck, Call, JobRequest, Reply
from pipeline.accounts.model import Tenant
from pipeline.jobs.model import Job
from pipeline.media.pictures import PictureLimits


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A documented path (parts of it may be ``{names}``, see ``Call.path_values``), HTTP
    methods, and the dialect's own name for what they do there. A path may have several
    endpoints; one that fits two is served by the first. Only where ``pictures`` are sent
    are large bodies taken, and the largest where a ``clip`` is."""

    path: str
    methods: frozenset[str]
    operation: str
    pictures: bool = True
    clip: bool = False


class Dialect(Protocol):
    """One documented API."""

    @property
    def name(self) -> str:
        """The document's letter; job rows carry it."""
        ...

    @property
    def endpoints(self) -> tuple[Endpoint, ...]: ...

    @property
    def limits(self) -> PictureLimits:
        """What pictures it takes, by their headers."""
        ...

    @property
    def actions(self) -> Mapping[str, str]:
        """The neutral names of its operations (``PLANS``, ``RECORD_OPERATIONS``), where
        they differ from its own: what limits and permissions name."""
        ...

    @property
    def free_actions(self) -> frozenset[str]:
        """The operations (neutral names) that the document calls free when they succeed."""
        ...

    def read(self, endpoint: Endpoint, call: Call, admit: AdmissionCheck) -> JobRequest | Reply:
        """Authenticate, ``authenticate`` and parse: a job to do, or the whole answer of an
        operation that needs none. Runs in a thread; may ask the database.

        Raises ``FaceError``, in the order of checks that the document gives.
        """
        ...

    def identify(self, call: Call, job_id: str) -> Tenant | None:
        """Whose poll of a job ``call`` is, by the dialect's own credentials; None when
        it carries none of them. Runs in a thread. Raises ``FaceError`` when they are
        wrong."""
        ...

    def attachments(self, job: Job) -> tuple[str, ...]:
        """The stored pictures (media keys) that the answer of an ended job shows."""
        ...

    def render(self, job: Job, attached: Mapping[str, bytes]) -> Reply:
        """The answer of a job that has ended; equal bytes for equal rows. ``attached``
        are its attachments, but for those that have been deleted since."""
        ...

    def render_error(self, error: Exception, call: Call) -> Reply:
        """The answer of a request that became no job. ``call`` has an empty body when
        the body could not be read; any other exception than ``FaceError`` is an
        internal error."""
        ...

    def render_wrong_method(self, call: Call, allowed: str) -> Reply:
        """The answer, status 405, to a method that the path does not take; ``allowed``
        is the value of its ``Allow``."""
        ...
