"""Serves the metrics of a process, or of a parent and those that it forks, on a port of their own.

A worker's processes come and go, so that Prometheus could not find them: its parent answers for
all. Each process counts in files that it shares with the parent (prometheus_client's mode for
several processes). They are named for the process's place in the pool, which its successor takes
over: their number does not grow, and no count is lost with a process.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import shutil
import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from pipeline.config.settings import Settings
from pipeline.errors import ConfigurationError
from pipeline.metrics.catalogue import COUNTING
from pipeline.metrics.instruments import GaugeSource

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry
    from prometheus_client.core import GaugeMetricFamily

logger = logging.getLogger(__name__)

_DIRECTORY = "faceline-metrics-"

# Seconds after which a directory without a lock is not that of a worker that starts.
_STARTED_S = 60.0


class MetricsEndpoint:
    """``with MetricsEndpoint(settings) as endpoint: endpoint.add(source)``. Without
    ``metrics_port`` it does nothing, and nothing is counted.

    With ``forks`` the counts of forked processes are included, each of which calls
    ``enter_fork``; enter it before the first fork. One is open in a process at a time. Entering
    raises ``ConfigurationError`` when the port cannot be used.
    """

    def __init__(self, settings: Settings, *, forks: bool = False) -> None:
        self._settings = settings
        self._forks = forks
        self._sources: list[GaugeSource] = []
        self._server: Any = None
        self._cleaning = contextlib.ExitStack()
        self._place = "parent"

    def add(self, *sources: GaugeSource) -> None:
        """Show these gauges, too."""
        self._sources += sources

    def __enter__(self) -> Self:
        if self._settings.metrics_port:
            try:
                self._open()
            except BaseException:
                self.close()
                raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None
        for each in COUNTING:
            each.detach()
        self._cleaning.close()

    @property
    def port(self) -> int:
        """The port that it listens on; 0 without one."""
        return int(self._server.server_port) if self._server is not None else 0

    @property
    def host(self) -> str:
        """The address that it listens on; empty without one."""
        return str(self._server.server_address[0]) if self._server is not None else ""

    def enter_fork(self, place: int) -> None:
        """Count as the process at ``place`` of a pool, and leave the port to the parent."""
        self._place = str(place)
        if self._server is not None:
            self._server.socket.close()

    def _open(self) -> None:
        # Here and below: the library takes 50 ms to import.
        from prometheus_client import CollectorRegistry, disable_created_metrics, start_http_server

        disable_created_metrics()
        registry = CollectorRegistry()
        self._collect(registry)
        registry.register(_GaugeCollector(self._sources))
        host, port = self._settings.metrics_host, self._settings.metrics_port
        try:
            self._server, _ = start_http_server(port, host, registry)
        except OSError as error:
            raise ConfigurationError(
                f"FACELINE_METRICS_PORT: port {port} on {host} cannot be used ({error.strerror})"
            ) from error
        logger.info(
            "Metrics are served on port %d", port, extra={"action": "metrics_served", "port": port}
        )

    def _collect(self, registry: CollectorRegistry) -> None:
        """Have ``registry`` show what is counted."""
        from prometheus_client import ProcessCollector, values

        if not self._forks:
            ProcessCollector(registry=registry)
            for each in COUNTING:
                each.attach(registry)
            return
        from prometheus_client.multiprocess import MultiProcessCollector

        folder = self._cleaning.enter_context(_counting_directory())
        # The library takes both from here.
        os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(folder)
        self._cleaning.callback(os.environ.pop, "PROMETHEUS_MULTIPROC_DIR", None)
        self._cleaning.callback(setattr, values, "ValueClass", values.ValueClass)
        values.ValueClass = values.MultiProcessValue(lambda: self._place)
        MultiProcessCollector(registry, str(folder))
        for each in COUNTING:
            each.attach(None)


class _GaugeCollector:
    """What prometheus_client asks for the gauges."""

    def __init__(self, sources: list[GaugeSource]) -> None:
        self._sources = sources

    def collect(self) -> Iterable[GaugeMetricFamily]:
        from prometheus_client.core import GaugeMetricFamily

        found: dict[str, GaugeMetricFamily] = {}
        for reading in (each for source in list(self._sources) for each in source()):
            gauge = reading.gauge
            family = found.setdefault(
                gauge.name, GaugeMetricFamily(gauge.name, gauge.text, labels=gauge.labels)
            )
            family.add_metric(reading.values, reading.value)
        return found.values()


@contextlib.contextmanager
def _counting_directory() -> Iterator[Path]:
    """A directory for the counts of a worker, removed at the end. Removes those of workers that
    were killed: nobody holds their locks."""
    for left in Path(tempfile.gettempdir()).glob(f"{_DIRECTORY}*"):
        with contextlib.suppress(OSError):
            about = left.lstat()
            if about.st_uid == os.getuid() and time.time() - about.st_mtime > _STARTED_S:
                with _locked(left):
                    shutil.rmtree(left)
    with (
        tempfile.TemporaryDirectory(prefix=_DIRECTORY, ignore_cleanup_errors=True) as name,
        _locked(Path(name)),
    ):
        yield Path(name)


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Raises ``OSError`` when another process holds the directory."""
    lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(lock)
