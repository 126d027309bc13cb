"""`faceline-client` against a running service: every method of both clients, lost connections, its
page and its examples. The installed wheel: `tests/integration/test_local_stack.py`."""

from __future__ import annotations

import asyncio
import contextlib
import io
import os
import re
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import faceline_client as sdk
import numpy as np
import pytest
from faceline_client import operations, results
from PIL import Image

from tests.client_wheel import PROGRAM_S, SDK, printed
from tests.clips import encoded
from tests.databases import ONE_DATABASE, open_database
from tests.face2_client import Credentials
from tests.proxy import Fault, Proxy
from tests.servers import MinioServer
from tests.stack import Stack
from tests.unit.sdk.test_client_package import described
from tests.waiting import eventually

# The client knows no database.
pytestmark = ONE_DATABASE

PAGE = Path(__file__).resolve().parents[2] / "docs" / "python-client.md"
EXAMPLES = SDK / "examples"

KINDS = ("sync", "async")

# Words of the client that are no calls of the service.
OWN = {"run", "submit", "wait", "watch_batch", "iter_faces", "iter_batch_items"}


def known(credentials: Credentials) -> sdk.Credentials:
    return sdk.Credentials(
        api_key=credentials.api_key, apid=credentials.apid, kvalue=credentials.kvalue,
        api_id=credentials.api_id, api_secret=credentials.api_secret,
        app_id=credentials.app_id, app_secret=credentials.app_secret,
    )


class Caller:
    """Calls the methods of either client in the same words, and remembers which."""

    def __init__(self, kind: str, url: str, credentials: Credentials) -> None:
        self.called: set[str] = set()
        self._runner = asyncio.Runner()
        self._client: Any = (
            sdk.Client(url, known(credentials), timeout=PROGRAM_S) if kind == "sync"
            else self._await(self._make(url, known(credentials)))
        )

    def __getattr__(self, name: str) -> Callable[..., Any]:
        self.called.add(name)
        return lambda *args, **more: self.of(getattr(self._client, name)(*args, **more))

    def job(self, job_id: str, kind: type[results.Result]) -> Any:
        return self._client.job(job_id, kind)

    def of(self, result: Any) -> Any:
        """A result, awaited, or all that an iterator gives."""
        if hasattr(result, "__aiter__"):
            return self._await(self._all(result))
        if hasattr(result, "__await__"):
            return self._await(result)
        return list(result) if isinstance(result, Iterator) else result

    def close(self) -> None:
        self.of(self._client.close() if hasattr(self._client, "close") else self._client.aclose())
        self._runner.close()

    def _await(self, waiting: Any) -> Any:
        async def wait() -> Any:
            return await waiting

        return self._runner.run(wait())

    async def _all(self, iterator: Any) -> list[Any]:
        return [each async for each in iterator]

    async def _make(self, url: str, credentials: sdk.Credentials) -> sdk.AsyncClient:
        return sdk.AsyncClient(url, credentials, timeout=PROGRAM_S)


def opened(path: Path) -> Image.Image:
    return Image.open(io.BytesIO(path.read_bytes()))


class Importing:
    """A whole service that imports from a bucket."""

    def __init__(self, stack: Stack, minio: MinioServer, bucket: str) -> None:
        self.stack = stack
        self._minio = minio.client()
        self._bucket = bucket

    def put(self, tenant: Credentials, key: str, data: bytes) -> None:
        name = f"in/t{tenant.tenant_id}/{key}"
        self._minio.put_object(self._bucket, name, io.BytesIO(data), len(data))


@pytest.fixture(scope="module")
def service(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, backend: str,
    edge_models: Path, shared_minio: MinioServer,
) -> Iterator[Importing]:
    bucket = f"client-{os.urandom(4).hex()}"
    settings: dict[str, object] = {
        "import_url": f"{shared_minio.bucket(bucket)}/in",
        "media_access_key": shared_minio.access_key,
        "media_secret_key": shared_minio.secret_key,
        "living_challenge_s": 3600.0,  # on a busy machine a clip takes long to arrive
    }
    with (
        open_database(request, backend) as database,
        Stack(
            tmp_path_factory.mktemp("client"), edge_models, hold_s=90.0, **settings, **database
        ) as stack,
    ):
        stack.start_index()
        stack.start_worker(stages="bulk", concurrency=1)
        stack.start(concurrency=1)
        yield Importing(stack, shared_minio, bucket)


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def calling() -> Iterator[Callable[..., Caller]]:
    made: list[Caller] = []

    def make(kind: str, stack: Stack, credentials: Credentials | None = None) -> Caller:
        made.append(Caller(kind, stack.url, credentials or stack.credentials))
        return made[-1]

    yield make
    for each in made:
        each.close()


