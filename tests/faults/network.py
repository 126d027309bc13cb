"""A network of namespaces on one machine, whose links can be disturbed.

    with Network() as network:
        place = network.add("redis")         # has an address; its processes run there
        network.cut("redis")                 # nothing passes, nobody is told
        network.heal()

Each namespace is joined to one bridge, which lies in a namespace of its own. The tests reach them
by a link of their own. Needs root and Linux.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Self

from tests.programs import missing
from tests.servers import Place

# Addresses for measurements between networks (RFC 2544), which no network uses: the second byte
# pair is the run's.
SUBNET = "198.18.{run}.{host}"
TESTS = 254

# An address of no machine: frames to it are lost in the bridge.
NOWHERE = "02:00:00:00:00:fe"

# Classic BPF: drop a packet (TC_ACT_SHOT) unless a random 32-bit number is above a limit.
DROP = "4,32 0 0 {random},37 1 0 {limit},6 0 0 2,6 0 0 4294967295"
RANDOM = 2**32 - 0x1000 + 56  # SKF_AD_OFF + SKF_AD_RANDOM

DEVICE = "eth0"


def require_namespaces() -> None:
    """Skip, in CI fail, where network namespaces cannot be made."""
    for program in ("ip", "tc", "nsenter"):
        if shutil.which(program) is None:
            missing(f"{program} is not on PATH (Debian's iproute2 and util-linux)")
    if os.getuid() != 0:
        missing("network namespaces need root")
    try:
        with Network() as network:
            network.add("probe")
    except subprocess.CalledProcessError as error:
        missing(f"network namespaces cannot be made: {error.stderr}")


class Network:
    """Namespaces by role, ``places``. Every method raises ``CalledProcessError`` when the system
    refuses."""

    def __init__(self) -> None:
        self._run = os.getpid() % 250
        self._prefix = f"faceline-{os.getpid()}-"
        self._device = f"fl{os.getpid()}"
        self.places: dict[str, Place] = {}

    def __enter__(self) -> Self:
        _remove_leftovers()
        _run("ip", "netns", "add", self._switch)
        try:
            self._in_switch("ip", "link", "add", "name", "bridge", "type", "bridge")
            self._in_switch("ip", "link", "set", "dev", "bridge", "up")
            self._join(self._device, "tests", TESTS, namespace="")
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Remove the namespaces, and with them their links."""
        self._try("ip", "link", "del", "dev", self._device)
        for name in _namespaces():
            if name.startswith(self._prefix):
                _run("ip", "netns", "del", name)

    def add(self, role: str) -> Place:
        """A namespace for a role."""
        namespace = self._prefix + role
        _run("ip", "netns", "add", namespace)
        number = len(self.places) + 1
        place = Place(self._address(number), namespace)
        self._join(DEVICE, role, number, namespace)
        self.places[role] = place
        return place

    # -- faults -------------------------------------------------------------------

    def cut(self, role: str) -> None:
        """Lose everything between the role and all others: nobody learns of it."""
        self._in_switch("ip", "link", "set", "dev", role, "nomaster")

    def join(self, role: str) -> None:
        """End ``cut``."""
        self._in_switch("ip", "link", "set", "dev", role, "master", "bridge")

    def silence(self, role: str, peer: str) -> None:
        """Lose what the role sends to ``peer``; the other way stays open."""
        self._inside(role, "ip", "neigh", "replace", self.places[peer].host, "lladdr", NOWHERE,
                     "dev", DEVICE, "nud", "permanent")

    def lose(self, role: str, share: float) -> None:
        """Lose a share of the packets in each direction."""
        program = DROP.format(random=RANDOM, limit=int(share * (2**32 - 1)))
        for enter, device in ((self._enter(role), DEVICE), (self._enter_switch(), role)):
            _run(*enter, "tc", "qdisc", "add", "dev", device, "clsact")
            _run(*enter, "tc", "filter", "add", "dev", device, "egress", "bpf", "da",
                 "bytecode", program)

    def slow(self, role: str, kilobits: int) -> None:
        """Let so much a second pass in each direction, after a queue of half a second that
        overflows."""
        for enter, device in ((self._enter(role), DEVICE), (self._enter_switch(), role)):
            _run(*enter, "tc", "qdisc", "add", "dev", device, "root", "tbf",
                 "rate", f"{kilobits}kbit", "burst", "4000", "latency", "500ms")

    def shrink(self, role: str, bytes_: int) -> None:
        """Lose the packets to the role that are larger, without a word to their sender."""
        # The bridge's port drops what is larger than its own maximum.
        self._in_switch("ip", "link", "set", "dev", role, "mtu", str(bytes_))

    def heal(self) -> None:
        """End every fault of every link."""
        for role in self.places:
            self.join(role)
            self._in_switch("ip", "link", "set", "dev", role, "mtu", "1500")
            for peer in self.places.values():
                self._try(*self._enter(role), "ip", "neigh", "del", peer.host, "dev", DEVICE)
            for enter, device in ((self._enter(role), DEVICE), (self._enter_switch(), role)):
                for parent in ("clsact", "root"):
                    self._try(*enter, "tc", "qdisc", "del", "dev", device, parent)

    # -- links --------------------------------------------------------------------

    @property
    def _switch(self) -> str:
        return self._prefix + "switch"

    def _address(self, number: int) -> str:
        return SUBNET.format(run=self._run, host=number)

    def _join(self, device: str, port: str, number: int, namespace: str) -> None:
        """A link from ``device`` in a namespace, empty: that of the tests, to the bridge."""
        here = ["nsenter", f"--net=/run/netns/{namespace}"] if namespace else []
        there = ["netns", namespace] if namespace else ["netns", str(os.getpid())]
        self._in_switch(
            "ip", "link", "add", "name", port, "type", "veth", "peer", "name", device, *there
        )
        self._in_switch("ip", "link", "set", "dev", port, "master", "bridge", "up")
        _run(*here, "ip", "addr", "add", f"{self._address(number)}/24", "dev", device)
        # One segment a packet, as on a wire: a bundle of them would be lost or pass as a whole.
        _run(*here, "ip", "link", "set", "dev", device, "gso_max_segs", "1", "up")
        if namespace:
            _run(*here, "ip", "link", "set", "lo", "up")

    def _enter(self, role: str) -> list[str]:
        return ["nsenter", f"--net=/run/netns/{self.places[role].namespace}"]

    def _enter_switch(self) -> list[str]:
        return ["nsenter", f"--net=/run/netns/{self._switch}"]

    def _inside(self, role: str, *words: str) -> None:
        _run(*self._enter(role), *words)

    def _in_switch(self, *words: str) -> None:
        _run(*self._enter_switch(), *words)

    def _try(self, *words: str) -> None:
        with contextlib.suppress(subprocess.CalledProcessError):
            _run(*words)


def _run(*words: str) -> str:
    return subprocess.run(words, check=True, capture_output=True, text=True, timeout=30).stdout


def _namespaces() -> list[str]:
    found = _run("ip", "-json", "netns", "list")
    return [each["name"] for each in json.loads(found or "[]")]


def _remove_leftovers() -> None:
    """Remove the namespaces of runs that were killed."""
    for name in _namespaces():
        if name.startswith("faceline-") and not Path(f"/proc/{name.split('-')[1]}").exists():
            _run("ip", "netns", "del", name)
