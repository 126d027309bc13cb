"""The client has a call for everything that an application may do."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, assert_type

import faceline_client as sdk
import pytest
from faceline_client import operations, results

from api_shim.dialects import a, b, c, d, e
from tests.unit.sdk.test_client_package import described

PAGE = Path(__file__).resolve().parents[3] / "docs" / "python-client.md"

ONE, TWO = b"one", b"two"

CALLS: list[sdk.Operation[Any]] = [
    operations.detect(ONE), operations.compare(ONE, TWO), operations.similarities(ONE, [TWO]),
    operations.compare_all(ONE, TWO), operations.verify(ONE, TWO), operations.features(ONE),
    operations.enrol(ONE), operations.enrol_single(ONE), operations.replace_face(1, ONE),
    operations.rename_face(1, "x"), operations.find_face(1), operations.remove_face(1),
    operations.list_faces(), operations.get_face("x"), operations.delete_face("x"),
    operations.get_picture("x"), operations.delete_picture("x"), operations.clear_gallery(),
    operations.list_collections(), operations.create_collection("x", "x"),
    operations.update_collection("x"), operations.delete_collection("x"),
    operations.list_collection_faces("x"), operations.bind("x", []), operations.unbind("x", []),
    operations.search(ONE), operations.add_people(ONE), operations.find_people(ONE),
    operations.delete_person("x"), operations.match(1, ONE), operations.living(1, ONE),
    operations.ask_challenge(1), operations.evidence("x"), operations.health(),
    operations.cancel_job("x"), operations.start_batch(["x"]), operations.list_batches(),
    operations.get_batch("x"), operations.list_batch_items("x"), operations.cancel_batch("x"),
    operations.retry_batch("x"),
]

# Calls of a document that another one has, too.
ELSEWHERE = {
    ("GET", "/api/face"): "list_faces",
    ("POST", "/face2/locate"): "detect",
}


@pytest.mark.parametrize("dialect", [a, b, c, d, e], ids=lambda module: module.DIALECT.letter)
def test_every_endpoint_of_a_document_has_a_call(dialect: Any) -> None:
    called = {(each.method, each.path) for each in CALLS}
    missing = {
        (endpoint.path, tuple(endpoint.methods))
        for endpoint in dialect.DIALECT.endpoints
        if not any(
            (method, re.sub(r"\{[^}]*\}", "x", endpoint.path)) in called | ELSEWHERE.keys()
            for method in endpoint.methods
        )
    }

    assert missing == set()


def test_every_call_is_listed_here_and_on_the_page() -> None:
    table = PAGE.read_text("utf-8").partition("## Every call")[2].partition("## Jobs")[0]

    assert {each.name for each in CALLS} == described()
    assert described() <= set(re.findall(r"`(\w+)`", table))


def test_only_jobs_and_batches_have_a_key() -> None:
    keyed = {each.name for each in CALLS if each.keyed}

    assert keyed == {each.name for each in CALLS if each.is_job} | {"start_batch"}


if TYPE_CHECKING:
    # mypy proves that methods keep the types of their operations.
    async def types(one: sdk.Client, other: sdk.AsyncClient) -> None:
        assert_type(one.compare(ONE, TWO, liveness=True), results.Comparison)
        assert_type(await other.search("a.jpg", top=1), results.SearchResult)
        job = one.submit(operations.living(1, ONE, action="mouth"))
        assert_type(job.wait(timeout=1), results.LivingVerdict)
        again = await other.submit(operations.detect(ONE))
        assert_type(await again.wait(), results.Detection)
        assert_type(one.delete_face("x"), None)
        one.compare(ONE)  # type: ignore[call-arg]
        one.submit(operations.list_faces())  # type: ignore[type-var]
