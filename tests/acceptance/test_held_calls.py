"""For how long a response is held: by operation, by application, or until its job has ended."""

from __future__ import annotations

import json
import math
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import requests

from tests.databases import ONE_DATABASE
from tests.face2_client import TIMEOUT_S, Face2Client, Json
from tests.stack import Stack

pytestmark = ONE_DATABASE


@contextmanager
def held(
    stack: Stack, client: Face2Client, picture: Json
) -> Iterator[tuple[list[requests.Response], str]]:
    """The first call of an application, made by another thread: its answer, which may be there
    at the end, and its job's id."""
    answers: list[requests.Response] = []
    thread = threading.Thread(target=lambda: answers.append(client.call("locate", picture)))
    thread.start()
    until = time.monotonic() + TIMEOUT_S
    while not (found := stack.jobs.read.recent(tenant_id=client.credentials.tenant_id)):
        assert time.monotonic() < until
        time.sleep(0.02)
    yield answers, found[0].id
    thread.join(TIMEOUT_S)
    assert not thread.is_alive(), "its response is held on"


def test_an_application_whose_calls_are_never_202(idle_stack: Stack, picture: Json) -> None:
    """The service's limit is a second; no worker runs."""
    credentials = idle_stack.add_tenant("patient")
    idle_stack.cluster.command("apps", "wait", "patient", "--seconds", "inf")
    idle_stack.cluster.command("apps", "wait", "patient", "--operation", "verify", "--seconds", "0")
    client = idle_stack.client(credentials)
    with held(idle_stack, client, picture) as (answers, job_id):
        time.sleep(3 * idle_stack.settings.hold_s)
        assert answers == []
        client.cancel(job_id)
    assert answers[0].status_code == 200
    assert answers[0].json()["code"] == 9999
    # Where it is asked for, and where the operation has a limit of its own.
    image = picture["image"]
    assert client.call("features", {"image": image}, Prefer="wait=0").status_code == 202
    client.submit("features", {"image": image, "n": 1})
    assert client.call("verify", {"image1": image, "image2": image}).status_code == 202


def test_the_command_shows_the_limits(idle_stack: Stack) -> None:
    idle_stack.add_tenant("limits")
    command = idle_stack.cluster.command
    usual = json.loads(command("apps", "wait", "limits", "--json"))
    assert (usual["locate"], usual["living"]) == (1.0, 120.0)
    command("apps", "wait", "limits", "--operation", "living", "--seconds", "300")
    command("apps", "wait", "limits", "--seconds", "inf")
    own = json.loads(command("apps", "wait", "limits", "--json"))
    assert (own["locate"], own["living"]) == (None, 300.0)
    command("apps", "wait", "limits", "--seconds", "none")
    command("apps", "wait", "limits", "--operation", "living", "--seconds", "none")
    assert json.loads(command("apps", "wait", "limits", "--json")) == usual


def test_a_stopping_shim_answers_in_the_documents_words(
    tmp_path: Path, edge_models: Path, new_database: dict[str, object], picture: Json
) -> None:
    with Stack(tmp_path, edge_models, hold_s=math.inf, **new_database) as stack:
        client = stack.start_shim().client()
        with held(stack, client, picture) as (answers, job_id):
            assert stack.shim is not None
            time.sleep(0.5)
            stack.shim.stop()
        assert answers[0].status_code == 503
        assert answers[0].json()["code"] == 9904
        assert answers[0].headers["x-job-id"] == job_id
