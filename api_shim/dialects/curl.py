"""The parts of shell lines that call a document: for POSIX shells, with nothing but curl and what
every system has."""

from __future__ import annotations

import shlex
from urllib.parse import urlsplit

LOCAL = frozenset({"127.0.0.1", "localhost", "::1"})


def encoded(photo: str) -> str:
    """The words that print a file in Base64 on one line."""
    return f"base64 <{photo} | tr -d '\\n'"


def curl(*arguments: str, url: str) -> str:
    """A call of curl with these arguments, each taken as it is. No proxy is asked for this
    machine."""
    local = ["--noproxy", "*"] if urlsplit(url).hostname in LOCAL else []
    return " ".join(map(shlex.quote, ("curl", "-sS", *local, *arguments, url)))


def curl_json(*arguments: str, url: str) -> str:
    """The same with the standard input as a body of JSON."""
    return curl("-H", "Content-Type: application/json", *arguments, "--data-binary", "@-", url=url)
