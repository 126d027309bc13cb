"""Python's urllib, which sends every body as a form unless told otherwise."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

PICTURE = Path(sys.argv[1]).read_bytes()
IMAGE = base64.b64encode(PICTURE).decode()
KEY = {"X-API-Key": os.environ["FACE_API_KEY"]}
KNOWN = {"Apid": os.environ["FACE_APID"], "Kvalue": os.environ["FACE_KVALUE"]}
OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def call(
    name: str, path: str, body: bytes, headers: dict[str, str] | None = None, method: str = "POST"
) -> None:
    request = urllib.request.Request(
        os.environ["FACE_URL"] + path, body, headers or {}, method=method
    )
    try:
        with OPENER.open(request) as response:
            print(name, response.status, response.read().decode())
    except urllib.error.HTTPError as error:
        print(name, error.code, error.read().decode())


def form(**fields: str) -> bytes:
    return urllib.parse.urlencode(fields).encode()


def parts(boundary: str) -> bytes:
    """A multipart form as recipes build it by hand."""
    known = {"api_id": os.environ["FACE_API_ID"], "api_secret": os.environ["FACE_API_SECRET"]}
    pieces = [
        f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode()
        for name, value in known.items()
    ]
    for name in ("image_one_file", "image_two_file"):
        head = f'Content-Disposition: form-data; name="{name}"; filename="a.jpg"'
        pieces.append(f"--{boundary}\r\n{head}\r\n\r\n".encode() + PICTURE + b"\r\n")
    return b"".join(pieces) + f"--{boundary}--\r\n".encode()


call("a", "/api/detection", form(**KNOWN, Fimg=IMAGE))
call("a-get", "/api/face", form(**KNOWN), method="GET")
call("b", "/api/faces", json.dumps({"image": IMAGE}).encode(), KEY)
call(
    "c", "/identity/compare_faces_in_two_images", parts("python"),
    {"Content-Type": "multipart/form-data; boundary=python"},
)
# encodebytes breaks lines after 76 letters.
call("d", "/v1/searchface", form(img=base64.encodebytes(PICTURE).decode()), KEY)

asked = {
    "appId": os.environ["FACE_APP_ID"], "data": {"image": IMAGE}, "encType": "plain",
    "signType": "SHA256", "timestamp": int(time.time()), "version": "1",
}
pairs = [
    f"{name}={json.dumps(value, separators=(',', ':')) if isinstance(value, dict) else value}"
    for name, value in asked.items()
]
signed = "&".join([*pairs, f"key={os.environ['FACE_APP_SECRET']}"])
digest = hashlib.sha256(signed.encode()).hexdigest()
asked["signData"] = base64.b64encode(digest.encode()).decode()
call("e", "/face2/locate", json.dumps(asked).encode())
