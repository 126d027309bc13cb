"""Ways to make a careless service connect to itself or to its neighbours.

In a URL `{p}` and `{q}` are ports of the canary, which listens on all addresses of this
machine; `{public}` is a server that may be fetched from, and `{to:...}` a path there that
redirects.
"""

from __future__ import annotations

from dataclasses import dataclass, field

PUBLIC = "8.8.8.8"
"""An address of the internet. Nothing here is ever to connect to it either: what it stands
in is refused for another reason."""

REDIRECTOR = "127.0.0.9"
"""Stands for a server of the internet, by an exception that is made for it alone."""

Answers = list[list[str]]


@dataclass(frozen=True)
class Target:
    """``names`` are the answers of name servers for a name: the first time, the second, ... and
    the last from then on. ``redirects`` are by their paths on the public server."""

    url: str
    names: dict[str, Answers] = field(default_factory=dict)
    redirects: dict[str, str] = field(default_factory=dict)


def spelled(*hosts: str) -> dict[str, Target]:
    return {host: Target(f"http://{host}:{{p}}/") for host in hosts}


def written(*urls: str) -> dict[str, Target]:
    return {ascii(url): Target(url) for url in urls}


def named(**answers: Answers) -> dict[str, Target]:
    return {
        label.replace("_", " "): Target("http://a.example:{p}/", {"a.example": given})
        for label, given in answers.items()
    }


def redirected(**locations: str) -> dict[str, Target]:
    return {
        f"redirect {label.replace('_', ' ')}": Target("{public}/r", redirects={"/r": location})
        for label, location in locations.items()
    }


SPELLINGS = spelled(
    # plain, and every way of inet_aton
    "127.0.0.1", "127.0.0.2", "127.255.255.254", "127.1", "127.0.1", "2130706433", "0x7f000001",
    "0x7F.0.0.1", "0x7f.1", "0177.0.0.1", "0177.1", "017700000001", "127.0.0.01", "127.00.00.01",
    "0x7f.0x0.0x0.0x1", "0", "0.0.0.0", "0.0", "0x0",
    # names of this machine, trailing dots
    "localhost", "LOCALHOST", "localhost.", "127.0.0.1.", "127.1.",
    # percent-encoded
    "127%2e0%2e0%2e1", "%31%32%37.0.0.1", "%6cocalhost", "loc%61lhost", "127.0.0.1%00.example",
    # full-width, circled and ideographic forms that Unicode maps to these
    "\uff11\uff12\uff17.\uff10.\uff10.\uff11", "\u2460\u2461\u2466.\u24ea.\u24ea.\u2460",
    "127\u30020\u30020\u30021", "127\uff0e0\uff0e0\uff0e1", "\uff4c\uff4f\uff43\uff41lhost",
    "\u24db\u24de\u24d2\u24d0\u24db\u24d7\u24de\u24e2\u24e3",
    # IPv6, and IPv4 in it
    "[::1]", "[0:0:0:0:0:0:0:1]", "[0000::0001]", "[::]", "[::ffff:127.0.0.1]",
    "[::ffff:7f00:1]", "[0:0:0:0:0:ffff:7f00:0001]", "[::127.0.0.1]", "[::7f00:1]",
    "[::ffff:0:127.0.0.1]", "[64:ff9b::127.0.0.1]", "[64:ff9b:1::127.0.0.1]", "[2002:7f00:1::]",
    "[2001:0:7f00:1::]", "[::1%lo]", "[::1%25lo]", "[fe80::1%25lo]",
)

