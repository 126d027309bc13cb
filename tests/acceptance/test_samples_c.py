"""The samples of document c run with another host and other credentials, and those of
docs/api.md as printed.

Samples in languages that are not installed (Java, PHP, Ruby, C++) are replaced by the bytes
that their libraries send.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Callable
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import requests

from tests.acceptance.page_samples import environment_of, run_python, run_shell
from tests.conftest import missing
from tests.databases import ONE_DATABASE
from tests.face2_client import CALL_S, Json
from tests.linkface_client import PATH, LinkfaceClient
from tests.stack import Stack

pytestmark = ONE_DATABASE

Files = tuple[Path, Path]


@pytest.fixture(scope="module")
def c(stack: Stack) -> LinkfaceClient:
    return LinkfaceClient(stack)


@pytest.fixture
def files(photos: Path) -> Files:
    return photos / "obama.jpg", photos / "obama-1080p.jpg"


def curl(*arguments: str) -> Json:
    if shutil.which("curl") is None:
        missing("no curl")
    done = subprocess.run(
        ["curl", "-sS", "--noproxy", "*", *arguments], capture_output=True, text=True, check=True
    )
    answer: Json = json.loads(done.stdout)
    return answer


def check(answer: Json) -> None:
    """One person, and both pictures stored."""
    assert answer["status"] == "OK", answer
    assert answer["max_confidence"] > 0.9
    assert {"image_one", "image_two"} <= set(answer)


def test_curl(c: LinkfaceClient, files: Files) -> None:
    known = f"api_id={c.credentials.api_id}&api_secret={c.credentials.api_secret}"
    check(
        curl(
            "-X", "POST", f"{c.url}{PATH}?{known}",
            "-F", f"image_one_file=@{files[0]}", "-F", f"image_two_file=@{files[1]}",
        )
    )


def test_libcurl_from_cpp(c: LinkfaceClient, files: Files) -> None:
    """``curl_formadd`` writes the same as ``-F``, the credentials first."""
    known = [f"{name}={value}" for name, value in c.known.items()]
    parts = [*known, f"image_one_file=@{files[0]}", f"image_two_file=@{files[1]}"]
    check(curl(f"{c.url}{PATH}", *(word for part in parts for word in ("-F", part))))


def test_libcurl_from_php(c: LinkfaceClient, files: Files) -> None:
    """The sample for PHP 5.6 sends its files as ``image_one_url`` and ``image_two_id``."""
    for names in (("image_one_file", "image_two_file"), ("image_one_url", "image_two_id")):
        parts = [f"{name}={value}" for name, value in c.known.items()]
        parts += [f"{name}=@{file}" for name, file in zip(names, files, strict=True)]
        check(curl(f"{c.url}{PATH}", *(word for part in parts for word in ("-F", part))))


def test_python(c: LinkfaceClient, files: Files) -> None:
    url = c.url + PATH
    with files[0].open("rb") as one, files[1].open("rb") as two:
        sent = {"image_one_file": one, "image_two_file": two}
        response = requests.post(url, files=sent, data=c.known, timeout=CALL_S)
    check(response.json())


def test_httpie(c: LinkfaceClient, files: Files) -> None:
    """HTTPie says the type of a file, by its name, and streams nothing."""
    sent = {
        "image_one_file": (files[0].name, files[0].read_bytes(), "image/jpeg"),
        "image_two_file": (files[1].name, files[1].read_bytes(), "image/jpeg"),
    }
    headers = {"User-Agent": "HTTPie/3.2", "Accept": "application/json, */*;q=0.5"}
    check(c.send("POST", PATH, params=c.known, files=sent, headers=headers).json())


# Bodies that other libraries write ------------------------------------------------


def of_apache(known: dict[str, str], files: Files) -> tuple[str, bytes]:
    """``MultipartEntity`` of HttpClient 4 in its strict mode: files first, an encoding for
    every part, and the boundary of a content type that names no charset."""
    boundary = "vNlPzTqk3-9gW_rXh2mO5yBd8eJf0cUaKs"
    parts = []
    for name, file in zip(("image_one_file", "image_two_file"), files, strict=True):
        parts.append(
            f'Content-Disposition: form-data; name="{name}"; filename="{file.name}"\r\n'
            "Content-Type: application/octet-stream\r\n"
            "Content-Transfer-Encoding: binary\r\n\r\n".encode() + file.read_bytes()
        )
    for name, value in known.items():
        parts.append(
            f'Content-Disposition: form-data; name="{name}"\r\n'
            "Content-Type: text/plain; charset=US-ASCII\r\n"
            f"Content-Transfer-Encoding: 8bit\r\n\r\n{value}".encode()
        )
    return f"multipart/form-data; boundary={boundary}", joined(boundary, parts)


def of_ruby(known: dict[str, str], files: Files) -> tuple[str, bytes]:
    """``Net::HTTP::Post::Multipart`` of multipart-post: a length for every file."""
    boundary = "-----------RubyMultipartPost-4fb0ee0a8fdc29d5"
    parts = []
    for name, file in zip(("image_one_file", "image_two_file"), files, strict=True):
        data = file.read_bytes()
        parts.append(
            f'Content-Disposition: form-data; name="{name}"; filename="{file.name}"\r\n'
            f"Content-Length: {len(data)}\r\nContent-Type: image/jpeg\r\n"
            "Content-Transfer-Encoding: binary\r\n\r\n".encode() + data
        )
    parts += [
        f'Content-Disposition: form-data; name="{name}"\r\n\r\n{value}'.encode()
        for name, value in known.items()
    ]
    return f"multipart/form-data; boundary={boundary}", joined(boundary, parts)


def joined(boundary: str, parts: list[bytes]) -> bytes:
    return b"".join(
        [*(f"--{boundary}\r\n".encode() + part + b"\r\n" for part in parts),
         f"--{boundary}--\r\n".encode()]
    )


@pytest.mark.parametrize("library", [of_apache, of_ruby])
@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunked"])
def test_bodies_of_other_libraries(
    c: LinkfaceClient, files: Files, chunked: bool,
    library: Callable[[dict[str, str], Files], tuple[str, bytes]],
) -> None:
    content_type, body = library(c.known, files)
    connection = HTTPConnection(urlsplit(c.url).netloc, timeout=CALL_S)
    connection.request(
        "POST", PATH, iter([body[:1000], body[1000:]]) if chunked else body,
        {"Content-Type": content_type}, encode_chunked=chunked,
    )
    check(json.loads(connection.getresponse().read()))
    connection.close()


# The samples of docs/api.md ---------------------------------------------------------


@pytest.fixture
def environment(stack: Stack, c: LinkfaceClient, files: Files) -> dict[str, str]:
    return environment_of(
        stack, PHOTO=files[0], FACE_API_ID=c.credentials.api_id,
        FACE_API_SECRET=c.credentials.api_secret,
    )


def test_our_own_shell_sample(environment: dict[str, str]) -> None:
    sent, by_id = run_shell("image_one_id", environment)
    check(sent)
    assert by_id["max_confidence"] == sent["max_confidence"]
    assert re.fullmatch("TID[0-9a-f]{32}", by_id["request_id"])


def test_our_own_python_sample(environment: dict[str, str], files: Files) -> None:
    (confidence,) = run_python("FACE_API_SECRET", environment, *files)
    assert float(confidence) > 0.9
