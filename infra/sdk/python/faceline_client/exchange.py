"""What the client does, without doing it: generators that yield requests and pauses.

A driver sends each request and gives the response back, or throws httpx's ``RequestError`` in; it
sleeps for each pause. The sync and the async client differ in nothing but their driver.
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any, TypeVar

import httpx

from faceline_client.credentials import Access, Credentials
from faceline_client.envelopes import read_object, retry_after
from faceline_client.errors import (
    ConnectionLost,
    FacelineError,
    RateLimited,
    TimedOut,
    Unavailable,
    UnexpectedAnswer,
)
from faceline_client.operation import Operation, in_path

logger = logging.getLogger("faceline_client")

T = TypeVar("T")

# Seconds for which an answer is held at most: shorter than proxies usually wait.
HOLD_S = 20.0

# Seconds without a byte, beyond a held answer, after which a connection counts as lost.
SILENCE_S = 60.0
CONNECT_S = 10.0

# Seconds between polls where the service does not hold them or say when to come back.
POLL_S = 1.0

# Nothing of the request has reached the service.
NOT_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)


@dataclass(frozen=True, slots=True)
class Pause:
    """Seconds to sleep."""

    seconds: float


Steps = Generator[httpx.Request | Pause, httpx.Response | None, T]


@dataclass(frozen=True, slots=True)
class Retries:
    """A call is tried up to ``attempts`` times: after 503 and a reached limit, when the service
    asks for no longer pause than ``longest_pause_s``, and after a lost connection where it is
    safe. Pauses begin at ``pause_s`` and double."""

    attempts: int = 5
    pause_s: float = 0.5
    longest_pause_s: float = 30.0

    def pause(self, failed: int, asked: float | None) -> float | None:
        """Seconds before the next try after ``failed`` tries; None to give up."""
        if failed >= self.attempts or (asked or 0.0) > self.longest_pause_s:
            return None
        backoff = self.pause_s * 2.0 ** (failed - 1) * random.uniform(0.5, 1.0)  # noqa: S311  # spreads callers
        return min(max(backoff, asked or 0.0), self.longest_pause_s)


@dataclass(frozen=True, slots=True)
class JobStatus:
    """Where a job is: ``state`` is ``queued``, ``running`` or ``ended``; ``stage`` the step that
    it waits for or is in, ``position`` the number of jobs ahead of it there (None once it has
    ended)."""

    state: str
    stage: str | None = None
    position: int | None = None

    @property
    def ended(self) -> bool:
        return self.state == "ended"


class Deadline:
    """Seconds that are left of a time, without end when it is None."""

    def __init__(self, seconds: float | None) -> None:
        self._end = None if seconds is None else time.monotonic() + seconds

    def left(self) -> float:
        return float("inf") if self._end is None else max(self._end - time.monotonic(), 0.0)


@dataclass(frozen=True, slots=True)
class Exchanges:
    """The exchanges with one service as one application."""

    url: str
    credentials: Credentials
    retries: Retries
    agent: str

    def run(self, operation: Operation[T], timeout: float | None) -> Steps[T]:
        """The result of a call, for which a job is waited. Raises ``TimedOut``."""
        deadline = Deadline(timeout)
        if not operation.is_job:
            return (yield from self._call(operation, operation.read, deadline))
        first = yield from self._call(
            operation, lambda response: _ended_or_accepted(operation.read, response), deadline,
            min(HOLD_S, deadline.left()),
        )
        if isinstance(first, _Accepted):
            return (yield from self.wait(first.job_id, operation.read, deadline.left()))
        return first

    def submit(self, operation: Operation[T], timeout: float | None) -> Steps[str]:
        """The id of the job that a call becomes. Raises ``ValueError`` for a call that becomes
        none."""
        if not operation.is_job:
            raise ValueError(f"{operation.name} is no job: run it")
        first = yield from self._call(
            operation, lambda response: _ended_or_accepted(operation.read, response),
            Deadline(timeout),
        )
        if isinstance(first, _Accepted):
            return first.job_id
        raise UnexpectedAnswer("The service gave a result instead of a job.", status=200)

    def wait(
        self, job_id: str, read: Callable[[httpx.Response], T], timeout: float | None
    ) -> Steps[T]:
        """A job's result. Raises ``TimedOut``."""
        deadline = Deadline(timeout)
        while True:
            hold_s = min(HOLD_S, deadline.left())
            begun = time.monotonic()
            polled = yield from self._poll(job_id, read, deadline, hold_s)
            if not isinstance(polled, _Waiting):
                return polled
            left_s = deadline.left()
            if left_s <= 0:
                told = f"The job is {polled.status.state} at {polled.status.stage}; it goes on."
                raise TimedOut(told, job_id=job_id)
            # The service may hold for less than it was asked, or not at all.
            if time.monotonic() - begun < hold_s / 2:
                yield Pause(min(polled.retry_after, left_s))

    def status(
        self, job_id: str, timeout: float | None, hold_s: float = 0.0
    ) -> Steps[JobStatus]:
        """Where a job is, after ``hold_s`` seconds or when it ends."""
        polled = yield from self._poll(job_id, _ended, Deadline(timeout), hold_s)
        return polled.status if isinstance(polled, _Waiting) else polled

    def _poll(
        self, job_id: str, read: Callable[[httpx.Response], T], deadline: Deadline, hold_s: float
    ) -> Steps[T | _Waiting]:
        """A job's result, or where it is."""
        # POST: a body may have to carry the credential.
        poll = Operation(
            name="poll", method="POST", path=f"/jobs/{in_path(job_id)}", access=Access.ANY,
            read=lambda response: _ended_or_waiting(read, response),
            query={"wait": f"{hold_s:g}"} if hold_s > 0 else {},
        )
        return (yield from self._call(poll, poll.read, deadline, hold_s))

    def _call(
        self, operation: Operation[Any], read: Callable[[httpx.Response], T], deadline: Deadline,
        hold_s: float = 0.0,
    ) -> Steps[T]:
        """What ``read`` makes of the answer, with the repetitions that are safe."""
        failed = 0
        while True:
            failed += 1
            try:
                response = yield self._request(operation, hold_s)
                assert response is not None
                return read(response)
            except httpx.RequestError as error:
                # Unless it is known that nothing arrived, only what may happen twice is repeated.
                safe = operation.repeatable or isinstance(error, NOT_SENT)
                why, asked_s = type(error).__name__, None
                failure: FacelineError = ConnectionLost(f"{operation.name}: no answer ({why})")
                failure.__cause__ = error
            except (RateLimited, Unavailable) as error:
                # After 503 and a limit nothing was accepted. A proxy's 502 or 504 does not say.
                safe = operation.repeatable or error.status not in (502, 504)
                why, asked_s, failure = f"HTTP {error.status}", error.retry_after, error
            pause_s = self.retries.pause(failed, asked_s) if safe else None
            if pause_s is None or pause_s > deadline.left():
                raise failure
            logger.info("%s: %s, again in %.1f s", operation.name, why, pause_s)
            yield Pause(pause_s)

    def _request(self, operation: Operation[T], hold_s: float) -> httpx.Request:
        """A fresh request: a signature carries the time of its try."""
        access, key = operation.access, operation.key
        headers = {"User-Agent": self.agent, **self.credentials.headers(access)}
        if operation.keyed:
            headers["Idempotency-Key"] = key
        if operation.is_job:
            headers["Prefer"] = f"wait={hold_s:.0f}" if hold_s >= 1 else "respond-async"
        fields = self.credentials.body(access, operation.fields, key)
        return httpx.Request(
            operation.method, self.url + operation.path, headers=headers,
            params=dict(operation.query),
            json=fields if fields and not operation.files else None,
            data=dict(fields) if operation.files else None,
            files={name: (name, data) for name, data in operation.files.items()} or None,
            extensions={"timeout": httpx.Timeout(SILENCE_S + hold_s, connect=CONNECT_S).as_dict()},
        )


@dataclass(frozen=True, slots=True)
class _Accepted:
    job_id: str


@dataclass(frozen=True, slots=True)
class _Waiting:
    status: JobStatus
    retry_after: float


def _ended(_: httpx.Response) -> JobStatus:
    return JobStatus("ended")


def _ended_or_accepted(
    read: Callable[[httpx.Response], T], response: httpx.Response
) -> T | _Accepted:
    if response.status_code != 202:
        return read(response)
    job_id = read_object(response).get("job_id")
    if not isinstance(job_id, str):
        raise UnexpectedAnswer("HTTP 202 without the id of a job.", status=202)
    return _Accepted(job_id)


def _ended_or_waiting(
    read: Callable[[httpx.Response], T], response: httpx.Response
) -> T | _Waiting:
    if response.status_code != 202:
        return read(response)
    said = read_object(response)
    status = JobStatus(str(said.get("status")), said.get("stage"), said.get("position"))
    return _Waiting(status, retry_after(response) or POLL_S)
