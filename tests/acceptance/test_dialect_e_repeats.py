"""A signed request of document e that comes again: answered with the first answer, computed and
charged once, by whichever process it reaches."""

from __future__ import annotations

import collections
import itertools
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests

from pipeline.metering.limits import ALL_OPERATIONS, Limit
from pipeline.metering.usage import UsageStore, day_of
from tests.databases import ONE_DATABASE
from tests.face2_client import PICTURES, Face2Client, Json, data_of
from tests.stack import Stack

COPIES = 8
ROUNDS = 5

_NUMBERS = itertools.count()


def new_client(stack: Stack, **settings: str) -> Face2Client:
    """A client of an application of its own."""
    return stack.client(stack.add_tenant(f"repeats-{next(_NUMBERS)}", settings))


def charged(stack: Stack, client: Face2Client) -> collections.Counter[str]:
    days = {day_of(time.time() - 600), day_of(time.time())}
    rows = UsageStore(stack.cluster.engine).report(days, client.credentials.tenant_id)
    counts: collections.Counter[str] = collections.Counter()
    for row in rows:
        counts[row.operation] += row.counts.charged
    return +counts


def code_of(response: requests.Response) -> tuple[int, str]:
    envelope: Json = response.json()
    return envelope["code"], envelope["data"]["msg"]


@ONE_DATABASE
@pytest.mark.parametrize("operation", PICTURES)
@pytest.mark.parametrize("sign_type", ["SHA256", "SM2"])
def test_the_same_request_again(
    stack: Stack, obama: str, operation: str, sign_type: str
) -> None:
    client = new_client(stack)
    parameters = client.signed(data_of(operation, obama), sign_type)
    first = client.send(operation, parameters)
    assert first.json()["code"] == 0
    # Neither a quota that is used up by now matters, nor the random part of a signature.
    stack.tenants.set_limits(client.credentials.tenant_id, {ALL_OPERATIONS: Limit(daily=1)})
    again = {**parameters, "signData": client.signature(parameters)}
    second = client.send(operation, again)
    assert (second.status_code, second.content) == (first.status_code, first.content)
    assert second.headers["x-job-id"] == first.headers["x-job-id"]
    assert second.headers["x-request-id"] != first.headers["x-request-id"]
    assert charged(stack, client) == {operation: 1}


@ONE_DATABASE
def test_a_copy_after_a_failure(stack: Stack, obama: str, nobody: str) -> None:
    client = new_client(stack)
    parameters = client.signed({"image1": obama, "image2": nobody})
    first, second = (client.send("verify", parameters) for _ in range(2))
    assert code_of(first)[0] == 9903
    assert second.content == first.content
    assert charged(stack, client) == {"verify": 1}


@ONE_DATABASE
def test_a_copy_while_the_first_still_runs(idle_stack: Stack, obama: str) -> None:
    client = new_client(idle_stack)
    parameters = client.signed({"image": obama})
    answers = [client.send("features", parameters) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [202, 202]
    first, second = (answer.json()["job_id"] for answer in answers)
    assert first == second
    client.cancel(first)
    assert code_of(client.send("features", parameters))[0] == 9999


@ONE_DATABASE
def test_an_application_can_ask_for_refusal(stack: Stack, obama: str) -> None:
    client = new_client(stack, e_repeats="refuse")
    parameters = client.signed({"image": obama})
    assert client.send("locate", parameters, Idempotency_Key="key").json()["code"] == 0
    code, message = code_of(client.send("locate", parameters))
    assert (code, "already" in message) == (9801, True)
    # The key says that the repetition is meant.
    assert client.send("locate", parameters, Idempotency_Key="key").json()["code"] == 0
    assert charged(stack, client) == {"locate": 1}


@ONE_DATABASE
def test_a_signed_request_serves_one_path(stack: Stack, obama: str) -> None:
    client = new_client(stack)
    parameters = client.signed({"image": obama})
    first = client.send("locate", parameters)
    assert first.json()["code"] == 0
    code, message = code_of(client.send("features", parameters))
    assert (code, "already sent for locate" in message) == (9801, True)
    # What the message advises, within the same second:
    other = client.signed({"image": obama}, timestamp=parameters["timestamp"], nonce="2")
    assert client.send("features", other).json()["code"] == 0
    assert client.send("locate", parameters).content == first.content
    assert charged(stack, client) == {"locate": 1, "features": 1}


@ONE_DATABASE
def test_an_application_whose_requests_serve_any_path(stack: Stack, obama: str) -> None:
    client = new_client(stack, e_paths="any")
    parameters = client.signed({"image": obama})
    for _ in range(2):
        assert "locations" in client.send("locate", parameters).json()["data"]
        assert "features" in client.send("features", parameters).json()["data"]
    assert charged(stack, client) == {"locate": 1, "features": 1}


def test_copies_at_once_in_two_processes(shims: tuple[Stack, list[str]], obama: str) -> None:
    """Even the last call of a quota: one copy is charged, and all have its answer."""
    stack, urls = shims
    client = new_client(stack)
    stack.tenants.set_limits(client.credentials.tenant_id, {"locate": Limit(daily=ROUNDS)})
    clients = [Face2Client(urls[index % len(urls)], client.credentials) for index in range(COPIES)]
    with ThreadPoolExecutor(COPIES) as threads:
        for number in range(ROUNDS):
            parameters = client.signed({"image": obama}, nonce=number)
            sent = threads.map(lambda each: each.send("locate", parameters), clients)  # noqa: B023
            answers = [(answer.status_code, answer.json()["job_id"]) for answer in sent]
            assert len(set(answers)) == 1
            assert answers[0][0] == 202
    assert stack.jobs.read.counts() == {"queued": ROUNDS}
    assert charged(stack, client) == {"locate": ROUNDS}