def test_every_method(
    service: Importing, kind: str, calling: Callable[..., Caller], photos: Path, test_data: Path
) -> None:
    tenant = service.stack.add_tenant(f"methods-{kind}")
    client = calling(kind, service.stack, tenant)

    look_at_pictures(client, photos, test_data)
    keep_faces(client, photos)
    keep_people(client, photos)
    check_a_living_person(client, photos)
    enrol_a_batch(client, service, tenant, photos)

    eventually(lambda: client.health().status == "ok", "the service is well")
    client.clear_gallery()
    assert client.iter_faces() == []
    assert client.called - OWN == described()


def look_at_pictures(client: Caller, photos: Path, test_data: Path) -> None:
    obama, biden = photos / "obama.jpg", (photos / "biden.jpg").read_bytes()
    (box,) = client.detect(obama).boxes
    width, height = opened(obama).size
    assert 0 <= box.left < box.right <= width
    assert 0 <= box.top < box.bottom <= height
    assert len(client.detect(str(photos / "two_people.jpg")).boxes) == 2
    assert client.detect(test_data / "bad" / "no_face.png").boxes == ()

    same = client.compare(obama, obama, liveness=True)
    assert same.score > 99
    assert 0 <= same.first.liveness <= 100
    assert same.first.box.width == pytest.approx(box.width, rel=0.2)
    assert client.compare(obama, biden).score < 80
    one, other = client.similarities(obama, [obama, biden]).scores
    assert one > 99 > 80 > other
    matrix = client.compare_all(obama, biden)
    assert matrix.scores == ((matrix.best,),)
    again = client.compare_all(sdk.StoredImage(matrix.first_id), obama)
    assert again.best > 99
    assert again.first_id is None
    verified = client.verify(obama, biden)
    assert not verified.matches
    assert 0.6 < verified.distance <= 1
    assert np.linalg.norm(client.features(obama).vector) == pytest.approx(1, abs=1e-3)
    with pytest.raises(sdk.NoFace):
        client.compare(test_data / "bad" / "no_face.png", obama)
    with pytest.raises(sdk.BadPicture):
        client.detect(b"no picture")


def keep_faces(client: Caller, photos: Path) -> None:
    obama, biden = photos / "obama.jpg", photos / "biden.jpg"
    face = client.enrol(obama, name="Obama", description="a", gender="m", image_id="pic 1?")
    assert face.image_id == "pic 1?"
    with pytest.raises(sdk.Conflict):
        client.enrol(obama, image_id=face.image_id)
    page = client.list_faces(limit=1)
    assert (page.total, page.faces[0].face_token) == (1, face.face_token)
    assert client.iter_faces() == list(page.faces)
    shown = client.get_face(face.face_token)
    assert (shown.name, shown.box, shown.collections) == ("Obama", face.box, ())
    assert Image.open(io.BytesIO(shown.cutout)).format == "JPEG"
    stored = client.get_picture(face.image_id)
    assert stored.content == obama.read_bytes()
    assert stored.face_tokens == (face.face_token,)

    client.create_collection("staff", "Staff", type="t", score=70)
    with pytest.raises(sdk.Conflict):
        client.create_collection("staff", "Others")
    client.update_collection("staff", name="All staff", score=75)
    found = {each.key: each for each in client.list_collections()}
    assert found["staff"] == sdk.Collection("staff", "All staff", "t", 75, 0)
    report = client.bind(face.face_token, ["staff", "none"])
    assert (report.changed, report.unknown) == (1, ("none",))
    (member,) = client.list_collection_faces("staff").faces
    assert (member.face_id, member.image_id) == (None, face.image_id)
    assert client.iter_faces("staff") == [member]
    searched = client.search(obama, ["staff"], vector=True)
    assert [hit.face_token for hit in searched.hits] == [face.face_token]
    assert searched.hits[0].score > 99
    assert len(searched.vector) == 512
    assert client.search(biden, ["staff"], top=1).hits == ()
    assert client.unbind(face.face_token, ["staff"]).changed == 1
    client.delete_collection("staff")
    with pytest.raises(sdk.NotFound):
        client.list_collection_faces("staff")

    assert client.find_face(face.face_id).name == "Obama"
    assert client.rename_face(face.face_id, "B. O.").name == "B. O."
    assert client.match(face.face_id, obama).matches
    assert client.replace_face(face.face_id, biden, name="Biden").face_id == face.face_id
    assert not client.match(face.face_id, obama).matches
    assert client.remove_face(face.face_id).name == "Biden"
    with pytest.raises(sdk.NotFound):
        client.find_face(face.face_id)


