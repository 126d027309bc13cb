"""`faceline webhooks`: what an operator types, against a real receiver."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import pytest

from pipeline.config.settings import load_settings
from pipeline.database.engine import open_engine
from pipeline.jobs.store import JobStore
from tests.job_factory import new_job
from tests.unit.infra.conftest import Faceline
from tests.waiting import eventually
from tests.webhook_receiver import WebhookReceiver, answer
from workers.webhook_sender import run

SECRETS = {"secret", "former_secret"}


@pytest.fixture
def app(faceline: Faceline, receiver: WebhookReceiver, monkeypatch: pytest.MonkeyPatch) -> str:
    for name, value in receiver.settings.items():
        monkeypatch.setenv(f"FACELINE_{name.upper()}", str(value))
    assert faceline("apps", "create", "shop").code == 0
    return "shop"


def add(faceline: Faceline, app: str, url: str, *options: str) -> tuple[str, str]:
    made = faceline("webhooks", "add", app, url, "--json", *options)
    assert made.code == 0, made.err
    said = json.loads(made.out)
    return str(said["webhook"]), said["secret"]


def end_jobs(count: int) -> None:
    engine = open_engine(load_settings().sql_url)
    store = JobStore(engine)
    for _ in range(count):
        job, _ = store.submit(new_job(1))
        store.cancel(1, job.id)
    engine.dispose()


def test_a_webhook_from_its_first_day_to_its_last(
    faceline: Faceline, app: str, receiver: WebhookReceiver, data_dir: Path
) -> None:
    number, secret = add(faceline, app, receiver.url)
    first = faceline("webhooks", "test", app, number)  # nobody sends
    assert first.code == 1
    assert "faceline webhooks send" in first.err
    stop = threading.Event()
    sending = threading.Thread(target=run, args=(load_settings(), stop))
    sending.start()
    try:
        tried = faceline("webhooks", "test", app, number, "--json")
        assert tried.code == 0, tried.err
        assert json.loads(tried.out)["status"] == 204
        eventually(lambda: len(receiver.received) == 2, "both tests are sent")
        assert {event["type"] for event in receiver.events(secret)} == {"webhook.test"}

        newer = json.loads(faceline("webhooks", "rotate", app, number, "--json").out)["secret"]
        receiver.behave = answer(410)
        end_jobs(1)
        eventually(
            lambda: "disabled" in faceline("webhooks", "list").out, "an answer of 410 counts"
        )
        refused = faceline("webhooks", "test", app, number)
        assert refused.code == 1
        dead = faceline("webhooks", "deliveries", app, "--state", "dead", "--json")
        (gone,) = [each for each in json.loads(dead.out) if each["type"] == "job.cancelled"]
        receiver.behave = answer(200)
        receiver.received.clear()
        assert faceline("webhooks", "enable", app, number).code == 0
        assert faceline("webhooks", "resend", app, gone["id"]).code == 0
        eventually(lambda: gone["id"] in receiver.ids(), "it is sent again")
        assert receiver.events(newer) == receiver.events(secret)
    finally:
        stop.set()
        sending.join()
    listed = json.loads(faceline("webhooks", "list", app, "--json").out)
    assert [(each["id"], each["dead"]) for each in listed] == [(int(number), 0)]
    assert not SECRETS & set(listed[0])
    table = faceline("webhooks", "deliveries", app, "--webhook", number).out
    assert "job.cancelled" in table
    assert faceline("webhooks", "remove", app, number, "--yes").code == 0
    assert json.loads(faceline("webhooks", "list", "--json").out) == []
    assert faceline("webhooks", "remove", app, number, "--yes").code == 1


def test_all_dead_ones_are_sent_again(
    faceline: Faceline, app: str, receiver: WebhookReceiver
) -> None:
    number, _ = add(faceline, app, receiver.url, "--of", "jobs")
    assert "0 deliveries" in faceline("webhooks", "resend", app, "--dead").err
    end_jobs(1)
    (waits,) = json.loads(faceline("webhooks", "deliveries", app, "--json").out)
    said = faceline("webhooks", "resend", app, waits["id"], "msg_unknown")
    assert "0 deliveries" in said.err
    assert "still wait" in said.err
    for wrong in ((), (waits["id"], "--dead")):
        assert faceline("webhooks", "resend", app, *wrong).code == 2
    assert faceline("webhooks", "disable", app, number).code == 0
    end_jobs(1)
    assert len(json.loads(faceline("webhooks", "deliveries", app, "--json").out)) == 1


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("ftp://receiver.example/", "scheme"),
        ("https://receiver.example:8443/", "port 8443"),
        ("https://user:pw@receiver.example/", "credentials"),
        ("http://10.1.2.3:{port}/", "not a public address"),
        ("http://[::ffff:127.0.0.1]:{port}/", "not a public address"),
        ("http://2130706433:{port}/", "odd spelling"),
    ],
)
def test_urls_that_cannot_be_used(
    faceline: Faceline, app: str, receiver: WebhookReceiver, url: str, why: str
) -> None:
    refused = faceline("webhooks", "add", app, url.format(port=receiver.port))
    assert refused.code == 2
    assert why in refused.err
    assert faceline("webhooks", "add", "unknown", receiver.url).code == 1


def test_the_secret_is_shown_once(
    faceline: Faceline, app: str, receiver: WebhookReceiver
) -> None:
    made = faceline("webhooks", "add", app, receiver.url)
    assert made.out.count("whsec_") == 1
    assert "not https" in made.err
    assert "whsec_" not in faceline("webhooks", "list").out
    assert "secret   whsec_" in faceline("webhooks", "rotate", app, "1", "--now").out
