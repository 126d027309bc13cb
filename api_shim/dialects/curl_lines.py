"""Lines for a POSIX shell that send sample requests with curl. Credentials are variables that the
reader sets, pictures are files."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping

from api_shim.dialects.curl import curl_json, encoded
from api_shim.parsing import canonical

_CURL = "curl -sS"
_AS_JSON = "-H 'Content-Type: application/json' --data-binary @-"


def file_names(count: int) -> tuple[str, ...]:
    """So many pictures as curl names files."""
    if count == 1:
        return ("@photo.jpg",)
    return tuple(f"@photo{number}.jpg" for number in range(1, count + 1))


def form_line(url: str, fields: Mapping[str, str], *secrets: tuple[str, str]) -> str:
    """A multipart form: ``fields``, of which a file is ``@name``, and ``secrets`` as (field,
    variable); without these the key is in its header."""
    parts = [f'-F {name}="${variable}"' for name, variable in secrets]
    parts = parts or ['-H "X-API-Key: $API_KEY"']
    parts += [f"-F {name}={value}" for name, value in fields.items()]
    return " ".join([_CURL, *parts, shlex.quote(url)])


def json_line(url: str, data: Mapping[str, object], files: Mapping[str, str]) -> str:
    """A JSON body with ``files`` (``@name``) in Base64 in place of those values of ``data``."""
    return (
        f'{_printed(data, files)} | {_CURL} -H "X-API-Key: $API_KEY" {_AS_JSON} '
        f"{shlex.quote(url)}"
    )


def signed_line(url: str, data: Mapping[str, object], files: Mapping[str, str]) -> str:
    """A signed JSON body, whose variables are in the order of the string to sign: sorted by
    name. The signature is made anew at each call."""
    return (
        f"T=$(date +%s); D=$({_printed(data, files)}); "
        'S=$(printf %s "appId=$APP_ID&data=$D&encType=plain&signType=SHA256&timestamp=$T'
        '&version=1&key=$APP_SECRET" | sha256sum | cut -c1-64 | '
        "tr -d '\\n' | base64 | tr -d '\\n'); "
        'printf %s "{\\"appId\\":\\"$APP_ID\\",\\"data\\":$D,\\"encType\\":\\"plain\\",'
        '\\"signType\\":\\"SHA256\\",\\"timestamp\\":$T,\\"version\\":\\"1\\",'
        f'\\"signData\\":\\"$S\\"}}" | {curl_json(url=url)}'
    )


def _printed(data: Mapping[str, object], files: Mapping[str, str]) -> str:
    """Prints ``data`` as canonical JSON."""
    pairs = [
        f"{json.dumps(name)}:" + ('"%s"' if name in files else canonical(data[name]))
        for name in sorted(data)
    ]
    encoded = [_encoded(files[name].removeprefix("@")) for name in sorted(files)]
    return " ".join([f"printf '{{{','.join(pairs)}}}'", *encoded])


def _encoded(file: str) -> str:
    return f'"$({encoded(file)})"'