URLS = written(
    # credentials, real and seeming
    "http://user:password@127.0.0.1:{p}/", "http://public.example@127.0.0.1:{p}/",
    "http://public.example:80@127.0.0.1:{p}/", "http://@127.0.0.1:{p}/",
    "http://public.example%40127.0.0.1:{p}/", "http://127.0.0.1:{p}@public.example:{q}/",
    "http://a@public.example@127.0.0.1:{p}/",
    # where readers disagree about where the host ends
    "http://public.example\\@127.0.0.1:{p}/", "http://127.0.0.1:{p}\\@public.example/",
    "http://public.example#@127.0.0.1:{p}/", "http:\\\\127.0.0.1:{p}/", "http:/127.0.0.1:{p}/",
    "http:127.0.0.1:{p}/", "http:///127.0.0.1:{p}/", "//127.0.0.1:{p}/", "127.0.0.1:{p}/",
    "http://[127.0.0.1]:{p}/", "http://127.0.0.1:{p}:80/", "http://127.0.0.1:+{p}/",
    "http://127.0.0.1 :{p}/", " http://127.0.0.1:{p}/", "http://127.0.0.1\t:{p}/",
    "ht\ntp://127.0.0.1:{p}/", "http://127.0.0.1:{p}/\r\nX-A: b", "http://127.0.0.1\x00:{p}/",
    "http://\u2028127.0.0.1:{p}/", "http://127.0.0.1:\uff18\uff10/", "http://1\u00ad27.0.0.1:{p}/",
    # schemes
    "HTTP://127.0.0.1:{p}/", "https://127.0.0.1:{p}/", "https://localhost:{q}/",
    "ftp://127.0.0.1:{p}/a.jpg", "gopher://127.0.0.1:{p}/_GET", "dict://127.0.0.1:{p}/d",
    "ldap://127.0.0.1:{p}/", "ws://127.0.0.1:{p}/", "file://127.0.0.1:{p}/etc/passwd",
    "file:///etc/passwd", "jar:http://127.0.0.1:{p}/!/a", "url:http://127.0.0.1:{p}/",
    "data:image/png;base64,AAAA", "unix:///var/run/docker.sock", "http+unix://%2Frun%2Fx/",
)

NAMES = named(
    name_to_loopback=[["127.0.0.1"]],
    name_to_all_of_this_machine=[["0.0.0.0"]],
    name_to_ipv6_loopback=[["::1"]],
    name_to_mapped_loopback=[["::ffff:127.0.0.1"]],
    name_to_compatible_loopback=[["::127.0.0.1"]],
    name_to_public_and_private=[[PUBLIC, "127.0.0.1"]],
    name_to_private_and_public=[["127.0.0.1", PUBLIC]],
    name_to_many=[[f"8.8.8.{n}" for n in range(1, 40)] + ["127.0.0.1"]],
    name_to_public_and_ipv6_loopback=[[PUBLIC, "::1"]],
    name_to_link_local_with_zone=[["fe80::1%lo"]],
    name_that_gets_worse=[["127.0.0.1"], [PUBLIC]],
)

# The first answer passes the check; a second look-up to connect gets the second.
REBINDING = {
    "rebinding": Target("{public}/", {"b.example": [[REDIRECTOR], ["127.0.0.1"]]}),
    "rebinding to IPv6": Target("{public}/", {"b.example": [[REDIRECTOR], ["::1"]]}),
    "rebinding on the way back": Target(
        "{public}/r", {"b.example": [[REDIRECTOR], ["127.0.0.1"]]},
        redirects={"/r": "http://b.example:{p}/"},
    ),
}

REDIRECTS = redirected(
    to_loopback="http://127.0.0.1:{p}/",
    to_ipv6="http://[::1]:{p}/",
    to_mapped="http://[::ffff:127.0.0.1]:{p}/",
    to_a_short_spelling="http://127.1:{p}/",
    to_a_number="http://2130706433:{p}/",
    to_localhost="http://localhost:{p}/",
    without_a_scheme="//127.0.0.1:{p}/",
    with_credentials="http://a:b@127.0.0.1:{p}/",
    to_https="https://127.0.0.1:{p}/",
    to_another_scheme="gopher://127.0.0.1:{p}/_GET",
    to_a_file="file:///etc/passwd",
    with_a_backslash="http:\\\\127.0.0.1:{p}/",
) | {
    "redirect to a name": Target(
        "{public}/r", {"c.example": [["127.0.0.1"]]}, {"/r": "http://c.example:{p}/"}
    ),
    "three redirects": Target(
        "{public}/1", redirects={"/1": "/2", "/2": "/3", "/3": "http://127.0.0.1:{p}/"}
    ),
}

# Addresses of no canary; a refused one is never connected to.
NEIGHBOURS = spelled(
    "169.254.169.254", "169.254.0.23", "100.100.100.200", "168.63.129.16", "192.0.0.192",
    "10.0.0.1", "172.16.0.1", "192.168.0.1", "100.64.0.1", "198.18.0.1", "224.0.0.1",
    "255.255.255.255", "[fd00:ec2::254]", "[fd20:ce::254]", "[fc00::1]", "[fec0::1]",
    "[ff02::1]", "[64:ff9b::a9fe:a9fe]", "[64:ff9b:1:a9fe:a9:fe00::]", "[2002:a9fe:a9fe::]",
    "[::a9fe:a9fe]", "[2001::5601:5601]", "[2001:db8::1]", "[2600::5efe:a9fe:a9fe]",
    "metadata.google.internal",
)

ON_LOOPBACK = SPELLINGS | URLS | NAMES | REBINDING | REDIRECTS
ALL = ON_LOOPBACK | NEIGHBOURS
