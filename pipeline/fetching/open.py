"""Creates what connects to foreign servers, by the settings."""

from __future__ import annotations

from pipeline.config.settings import Settings
from pipeline.errors import ConfigurationError
from pipeline.fetching.addresses import AddressPolicy, read_networks
from pipeline.fetching.client import FetchLimits, WebFetcher
from pipeline.fetching.connections import Connector
from pipeline.fetching.post import WebPoster


def open_fetcher(settings: Settings) -> WebFetcher | None:
    """The fetcher; None when downloads are switched off. Raises ``ConfigurationError``."""
    if not settings.fetch_urls:
        return None
    limits = FetchLimits(
        settings.fetch_max_bytes, settings.fetch_deadline_s, _ports(settings.fetch_ports)
    )
    return WebFetcher(_connector(settings), limits)


def open_poster(settings: Settings) -> WebPoster:
    """What sends webhooks: to the ports and networks that may be fetched from, whether
    downloads are on or not. Raises ``ConfigurationError``."""
    return WebPoster(
        _connector(settings), settings.webhook_deadline_s, _ports(settings.fetch_ports)
    )


def _connector(settings: Settings) -> Connector:
    return Connector(
        AddressPolicy(
            allow=read_networks(settings.fetch_allow_networks, "FACELINE_FETCH_ALLOW_NETWORKS"),
            deny=read_networks(settings.fetch_deny_networks, "FACELINE_FETCH_DENY_NETWORKS"),
        )
    )


def _ports(text: str) -> frozenset[int]:
    try:
        ports = frozenset(int(part) for part in text.split(",") if part.strip())
    except ValueError as error:
        raise ConfigurationError(f"FACELINE_FETCH_PORTS: {error}") from error
    if not ports or not all(0 < port < 65536 for port in ports):
        raise ConfigurationError(f"FACELINE_FETCH_PORTS must list ports, not {text!r}")
    return ports
