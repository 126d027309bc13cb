"""The client for programs with an event loop."""

from __future__ import annotations

import asyncio
import functools
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
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


class _AsyncMethod(Generic[P, T]):
    """A method that runs an operation, with the parameters of the function that describes it."""

    def __init__(self, describe: Callable[P, Operation[T]]) -> None:
        self._describe = describe
        self.__doc__ = describe.__doc__

    def __get__(self, client: AsyncClient, _: type[AsyncClient]) -> Callable[P, Awaitable[T]]:
        @functools.wraps(self._describe)
        async def call(*args: P.args, **kwargs: P.kwargs) -> T:
            return await client.run(self._describe(*args, **kwargs))

        return call


class AsyncClient:
    """One service as one application; for one event loop.

    Every function of ``operations`` is a method here, which runs the operation and gives its
    result. They raise ``ApiError`` and ``ConnectionLost``, those on pictures and clips also
    ``TimedOut``.
    """

    def __init__(
        self, url: str, credentials: Credentials, *, timeout: float | None = TIMEOUT_S,
        retries: Retries | None = None, http: httpx.AsyncClient | None = None,
    ) -> None:
        """``url``: of the service, with the path under which it stands if there is one.
        ``timeout``: seconds that a method waits for a job, or repeats a call; None: without
        end. ``http``: a client of the caller's own, with proxies or certificates; the caller
        closes it."""
        self._exchanges = Exchanges(url_of(url), credentials, retries or Retries(), user_agent())
        self._timeout = timeout
        self._http = http or httpx.AsyncClient()
        self._owns_http = http is None

    @classmethod
    def from_environment(
        cls, environment: Mapping[str, str] = os.environ, *, timeout: float | None = TIMEOUT_S
    ) -> Self:
        """The service at ``FACE_URL`` with the credentials of
        ``Credentials.from_environment``."""
        credentials = Credentials.from_environment(environment)
        return cls(environment.get("FACE_URL", ""), credentials, timeout=timeout)

    async def aclose(self) -> None:
        if self._owns_http:
            await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def run(self, operation: Operation[T], *, timeout: float | None = None) -> T:
        """The result of an operation. ``timeout``: seconds, the client's without one."""
        return await self._drive(self._exchanges.run(operation, self._seconds(timeout)))

    async def submit(self, operation: Operation[R]) -> AsyncJob[R]:
        """The job that an operation on pictures or a clip becomes, as soon as it is accepted.
        Raises ``ValueError`` for other operations."""
        job_id = await self._drive(self._exchanges.submit(operation, self._timeout))
        return AsyncJob(self, job_id, operation.read)

    def job(self, job_id: str, kind: type[R]) -> AsyncJob[R]:
        """A job that another process submitted, or a webhook named; ``kind`` is the class of its
        result. Asks nothing yet."""
        return AsyncJob(self, job_id, kind.read)

    async def wait(self, job: AsyncJob[R], *, timeout: float | None = None) -> R:
        """A job's result."""
        seconds = self._seconds(timeout)
        return await self._drive(self._exchanges.wait(job.id, job.read, seconds))

    async def job_status(self, job_id: str, *, hold_s: float = 0.0) -> JobStatus:
        """Where a job is, after ``hold_s`` seconds or when it ends. Raises ``NotFound``."""
        return await self._drive(self._exchanges.status(job_id, self._timeout, hold_s))

    async def watch_batch(self, batch_id: str, *, every_s: float = WATCH_S) -> AsyncIterator[Batch]:
        """The batch now, then each time that it has changed, last when it has ended."""
        shown: Batch | None = None
        while True:
            batch = await self.get_batch(batch_id)
            if batch != shown:
                yield batch
            if batch.ended:
                return
            shown = batch
            await asyncio.sleep(every_s)

    async def iter_faces(self, collection: str | None = None) -> AsyncIterator[ListedFace]:
        """Every face of the gallery, or of a collection, page by page."""
        offset, page_size = 0, 1000
        while True:
            if collection is None:
                page = await self.list_faces(offset=offset, limit=page_size)
            else:
                page = await self.list_collection_faces(collection, offset=offset, limit=page_size)
            for face in page.faces:
                yield face
            offset += len(page.faces)
            if not page.faces or offset >= page.total:
                return

    async def iter_batch_items(
        self, batch_id: str, *, status: str = "", reason: str = ""
    ) -> AsyncIterator[BatchItem]:
        """Every item of a batch, page by page."""
        after: int | None = 0
        while after is not None:
            page = await self.list_batch_items(
                batch_id, after=after, limit=1000, status=status, reason=reason
            )
            for item in page.items:
                yield item
            after = page.next

    def _seconds(self, timeout: float | None) -> float | None:
        return self._timeout if timeout is None else timeout

    async def _drive(self, steps: Steps[T]) -> T:
        try:
            step = next(steps)
            while True:
                if isinstance(step, Pause):
                    await asyncio.sleep(step.seconds)
                    step = steps.send(None)
                    continue
                try:
                    response = await self._http.send(step)
                except httpx.RequestError as error:
                    step = steps.throw(error)
                else:
                    step = steps.send(response)
        except StopIteration as done:
            result: T = done.value
            return result

    detect = _AsyncMethod(operations.detect)
    compare = _AsyncMethod(operations.compare)
    similarities = _AsyncMethod(operations.similarities)
    compare_all = _AsyncMethod(operations.compare_all)
    verify = _AsyncMethod(operations.verify)
    features = _AsyncMethod(operations.features)
    enrol = _AsyncMethod(operations.enrol)
    enrol_single = _AsyncMethod(operations.enrol_single)
    replace_face = _AsyncMethod(operations.replace_face)
    rename_face = _AsyncMethod(operations.rename_face)
    find_face = _AsyncMethod(operations.find_face)
    remove_face = _AsyncMethod(operations.remove_face)
    list_faces = _AsyncMethod(operations.list_faces)
    get_face = _AsyncMethod(operations.get_face)
    delete_face = _AsyncMethod(operations.delete_face)
    get_picture = _AsyncMethod(operations.get_picture)
    delete_picture = _AsyncMethod(operations.delete_picture)
    clear_gallery = _AsyncMethod(operations.clear_gallery)
    list_collections = _AsyncMethod(operations.list_collections)
    create_collection = _AsyncMethod(operations.create_collection)
    update_collection = _AsyncMethod(operations.update_collection)
    delete_collection = _AsyncMethod(operations.delete_collection)
    list_collection_faces = _AsyncMethod(operations.list_collection_faces)
    bind = _AsyncMethod(operations.bind)
    unbind = _AsyncMethod(operations.unbind)
    search = _AsyncMethod(operations.search)
    add_people = _AsyncMethod(operations.add_people)
    find_people = _AsyncMethod(operations.find_people)
    delete_person = _AsyncMethod(operations.delete_person)
    match = _AsyncMethod(operations.match)
    living = _AsyncMethod(operations.living)
    ask_challenge = _AsyncMethod(operations.ask_challenge)
    evidence = _AsyncMethod(operations.evidence)
    health = _AsyncMethod(operations.health)
    cancel_job = _AsyncMethod(operations.cancel_job)
    start_batch = _AsyncMethod(operations.start_batch)
    list_batches = _AsyncMethod(operations.list_batches)
    get_batch = _AsyncMethod(operations.get_batch)
    list_batch_items = _AsyncMethod(operations.list_batch_items)
    cancel_batch = _AsyncMethod(operations.cancel_batch)
    retry_batch = _AsyncMethod(operations.retry_batch)


@dataclass(frozen=True, slots=True)
class AsyncJob(Generic[R]):
    """A job of the service, which goes on whether or not anybody waits."""

    _client: AsyncClient = field(repr=False)
    id: str
    read: Callable[[httpx.Response], R] = field(repr=False)

    async def wait(self, timeout: float | None = None) -> R:
        """The result, within ``timeout`` seconds (the client's without one). Raises
        ``TimedOut``, and what the operation raises."""
        return await self._client.wait(self, timeout=timeout)

    async def status(self) -> JobStatus:
        """Where the job is. Raises ``NotFound``."""
        return await self._client.job_status(self.id)

    async def watch(self) -> AsyncIterator[JobStatus]:
        """Where the job is now, then each time that it is elsewhere, last when it has ended."""
        shown: JobStatus | None = None
        while True:
            status = await self._client.job_status(self.id, hold_s=JOB_WATCH_S if shown else 0.0)
            if status != shown:
                yield status
            if status.ended:
                return
            shown = status

    async def cancel(self) -> None:
        """Raises ``Conflict`` if the job has ended."""
        await self._client.cancel_job(self.id)
