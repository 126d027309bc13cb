"""Webhooks that the service signs are accepted by the client, and no others."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import faceline_client as sdk
import httpx
import pytest

from pipeline.webhooks.signing import new_secret, signed_headers
from tests.processes import start
from tests.waiting import TIMEOUT_S

SDK = Path(__file__).resolve().parents[3] / "infra" / "sdk" / "python"

NOW = 1_764_511_200.0

JOB = {
    "job_id": "j1", "operation": "enrol", "dialect": "b", "status": "done", "code": None,
    "request_id": "r1", "created_at": 1.0, "finished_at": 2.0, "added_later": 1,
}

BATCH = {
    "batch_id": "b1", "status": "done", "code": None, "items": 3, "enrolled": 2,
    "duplicate": 0, "rejected": 1, "cancelled": 0, "created_at": 1.0, "finished_at": 2.0,
}


def event(kind: str = "job.done", data: object = JOB) -> bytes:
    return json.dumps({"type": kind, "timestamp": "2026-11-30T14:00:00Z", "data": data}).encode()


def headers(*secrets: str, body: bytes, at: float = NOW) -> dict[str, str]:
    return signed_headers(secrets, "msg_1", at, body)


@pytest.mark.parametrize(
    ("kind", "data", "read"),
    [
        ("job.done", JOB, sdk.JobEnded), ("batch.failed", BATCH, sdk.BatchEnded),
        ("webhook.test", {"webhook_id": 1}, dict), ("gallery.emptied", {"x": 1}, dict),
    ],
)
def test_a_signed_event_is_read(kind: str, data: Any, read: type) -> None:
    secret, body = new_secret(), event(kind, data)

    found = sdk.verify_webhook(secret, headers(secret, body=body), body, now=NOW + 60)

    assert (found.id, found.type) == ("msg_1", kind)
    assert isinstance(found.data, read)


def test_either_of_two_secrets_fits_while_one_is_rotated() -> None:
    old, new, body = new_secret(), new_secret(), event()
    sent = {name.title(): value for name, value in headers(old, new, body=body).items()}

    for known in (old, new, [new_secret(), old]):
        assert sdk.verify_webhook(known, sent, body, now=NOW).id == "msg_1"


@pytest.mark.parametrize(
    "changed", ["body", "id", "time", "signature", "scheme", "secret", "none", "empty"]
)
def test_a_message_that_was_changed_is_refused(changed: str) -> None:
    secret, body = new_secret(), event()
    sent = headers(secret, body=body)
    given = secret
    if changed == "body":
        body += b" "
    elif changed == "id":
        sent["webhook-id"] = "msg_2"
    elif changed == "time":
        sent["webhook-timestamp"] = str(int(NOW) + 1)
    elif changed == "signature":
        sent["webhook-signature"] = "v1," + base64.b64encode(b"x" * 32).decode()
    elif changed == "scheme":
        sent["webhook-signature"] = sent["webhook-signature"].replace("v1,", "v2,")
    elif changed == "secret":
        given = new_secret()
    elif changed == "none":
        del sent["webhook-signature"]
    else:
        sent = {}

    with pytest.raises(sdk.WebhookRefused):
        sdk.verify_webhook(given, sent, body, now=NOW)


@pytest.mark.parametrize("at", [NOW - 301, NOW + 301])
def test_a_message_of_another_time_is_refused(at: float) -> None:
    secret, body = new_secret(), event()

    with pytest.raises(sdk.WebhookRefused, match="from now"):
        sdk.verify_webhook(secret, headers(secret, body=body, at=at), body, now=NOW)


@pytest.mark.parametrize("body", [b"{}", b"[]", b"no", b'{"type": 1, "data": {}}', event(data={})])
def test_a_signed_message_that_is_no_event_is_refused(body: bytes) -> None:
    secret = new_secret()

    with pytest.raises(sdk.WebhookRefused, match="no event"):
        sdk.verify_webhook(secret, headers(secret, body=body), body, now=NOW)


def test_a_secret_that_is_none_is_told() -> None:
    with pytest.raises(ValueError, match="whsec_"):
        sdk.verify_webhook("whsec_!", headers(new_secret(), body=b"{}"), b"{}", now=NOW)


def test_the_example_that_receives_webhooks() -> None:
    secret = new_secret()
    process = start(
        [sys.executable, SDK / "examples" / "receive_webhooks.py", "0"], stdout=subprocess.PIPE,
        text=True, env={**os.environ, "WEBHOOK_SECRET": secret, "PYTHONPATH": str(SDK)},
    )
    with process, contextlib.ExitStack() as ends:
        ends.callback(process.terminate)
        assert process.stdout is not None
        url = f"http://127.0.0.1:{process.stdout.readline().split()[-1]}/hook"
        data = event("webhook.test", {"webhook_id": 1})
        signed = signed_headers([secret], "msg_1", time.time(), data)
        with httpx.Client(trust_env=False, timeout=TIMEOUT_S) as sender:
            forged = {**signed, "webhook-id": "msg_2"}
            assert sender.post(url, content=data, headers=forged).status_code == 400
            assert sender.post(url, content=data, headers=signed).status_code == 204
        assert process.stdout.readline() == "webhook.test\n"