def keep_people(client: Caller, photos: Path) -> None:
    single = client.enrol_single(photos / "biden.jpg", name="Biden")
    token = client.list_faces().faces[0].face_token
    client.delete_face(token)
    with pytest.raises(sdk.NotFound):
        client.match(single.face_id, photos / "biden.jpg")
    (left,) = client.list_faces().faces
    assert left.face_token == ""
    client.delete_picture(left.image_id)

    added = client.add_people(photos / "two_people.jpg", name="Pair")
    assert ([each.name for each in added.people], added.left_out) == (["Pair", "Pair"], 0)
    found = client.find_people(photos / "two_people.jpg", collection="default")
    assert found.candidates[0].score == 100
    assert not found.more
    for each in added.people:
        client.delete_person(each.person_id)
    assert client.find_people(photos / "two_people.jpg").candidates == ()


def check_a_living_person(client: Caller, photos: Path) -> None:
    face = client.enrol_single(photos / "obama.jpg", name="Obama")
    picture = np.asarray(opened(photos / "obama.jpg").convert("RGB"))[:, :, ::-1]
    small = picture[: picture.shape[0] // 2 * 2, : picture.shape[1] // 2 * 2]
    clip = encoded([np.ascontiguousarray(small)] * 12, fps=12)
    verdict = client.living(face.face_id, clip, action="mouth")
    assert not verdict.real
    challenge = client.ask_challenge(face.face_id, actions=2)
    assert len(challenge.order) == 2
    assert challenge.seconds > 0
    operation = operations.living(face.face_id, clip, challenge=challenge.id)
    job = client.submit(operation)
    assert not client.of(job.wait()).real
    assert client.evidence(job.id).reasons
    with pytest.raises(sdk.ChallengeRefused):
        client.living(face.face_id, clip, challenge=challenge.id)
    with pytest.raises(sdk.BadClip):
        client.living(face.face_id, b"no clip")
    with pytest.raises(sdk.Conflict):
        client.cancel_job(job.id)
    again = client.job(job.id, results.LivingVerdict)
    assert not client.of(again.wait()).real
    assert client.of(again.watch())[-1].ended
    assert client.submit(operation).id == job.id


def enrol_a_batch(
    client: Caller, service: Importing, tenant: Credentials, photos: Path
) -> None:
    service.put(tenant, "ada.jpg", (photos / "obama.jpg").read_bytes())
    ada = sdk.BatchSource("ada.jpg", name="Ada", external_id="7")
    items: list[sdk.BatchSource | str] = [ada, "gone.jpg"]
    operation = operations.start_batch(items, faces="one")
    batch = client.run(operation)
    assert client.run(operation).id == batch.id
    ended = client.watch_batch(batch.id, every_s=0.1)[-1]
    assert (ended.status, ended.enrolled + ended.duplicate, ended.rejected) == ("done", 1, 1)
    assert ended.progress == 1
    (counted,) = [each for each in ended.reasons if each.status == "rejected"]
    assert (counted.reason, counted.items) == ("media_not_found", 1)
    assert client.get_batch(batch.id).total == 2
    assert client.list_batches().batches[0].id == batch.id
    page = client.list_batch_items(batch.id, limit=1)
    assert (page.items[0].name, page.items[0].external_id) == ("Ada", "7")
    assert page.next == 1
    (refused,) = client.iter_batch_items(batch.id, status="rejected", reason="media_not_found")
    assert refused.source_name == "gone.jpg"
    assert client.retry_batch(batch.id, reasons=["media_not_found"]) == 1
    assert client.cancel_batch(batch.id).id == batch.id
    with pytest.raises(sdk.NotFound):
        client.get_batch("0" * 32)
    with pytest.raises(sdk.NotFound):
        client.start_batch(prefix="", collection="none")
    client.start_batch(prefix="none/")


def test_a_job_that_nobody_runs(
    idle_stack: Stack, kind: str, calling: Callable[..., Caller], photos: Path
) -> None:
    client = calling(kind, idle_stack, idle_stack.add_tenant(f"idle-{kind}"))
    photo = (photos / "obama.jpg").read_bytes()

    job = client.submit(operations.detect(photo))

    status = client.of(job.status())
    assert (status.state, status.stage) == ("queued", "decode")
    assert status.position is not None
    with pytest.raises(sdk.TimedOut, match="queued at decode") as caught:
        client.of(job.wait(timeout=0.2))
    assert caught.value.job_id == job.id
    client.of(job.cancel())
    with pytest.raises(sdk.JobFailed):
        client.of(job.wait())
    with pytest.raises(sdk.TimedOut):
        client.run(operations.detect(photo), timeout=0.2)
    queued = client.submit(operations.detect(photo))
    with pytest.raises(sdk.Conflict, match="not ended"):
        client.evidence(queued.id)


def test_strangers_are_refused(
    idle_stack: Stack, kind: str, calling: Callable[..., Caller], photos: Path
) -> None:
    tenant = idle_stack.add_tenant(f"owner-{kind}")
    job = calling(kind, idle_stack, tenant).submit(operations.detect(photos / "obama.jpg"))
    stranger = calling(kind, idle_stack, idle_stack.add_tenant(f"stranger-{kind}"))
    wrong = calling(kind, idle_stack, Credentials(
        tenant_id=0, app_id="A" * 32, app_secret="s", sm2_private_key="", api_key="k" * 43,
        apid=123456789, kvalue="v", api_id="0" * 32, api_secret="s",
    ))

    with pytest.raises(sdk.NotFound):
        stranger.of(stranger.job(job.id, results.Detection).wait(timeout=5))
    photo = photos / "obama.jpg"
    for call in ("detect", "enrol", "features", "add_people"):
        with pytest.raises(sdk.Unauthorized):
            getattr(wrong, call)(photo)
    with pytest.raises(sdk.Unauthorized):
        wrong.compare_all(photo, photo)
    with pytest.raises(sdk.Unauthorized):
        wrong.list_batches()


def test_what_was_sent_before_a_connection_broke_is_done_once(
    service: Importing, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tenant = service.stack.add_tenant("broken")
    photo = photos / "obama.jpg"
    with contextlib.closing(Proxy(service.stack.settings.port)) as proxy:

        def mend(_: float) -> None:
            proxy.fault = Fault.NONE

        # The answers are lost until the client tries again.
        monkeypatch.setattr("faceline_client.client.time", SimpleNamespace(sleep=mend))
        with sdk.Client(f"http://127.0.0.1:{proxy.port}", known(tenant)) as client:
            proxy.fault = Fault.CUT
            face = client.enrol(photo)  # Conflict if it were enrolled twice
            assert proxy.fault is Fault.NONE
            assert client.list_faces().total == 1

            proxy.fault = Fault.CUT
            with pytest.raises(sdk.ConnectionLost):
                client.delete_picture(face.image_id)
            proxy.fault = Fault.NONE
            eventually(lambda: client.list_faces().total == 0, "the deletion is made")


# Examples ------------------------------------------------------------------------------


def environment(stack: Stack, tenant: Credentials) -> dict[str, str]:
    return {
        **os.environ, "FACE_URL": stack.url, "FACE_API_KEY": tenant.api_key,
        "FACE_APID": str(tenant.apid), "FACE_KVALUE": tenant.kvalue, "no_proxy": "*",
        "PYTHONPATH": str(SDK),
    }


def run(name: str, *arguments: Path | str, env: dict[str, str]) -> str:
    """What an example prints."""
    return printed([sys.executable, EXAMPLES / name, *arguments], env=env)


def test_the_page(service: Importing, photos: Path, tmp_path: Path) -> None:
    tenant = service.stack.add_tenant("page")
    samples = re.findall(r"```python\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    for name in ("ada.jpg", "visitor.jpg", "a.jpg"):
        shutil.copy(photos / "obama.jpg", tmp_path / name)
    shutil.copy(photos / "biden.jpg", tmp_path / "b.jpg")
    service.put(tenant, "2026/Ada/1.jpg", (photos / "biden.jpg").read_bytes())
    service.put(tenant, "2026/Bob/2.jpg", b"no picture")

    said = printed(
        [sys.executable, "-c", "\n".join(samples)], cwd=tmp_path,
        env=environment(service.stack, tenant),
    ).splitlines()

    assert len(samples) == 3
    assert said[0].startswith("100.0 Ada ")
    assert "ended None None" in said
    assert said[-1].startswith("2026/Bob/2.jpg not_a_picture")


def test_the_example_that_frames_faces(service: Importing, photos: Path, tmp_path: Path) -> None:
    photo, target = photos / "two_people.jpg", tmp_path / "boxes.png"
    tenant = service.stack.add_tenant("boxes")

    said = run("boxes.py", photo, target, env=environment(service.stack, tenant))

    assert len(said.splitlines()) == 2
    drawn, plain = opened(target).convert("RGB"), opened(photo).convert("RGB")
    assert drawn.size == plain.size
    changed = (np.asarray(drawn) != np.asarray(plain)).any(axis=2)
    assert (np.asarray(drawn)[changed] == (0, 255, 0)).all(axis=1).mean() > 0.5


def test_the_example_that_finds_people(service: Importing, photos: Path, tmp_path: Path) -> None:
    tenant, target = service.stack.add_tenant("find"), tmp_path / "sheet.png"
    obama, biden = tmp_path / "obama.jpg", photos / "biden.jpg"
    shutil.copy(photos / "obama.jpg", obama)
    blank = tmp_path / "blank.png"
    Image.new("RGB", (200, 200)).save(blank)
    known_as = environment(service.stack, tenant)

    first = run("find_people.py", obama, target, obama, biden, blank, env=known_as)
    second = run("find_people.py", obama, target, obama, env=known_as)

    assert "blank.png: refused, FACE_NOT_FOUND" in first
    assert "obama.jpg: enrolled already" in second
    assert first.splitlines()[-1] == second.splitlines()[-1] == "100.0 obama.jpg"
    assert opened(target).size == (160, 180)


def test_the_example_that_compares_a_folder(
    service: Importing, photos: Path, tmp_path: Path
) -> None:
    tenant, target = service.stack.add_tenant("folder"), tmp_path / "scores.png"
    shutil.copy(photos / "obama.jpg", tmp_path / "same.jpg")
    files = [photos / "obama.jpg", photos / "biden.jpg", tmp_path / "same.jpg"]

    said = run("compare_folder.py", target, *files, env=environment(service.stack, tenant))

    scores = {tuple(line.split()[1:]): float(line.split()[0]) for line in said.splitlines()}
    assert scores["obama.jpg", "same.jpg"] > 99
    assert scores["obama.jpg", "biden.jpg"] < 80
    assert opened(target).size == (270, 270)


def test_the_example_that_watches_a_batch(
    service: Importing, photos: Path, tmp_path: Path
) -> None:
    tenant, target = service.stack.add_tenant("batch"), tmp_path / "outcome.png"
    service.put(tenant, "new/ada.jpg", (photos / "obama.jpg").read_bytes())
    service.put(tenant, "new/bad.jpg", b"no picture")

    said = run("batch_progress.py", "new/", target, env=environment(service.stack, tenant))

    lines = said.splitlines()
    assert f"[{'#' * 40}] 2 of 2 done" in lines
    assert lines[-1].startswith("new/bad.jpg: not_a_picture")
    halves = np.asarray(opened(target).convert("RGB"))[20]
    assert tuple(halves[100]) == (0, 128, 0)
    assert tuple(halves[500]) == (255, 0, 0)
