"""Counters, histograms and gauges that cost nothing until a process serves its metrics.

A definition is a plain value. ``MetricsEndpoint`` attaches prometheus_client to it; importing that
library takes 50 ms, which commands and processes without metrics save.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

LabelValues = tuple[str, ...]
Record = Callable[[float], object]


@dataclass(slots=True, eq=False)
class _Recorder:
    """An instrument that counts events. ``known`` are values of its labels that are shown
    before the first event: Prometheus sees no increase of a series that begins with it."""

    name: str
    text: str
    labels: tuple[str, ...] = ()
    known: Mapping[str, Sequence[str]] = field(default_factory=dict)
    _child: Callable[[LabelValues], Record] | None = None
    _children: dict[LabelValues, Record] = field(default_factory=dict)

    def attach(self, registry: CollectorRegistry | None) -> None:
        """Count from now on; ``registry`` shows it."""
        self._children = {}
        self._child = self._make(registry)
        if set(self.known) == set(self.labels):
            for values in itertools.product(*(self.known[label] for label in self.labels)):
                self._record(values)

    def detach(self) -> None:
        self._child, self._children = None, {}

    def _record(self, values: LabelValues) -> Record | None:
        """What counts an event with these label values; None while nothing is counted."""
        found = self._children.get(values)
        if found is None and self._child is not None:
            found = self._children.setdefault(values, self._child(values))
        return found

    def _make(self, registry: CollectorRegistry | None) -> Callable[[LabelValues], Record]:
        raise NotImplementedError


@dataclass(slots=True, eq=False)
class MetricCounter(_Recorder):
    """Counts events; its name ends in ``_total`` when it is read."""

    def add(self, *values: str, amount: float = 1.0) -> None:
        """Count events. ``values`` are those of the labels, in their order."""
        if self._child is not None and (record := self._record(values)) is not None:
            record(amount)

    def _make(self, registry: CollectorRegistry | None) -> Callable[[LabelValues], Record]:
        from prometheus_client import Counter

        counter = Counter(self.name, self.text, self.labels, registry=registry)
        return lambda values: (counter.labels(*values) if values else counter).inc


@dataclass(slots=True, eq=False)
class MetricHistogram(_Recorder):
    """Counts durations in seconds by ``buckets``, their upper limits."""

    buckets: tuple[float, ...] = ()

    def observe(self, seconds: float, *values: str) -> None:
        """Count a duration. ``values`` are those of the labels, in their order."""
        if self._child is not None and (record := self._record(values)) is not None:
            record(seconds)

    @property
    def counts(self) -> bool:
        """Whether a process serves its metrics."""
        return self._child is not None

    def _make(self, registry: CollectorRegistry | None) -> Callable[[LabelValues], Record]:
        from prometheus_client import Histogram

        histogram = Histogram(
            self.name, self.text, self.labels, buckets=self.buckets, registry=registry
        )
        return lambda values: (histogram.labels(*values) if values else histogram).observe


@dataclass(frozen=True, slots=True)
class MetricGauge:
    """A value that is read when Prometheus asks."""

    name: str
    text: str
    labels: tuple[str, ...] = ()

    def reading(self, value: float, *values: str) -> GaugeReading:
        """Its present value for these label values, in the order of the labels."""
        return GaugeReading(self, values, value)


@dataclass(frozen=True, slots=True)
class GaugeReading:
    gauge: MetricGauge
    values: LabelValues
    value: float


GaugeSource = Callable[[], Iterable[GaugeReading]]
"""Gives the present values of some gauges. Called by the thread that answers Prometheus: it reads
memory, waits for nothing and raises nothing."""
