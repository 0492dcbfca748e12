"""What the gateway carries now, for Prometheus. No label holds a region, a number or a name."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import Any

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from ..errors import LedgerUnavailable
from ..gateway import Gateway, figuring
from ..ledger.figures import Figures

log = logging.getLogger("broadcast")

FRESH_SECONDS = 5.0  # figures are asked for once in this time, however often a stranger scrapes


def routes(gateway: Gateway) -> list[Route]:
    """GET /metrics."""
    registry = CollectorRegistry()
    registry.register(Figured(partial(figuring.figures, gateway.house)))

    def metrics(_request: Request) -> Response:  # not async: it asks the ledger
        try:
            return Response(generate_latest(registry), headers={"Content-Type": CONTENT_TYPE_LATEST})
        except LedgerUnavailable as error:
            log.error("no figures for the metrics: %s", error)
            return Response("the ledger does not answer", status_code=503)

    return [Route("/metrics", metrics)]


class Figured(Collector):
    """The gateway's figures as metrics, asked for at a scrape."""

    def __init__(self, ask: Callable[[], Figures], clock: Callable[[], float] = time.monotonic) -> None:
        self._ask, self._clock = ask, clock
        self._lock = threading.Lock()
        self._asked = -FRESH_SECONDS
        self._figures: Figures | None = None

    def describe(self) -> Iterable[Metric]:
        """Nothing: a registry would otherwise ask for figures when this is registered."""
        return []

    def collect(self) -> Iterator[Metric]:
        """All metrics. Raises LedgerUnavailable."""
        return metrics_of(self._fresh())

    def _fresh(self) -> Figures:
        with self._lock:  # scrapes at the same moment share one question
            if self._figures is None or self._clock() - self._asked >= FRESH_SECONDS:
                self._figures = self._ask()
                self._asked = self._clock()
            return self._figures


def metrics_of(now: Figures) -> Iterator[Metric]:
    """Every figure under its name."""
    labels = ("channel", "purpose", "state")
    yield _gauge("deliveries", "Deliveries of alerts received in the last 24 hours.", labels, now.deliveries)
    yield _gauge("alerts", "Alerts in the ledger.", ("state",), _by_one(now.alerts))
    yield _gauge("batches_due", "Batches that a worker may claim now.", ("lane",), _by_one(now.due))
    yield _gauge("oldest_due_seconds", "How long the oldest of them has waited.", ("lane",), _by_one(now.oldest_due))
    yield _gauge("deliveries_in_doubt", "Deliveries that may have gone out, of any age.", (), {(): now.in_doubt})
    yield CounterMetricFamily("broadcast_callbacks", "Callbacks and fetched reports kept so far.", value=now.callbacks)
    yield _gauge("callbacks_unread", "Those of them that are not understood yet.", (), {(): now.unread})
    yield _gauge("oldest_unread_seconds", "Age of the oldest of them.", (), {(): now.oldest_unread})
    yield _gauge("reports_unmatched", "Reports of deliveries that are not known (yet).", (), {(): now.unmatched})
    yield _gauge("duties_open", "Answers owed by persons.", ("duty",), _by_one(now.open_duties))
    yield _gauge("duties_overdue", "Those of them whose deadline has passed.", ("duty",), _by_one(now.overdue_duties))
    unreached = "Villages that nobody has reached within the plan's time, of alerts in force."
    yield _gauge("villages_unreached", unreached, ("status",), _by_one(now.villages_unreached))
    yield _gauge("breaker_open", "1: this far end failed so often that it is left alone now.", ("peer",), _by_one(now.breakers))
    yield _gauge("peer_failures", "Failures of this far end in a row.", ("peer",), _by_one(now.failures))


def _by_one(values: Mapping[str, float]) -> dict[tuple[str], float]:
    return {(label,): value for label, value in values.items()}


def _gauge(name: str, text: str, labels: tuple[str, ...], values: Mapping[Any, float]) -> Metric:
    gauge = GaugeMetricFamily(f"broadcast_{name}", text, labels=labels)
    for key, value in sorted(values.items()):
        gauge.add_metric(key, value)
    return gauge
