"""Faults of processes, links and stores, one after the other, under a client that never stops:

    python -m tests.faults.network_faults                 all of them, about ten minutes
    python -m tests.faults.network_faults redis           those whose names hold a word
    python -m tests.faults.network_faults --list

Each strikes, lasts for some seconds and ends; then a new call of each kind must be answered before
the next one strikes. At the end every job that was accepted has ended once, and every picture that
was enrolled has one record. Needs root, for network namespaces.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import redis

from tests.conftest import models_directory
from tests.faults.network import require_namespaces
from tests.faults.networked import (
    PROCESSES,
    SERVERS,
    Client,
    NetworkedService,
    running,
)

# Seconds for which a fault lasts: more than a lease (4) and less than patience with stores (8).
LASTS_S = 6.0
AT_ONCE_S = 0.5

Strike = Callable[[NetworkedService], None]


@dataclass(frozen=True, slots=True)
class NetworkFault:
    """A fault, which ``NetworkedService.recover`` ends. ``short``: it is in the short form."""

    name: str
    strike: Strike
    lasts_s: float = LASTS_S
    short: bool = False


def killed(*names: str, short: bool = False) -> NetworkFault:
    title = f"{' and '.join(names)} killed"
    return NetworkFault(title, lambda service: service.kill(*names), AT_ONCE_S, short)


def frozen(name: str, *, short: bool = False) -> NetworkFault:
    return NetworkFault(f"{name} stopped", lambda service: service.freeze(name), short=short)


def cut(name: str, *, short: bool = False) -> NetworkFault:
    return NetworkFault(f"link of {name} down", lambda service: service.network.cut(name),
                        short=short)


def half_open(name: str, *, short: bool = False) -> NetworkFault:
    """It dies behind a dead link: its peers keep connections to nobody."""

    def strike(service: NetworkedService) -> None:
        service.network.cut(name)
        service.kill(name)

    return NetworkFault(f"{name} lost with its connections", strike, short=short)


def silenced(name: str, peer: str, *, short: bool = False) -> NetworkFault:
    """Packets go one way only."""
    return NetworkFault(
        f"{peer} does not hear {name}", lambda service: service.network.silence(name, peer),
        short=short,
    )


def lossy(name: str, *, short: bool = False) -> NetworkFault:
    return NetworkFault(f"{name} loses a fifth of its packets",
                        lambda service: service.network.lose(name, 0.2), short=short)


def slow(name: str) -> NetworkFault:
    return NetworkFault(f"{name} at 400 kbit/s", lambda service: service.network.slow(name, 400))


def narrow(name: str) -> NetworkFault:
    return NetworkFault(f"large packets to {name} lost",
                        lambda service: service.network.shrink(name, 600))


def flush(service: NetworkedService) -> None:
    with redis.Redis.from_url(service.cluster.settings.broker_url) as client:
        client.flushall()


def power_cut(service: NetworkedService) -> None:
    service.kill(*PROCESSES, *SERVERS)


FAULTS: Sequence[NetworkFault] = (
    *(killed(name, short=name in ("worker1", "postgres")) for name in (*PROCESSES, *SERVERS)),
    killed("worker1", "worker2"),
    *(frozen(name, short=name in ("worker1", "redis"))
      for name in ("shim1", "worker1", "index", "upkeep", *SERVERS)),
    *(cut(name, short=name in ("s3", "index"))
      for name in ("shim1", "worker1", "index", "upkeep", *SERVERS)),
    *(half_open(name, short=name == "worker1") for name in ("worker1", "redis", "postgres")),
    silenced("worker1", "postgres"),
    silenced("postgres", "worker1", short=True),
    silenced("worker1", "redis"),
    silenced("worker1", "s3"),
    silenced("shim1", "redis"),
    *(lossy(name, short=name == "postgres") for name in ("worker1", "postgres", "redis")),
    slow("postgres"),
    slow("s3"),
    narrow("s3"),
    NetworkFault("redis flushed", flush, AT_ONCE_S, short=True),
    NetworkFault("everything killed at once", power_cut, AT_ONCE_S),
)


def strike_all(
    service: NetworkedService, client: Client, faults: Sequence[NetworkFault],
    say: Callable[[str], None] = lambda _: None,
) -> None:
    """Strike one after the other; then check what must hold."""
    for fault in faults:
        before = len(client.accepted)
        fault.strike(service)
        time.sleep(fault.lasts_s)
        during = len(client.accepted) - before
        service.recover()
        recovery_s = client.wait_for_fresh()
        say(f"{fault.name:<44} {during:>4} accepted meanwhile, answered again after "
            f"{recovery_s:.1f} s")
    client.stop()
    client.check_nothing_lost()


def photos_of(test_data: Path) -> list[bytes]:
    """Photos of different people, one face each."""
    return [file.read_bytes() for file in sorted((test_data / "lfw_aligned").rglob("*_0001.jpg"))]


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("words", nargs="*", help="words in the names of the faults to strike")
    parser.add_argument("--short", action="store_true", help="what CI strikes")
    parser.add_argument("--list", action="store_true")
    parser.add_argument("--data", type=Path, default=Path("../shared/faces"))
    chosen = parser.parse_args(arguments)
    faults = [
        fault for fault in FAULTS
        if (fault.short or not chosen.short)
        and (not chosen.words or any(word in fault.name for word in chosen.words))
    ]
    if chosen.list:
        print("\n".join(fault.name for fault in faults))
        return 0
    require_namespaces()
    start = time.monotonic()
    with (
        tempfile.TemporaryDirectory() as folder,
        running(Path(folder), models_directory(), photos_of(chosen.data)) as (service, client),
    ):
        strike_all(service, client, faults, lambda line: print(line, flush=True))
        accepted = len(client.accepted)
    print(f"{len(faults)} faults in {time.monotonic() - start:.0f} s: {accepted} jobs accepted, "
          f"0 lost, 0 doubled; refused meanwhile: {dict(client.refused)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
