"""Reading URLs: those accepted, those refused, and the same for any text."""

from __future__ import annotations

import random
import re
from urllib.parse import urlsplit

import pytest

from pipeline.config.settings import Settings
from pipeline.errors import ConfigurationError
from pipeline.fetching.base import FetchRefused
from pipeline.fetching.open import open_fetcher
from pipeline.fetching.urls import MAX_URL_CHARS, FetchTarget, follow_redirect, read_host, read_url
from tests.unit.fetching.targets import ALL

PORTS = frozenset({80, 443, 8080})
TEXTS = 20_000


@pytest.mark.parametrize(
    ("url", "target"),
    [
        ("http://a.example", FetchTarget("http", "a.example", 80, "/")),
        ("HTTPS://A.Example./b?c=d&e#f", FetchTarget("https", "a.example", 443, "/b?c=d&e")),
        ("http://a.example:8080?q", FetchTarget("http", "a.example", 8080, "/?q")),
        ("http://8.8.8.8/%2e%2E/x", FetchTarget("http", "8.8.8.8", 80, "/%2e%2E/x")),
        ("http://[2606:4700:0::1111]:8080/", FetchTarget("http", "2606:4700::1111", 8080, "/")),
        (
            "http://图片.中国/图.jpg",
            FetchTarget("http", "xn--wcsw84d.xn--fiqs8s", 80, "/%E5%9B%BE.jpg"),
        ),
        (
            "http://my_bucket.s3.example/@me:x",
            FetchTarget("http", "my_bucket.s3.example", 80, "/@me:x"),
        ),
        ("http://1.example/", FetchTarget("http", "1.example", 80, "/")),
    ],
)
def test_what_is_taken(url: str, target: FetchTarget) -> None:
    assert read_url(url, PORTS) == target


@pytest.mark.parametrize(
    "url",
    [
        "", "http://", "http://a.example:", "http:///a", "http://a.example:81/",
        "http://a.example:080080/", "http://a.example/" + "a" * MAX_URL_CHARS,
        "http://a..example/", "http://.example/", "http://-a.example/", "http://a-.example/",
        f"http://{'a' * 64}.example/", f"http://{'a.' * 127}example/",
        "http://a.example/\ud800", "http://a.example/ b", "http://a!b.example/", "http://a,b/",
        "http://[::1/", "http://::1/", "http://[v1.a]/", "http://xn--\uff0e/", "http://a.0x/",
        "http://a.1/", "http://1.2.3.4.5/", "http://256.1.1.1/", "http://1.2.3/", "mailto:a@b",
    ],
)
def test_what_is_refused(url: str) -> None:
    with pytest.raises(FetchRefused):
        read_url(url, PORTS)


def test_reading_again_changes_nothing() -> None:
    """Of the targets, hosts are refused or are plain: no second reader can see another."""
    for target in ALL.values():
        url = target.url.replace("{p}", "80").replace("{q}", "443")
        try:
            found = read_url(url, PORTS)
        except FetchRefused:
            continue
        assert urlsplit(found.url).hostname == found.host
        assert read_url(found.url, PORTS) == found


def test_any_text() -> None:
    """Raises only ``FetchRefused``; accepted URLs are in their plain form."""
    chosen = random.Random(7)
    alphabet = "http://::@@..[]%%\\\t\n #?&012x7fa1-_é。１℀\u200d\u00ad\x00ß①中"
    for _ in range(TEXTS):
        text = "".join(chosen.choices(alphabet, k=chosen.randint(0, 24)))
        try:
            found = read_url("http://" + text if chosen.random() < 0.9 else text, PORTS)
        except FetchRefused:
            continue
        assert re.fullmatch(r"[a-z0-9_.:-]+", found.host), text
        assert found.path.isascii()
        assert read_host(f"[{found.host}]" if ":" in found.host else found.host) == found.host
        assert urlsplit(found.url).hostname == found.host, text
        assert found.port in PORTS


@pytest.mark.parametrize(
    ("location", "url"),
    [
        ("b.jpg", "https://a.example/x/b.jpg"), ("/b?c", "https://a.example/b?c"),
        ("//b.example", "https://b.example/"), ("https://b.example:8080/", "https://b.example:8080/"),
        ("../../../b", "https://a.example/b"), ("?q", "https://a.example/x/y?q"),
        ("", "https://a.example/x/y"), ("#f", "https://a.example/x/y"),
    ],
)
def test_redirects(location: str, url: str) -> None:
    there = follow_redirect(FetchTarget("https", "a.example", 443, "/x/y"), location, PORTS)
    assert there == read_url(url, PORTS)


@pytest.mark.parametrize(
    "location",
    ["http://a.example/", "ftp://a.example/", "//a:b@c.example/", "/a\r\nb", "https://[/",
     "javascript:alert(1)", "\\\\b.example", "//127.1/", "https://b.example:22/"],
)
def test_redirects_that_are_refused(location: str) -> None:
    with pytest.raises(FetchRefused):
        follow_redirect(FetchTarget("https", "a.example", 443, "/x/y"), location, PORTS)


def test_off_unless_it_is_switched_on() -> None:
    assert open_fetcher(Settings()) is None
    assert open_fetcher(Settings(fetch_urls=True)) is not None


@pytest.mark.parametrize(
    "wrong",
    [{"fetch_ports": "http"}, {"fetch_ports": ""}, {"fetch_ports": "0"}, {"fetch_ports": "65536"},
     {"fetch_allow_networks": "10.0.0.1/8"}, {"fetch_deny_networks": "example"}],
)
def test_settings_that_cannot_work(wrong: dict[str, str]) -> None:
    with pytest.raises(ConfigurationError, match="FACELINE_FETCH_"):
        open_fetcher(Settings.model_validate({"fetch_urls": True, **wrong}))
