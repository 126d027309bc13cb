"""URLs of Redis: one server, with or without TLS, or a primary that sentinels know.

    redis://[:password@]host:port/number      rediss:// with TLS
    sentinel://[:password@]host:port,host:port/number?master=NAME      sentinels:// with TLS

Password and user are those of the primary; ``sentinel_password`` and ``sentinel_username`` in the
query those of the sentinels. With TLS the query may name ``ssl_ca_certs``, ``ssl_certfile`` and
``ssl_keyfile``; without the first the system's authorities count, or ``SSL_CERT_FILE``.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from urllib.parse import parse_qsl, quote, unquote, urlsplit

from pipeline.errors import ConfigurationError

SINGLE_SCHEMES = ("redis://", "rediss://", "unix://")
SENTINEL_SCHEMES = ("sentinel://", "sentinels://")
REDIS_SCHEMES = (*SINGLE_SCHEMES, *SENTINEL_SCHEMES)

SENTINEL_PORT = 26379

_FILES = ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile")


@dataclass(frozen=True, slots=True)
class SentinelUrl:
    """A primary and the sentinels that know where it is. ``options`` are redis-py's, for the
    primary, ``sentinel_options`` those for the sentinels."""

    hosts: tuple[tuple[str, int], ...]
    master: str
    options: dict[str, object] = field(repr=False)
    sentinel_options: dict[str, object] = field(repr=False)


def is_sentinel(url: str) -> bool:
    return url.startswith(SENTINEL_SCHEMES)


def parse_sentinel(url: str) -> SentinelUrl:
    """Raises ``ConfigurationError``, whose message has no password."""
    parts = urlsplit(url)
    user, _, hosts = parts.netloc.rpartition("@")
    query = dict(parse_qsl(parts.query))
    master = query.get("master", "")
    number = parts.path.strip("/")
    try:
        found = tuple(_host(text) for text in hosts.split(","))
        database = int(number or 0)
    except ValueError as error:
        raise ConfigurationError(
            f"not the URL of sentinels: {parts.scheme}://{hosts}{parts.path}; use "
            "sentinel://host:26379,host:26379/0?master=NAME"
        ) from error
    if not master:
        raise ConfigurationError(
            f"{parts.scheme}://{hosts} needs ?master=NAME, the name that the sentinels have for "
            "the Redis"
        )
    tls: dict[str, object] = {}
    if parts.scheme == "sentinels":
        tls = {"ssl": True, **{name: query[name] for name in _FILES if name in query}}
    name, _, password = user.partition(":")
    return SentinelUrl(
        hosts=found,
        master=master,
        options={**_user(unquote(name), unquote(password)), **tls, "db": database},
        sentinel_options={
            **_user(query.get("sentinel_username", ""), query.get("sentinel_password", "")), **tls,
        },
    )


def _host(text: str) -> tuple[str, int]:
    parts = urlsplit(f"//{text}")
    if not parts.hostname:
        raise ValueError(text)
    return parts.hostname, parts.port or SENTINEL_PORT


def _user(name: str, password: str) -> dict[str, object]:
    return {
        **({"username": name} if name else {}), **({"password": password} if password else {}),
    }


# For kombu, which has its own form of both -------------------------------------------


def kombu_url(url: str) -> str:
    """The broker's URL as kombu reads it; ``kombu_tls`` has what the query says of TLS."""
    if url.startswith("rediss://"):
        return url.partition("?")[0]
    if not is_sentinel(url):
        return url
    found = parse_sentinel(url)
    user = "".join(
        (quote(str(found.options.get("username", "")), safe=""), ":",
         quote(str(found.options["password"]), safe=""), "@")
    ) if "password" in found.options else ""
    return ";".join(
        f"sentinel://{user}{f'[{host}]' if ':' in host else host}:{port}/{found.options['db']}"
        for host, port in found.hosts
    )


def kombu_tls(url: str) -> dict[str, object] | None:
    """Kombu's ``ssl`` for a Redis with TLS; None without. The certificate is always checked."""
    if not url.startswith(("rediss://", "sentinels://")):
        return None
    query = dict(parse_qsl(urlsplit(url).query))
    return {"ssl_cert_reqs": "required", **{name: query[name] for name in _FILES if name in query}}


def kombu_options(url: str) -> dict[str, object]:
    """Kombu's transport options for sentinels; empty for another URL."""
    if not is_sentinel(url):
        return {}
    found = parse_sentinel(url)
    return {"master_name": found.master, "sentinel_kwargs": dict(found.sentinel_options)}
