"""The client for programs without an event loop."""

from __future__ import annotations

import functools
import os
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Generic, ParamSpec, Self, TypeVar

import httpx

from faceline_client import operations
from faceline_client.batches import Batch, BatchItem
from faceline_client.credentials import Credentials
from faceline_client.exchange import Exchanges, JobStatus, Pause, Retries, Steps
from faceline_client.gallery import ListedFace
from faceline_client.operation import Operation
from faceline_client.results import Result
from faceline_client.settings import JOB_WATCH_S, TIMEOUT_S, WATCH_S, url_of, user_agent

P = ParamSpec("P")
T = TypeVar("T")
R = TypeVar("R", bound=Result)


class _Method(Generic[P, T]):
    """A method that runs an operation, with the parameters of the function that describes it."""

    def __init__(self, describe: Callable[P, Operation[T]]) -> None:
        self._describe = describe
        self.__doc__ = describe.__doc__

    def __get__(self, client: Client, _: type[Client]) -> Callable[P, T]:
        @functools.wraps(self._describe)
        def call(*args: P.args, **kwargs: P.kwargs) -> T:
            return client.run(self._describe(*args, **kwargs))

        return call


class Client:
    """One service as one application; safe to share between threads.

    Every function of ``operations`` is a method here, which runs the operation and gives its
    result. They raise ``ApiError`` and ``ConnectionLost``, those on pictures and clips also
    ``TimedOut``.
    """

    def __init__(
        self, url: str, credentials: Credentials, *, timeout: float | None = TIMEOUT_S,
        retries: Retries | None = None, http: httpx.Client | None = None,
    ) -> None:
        """``url``: of the service, with the path under which it stands if there is one.
        ``timeout``: seconds that a method waits for a job, or repeats a call; None: without
        end. ``http``: a client of the caller's own, with proxies or certificates; the caller
        closes it."""
        self._exchanges = Exchanges(url_of(url), credentials, retries or Retries(), user_agent())
        self._timeout = timeout
        self._http = http or httpx.Client()
        self._owns_http = http is None

    @classmethod
    def from_environment(
        cls, environment: Mapping[str, str] = os.environ, *, timeout: float | None = TIMEOUT_S
    ) -> Self:
        """The service at ``FACE_URL`` with the credentials of
        ``Credentials.from_environment``."""
        credentials = Credentials.from_environment(environment)
        return cls(environment.get("FACE_URL", ""), credentials, timeout=timeout)

    def close(self) -> None:
        if self._owns_http:
            self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def run(self, operation: Operation[T], *, timeout: float | None = None) -> T:
        """The result of an operation. ``timeout``: seconds, the client's without one."""
        return self._drive(self._exchanges.run(operation, self._seconds(timeout)))

    def submit(self, operation: Operation[R]) -> Job[R]:
        """The job that an operation on pictures or a clip becomes, as soon as it is accepted.
        Raises ``ValueError`` for other operations."""
        job_id = self._drive(self._exchanges.submit(operation, self._timeout))
        return Job(self, job_id, operation.read)

    def job(self, job_id: str, kind: type[R]) -> Job[R]:
        """A job that another process submitted, or a webhook named; ``kind`` is the class of its
        result. Asks nothing yet."""
        return Job(self, job_id, kind.read)

    def wait(self, job: Job[R], *, timeout: float | None = None) -> R:
        """A job's result."""
        seconds = self._seconds(timeout)
        return self._drive(self._exchanges.wait(job.id, job.read, seconds))

    def job_status(self, job_id: str, *, hold_s: float = 0.0) -> JobStatus:
        """Where a job is, after ``hold_s`` seconds or when it ends. Raises ``NotFound``."""
        return self._drive(self._exchanges.status(job_id, self._timeout, hold_s))

    def watch_batch(self, batch_id: str, *, every_s: float = WATCH_S) -> Iterator[Batch]:
        """The batch now, then each time that it has changed, last when it has ended."""
        shown: Batch | None = None
        while True:
            batch = self.get_batch(batch_id)
            if batch != shown:
                yield batch
            if batch.ended:
                return
            shown = batch
            time.sleep(every_s)

    def iter_faces(self, collection: str | None = None) -> Iterator[ListedFace]:
        """Every face of the gallery, or of a collection, page by page."""
        offset, page_size = 0, 1000
        while True:
            if collection is None:
                page = self.list_faces(offset=offset, limit=page_size)
            else:
                page = self.list_collection_faces(collection, offset=offset, limit=page_size)
            yield from page.faces
            offset += len(page.faces)
            if not page.faces or offset >= page.total:
                return

    def iter_batch_items(
        self, batch_id: str, *, status: str = "", reason: str = ""
    ) -> Iterator[BatchItem]:
        """Every item of a batch, page by page."""
        after: int | None = 0
        while after is not None:
            page = self.list_batch_items(
                batch_id, after=after, limit=1000, status=status, reason=reason
            )
            yield from page.items
            after = page.next

    def _seconds(self, timeout: float | None) -> float | None:
        return self._timeout if timeout is None else timeout

    def _drive(self, steps: Steps[T]) -> T:
        try:
            step = next(steps)
            while True:
                if isinstance(step, Pause):
                    time.sleep(step.seconds)
                    step = steps.send(None)
                    continue
                try:
                    response = self._http.send(step)
                except httpx.RequestError as error:
                    step = steps.throw(error)
                else:
                    step = steps.send(response)
        except StopIteration as done:
            result: T = done.value
            return result

    detect = _Method(operations.detect)
    compare = _Method(operations.compare)
    similarities = _Method(operations.similarities)
    compare_all = _Method(operations.compare_all)
    verify = _Method(operations.verify)
    features = _Method(operations.features)
    enrol = _Method(operations.enrol)
    enrol_single = _Method(operations.enrol_single)
    replace_face = _Method(operations.replace_face)
    rename_face = _Method(operations.rename_face)
    find_face = _Method(operations.find_face)
    remove_face = _Method(operations.remove_face)
    list_faces = _Method(operations.list_faces)
    get_face = _Method(operations.get_face)
    delete_face = _Method(operations.delete_face)
    get_picture = _Method(operations.get_picture)
    delete_picture = _Method(operations.delete_picture)
    clear_gallery = _Method(operations.clear_gallery)
    list_collections = _Method(operations.list_collections)
    create_collection = _Method(operations.create_collection)
    update_collection = _Method(operations.update_collection)
    delete_collection = _Method(operations.delete_collection)
    list_collection_faces = _Method(operations.list_collection_faces)
    bind = _Method(operations.bind)
    unbind = _Method(operations.unbind)
    search = _Method(operations.search)
    add_people = _Method(operations.add_people)
    find_people = _Method(operations.find_people)
    delete_person = _Method(operations.delete_person)
    match = _Method(operations.match)
    living = _Method(operations.living)
    ask_challenge = _Method(operations.ask_challenge)
    evidence = _Method(operations.evidence)
    health = _Method(operations.health)
    cancel_job = _Method(operations.cancel_job)
    start_batch = _Method(operations.start_batch)
    list_batches = _Method(operations.list_batches)
    get_batch = _Method(operations.get_batch)
    list_batch_items = _Method(operations.list_batch_items)
    cancel_batch = _Method(operations.cancel_batch)
    retry_batch = _Method(operations.retry_batch)


@dataclass(frozen=True, slots=True)
class Job(Generic[R]):
    """A job of the service, which goes on whether or not anybody waits."""

    _client: Client = field(repr=False)
    id: str
    read: Callable[[httpx.Response], R] = field(repr=False)

    def wait(self, timeout: float | None = None) -> R:
        """The result, within ``timeout`` seconds (the client's without one). Raises
        ``TimedOut``, and what the operation raises."""
        return self._client.wait(self, timeout=timeout)

    def status(self) -> JobStatus:
        """Where the job is. Raises ``NotFound``."""
        return self._client.job_status(self.id)

    def watch(self) -> Iterator[JobStatus]:
        """Where the job is now, then each time that it is elsewhere, last when it has ended."""
        shown: JobStatus | None = None
        while True:
            status = self._client.job_status(self.id, hold_s=JOB_WATCH_S if shown else 0.0)
            if status != shown:
                yield status
            if status.ended:
                return
            shown = status

    def cancel(self) -> None:
        """Raises ``Conflict`` if the job has ended."""
        self._client.cancel_job(self.id)
