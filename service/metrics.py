"""What a Prometheus scraper reads: the store's figures at this moment, and this process's own.

Whichever web process answers, the store's figures are the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Final

from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.metrics_core import GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.registry import Collector

from service import rediskeys
from service.bootstrap import VERSION, Service
from service.errors import Unavailable
from service.presence import alive
from service.submitting import UNKNOWNS_THAT_PAUSE

_GAUGES: Final = {
    "jobs_waiting": "Jobs that wait for a place at the vendor.",
    "jobs_postponed": "Jobs that the vendor refused for now; they wait for their next try.",
    "jobs_uncertain": "Jobs of which nobody knows whether the vendor has them.",
    "window_in_use": "Jobs at the vendor, or on their way there.",
    "window_limit": "Jobs that may be at the vendor at once.",
    "copies_due": "Completed jobs whose outputs are not copied yet.",
    "events_open": "Events that owe something: their fan-out, or a delivery.",
    "deliveries_in_flight": "Attempts at deliveries under way.",
    "pending_image_bytes": "Bytes of images that wait for their submission.",
    "pending_image_bytes_limit": "Bytes of images that may wait.",
    "vendor_paused": "1: submissions are paused, three outcomes in a row stayed unknown.",
}


class StoreCollector(Collector):
    """The store's figures. Without a store there is ``hookreel_store_up 0`` and no more."""

    def __init__(self, service: Service) -> None:
        self.service = service

    def describe(self) -> Iterable[Metric]:
        """Nothing: asking the store for a description would be a scrape too many."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """As they are now."""
        yield InfoMetricFamily("hookreel_build", "The version.", {"version": VERSION})
        try:
            figures, roles = self._figures(), alive(self.service.store)
        except Unavailable:
            yield GaugeMetricFamily("hookreel_store_up", "Whether the store can be reached.", 0)
            return
        yield GaugeMetricFamily("hookreel_store_up", "Whether the store can be reached.", 1)
        for name, told in _GAUGES.items():
            yield GaugeMetricFamily(f"hookreel_{name}", told, figures[name])
        processes = GaugeMetricFamily(
            "hookreel_processes", "Processes that say they are alive.", labels=["role"]
        )
        for role, number in sorted(roles.items()):
            processes.add_metric([role], number)
        yield processes

    def _figures(self) -> dict[str, float]:
        (workspaces,) = self.service.store.read(lambda pipe: pipe.smembers(rediskeys.WORKSPACES))

        def ask(pipe: Any) -> None:
            for key in (
                rediskeys.LATER,
                rediskeys.UNCERTAIN,
                rediskeys.WINDOW,
                rediskeys.ARCHIVE,
                rediskeys.OPEN_EVENTS,
                rediskeys.FLIGHT,
            ):
                pipe.zcard(key)
            pipe.get(rediskeys.PENDING_BYTES)
            pipe.hget(rediskeys.VENDOR, "unknowns")
            for workspace in workspaces:
                pipe.zcard(rediskeys.waiting(workspace.decode()))

        found = self.service.store.read(ask)
        later, uncertain, window, copies, events, flight, pending, unknowns, *waiting = found
        return {
            "jobs_waiting": sum(waiting),
            "jobs_postponed": later,
            "jobs_uncertain": uncertain,
            "window_in_use": window,
            "window_limit": self.service.settings.max_in_flight,
            "copies_due": copies,
            "events_open": events,
            "deliveries_in_flight": flight,
            "pending_image_bytes": int(pending or 0),
            "pending_image_bytes_limit": self.service.settings.max_pending_bytes,
            "vendor_paused": int(unknowns or 0) >= UNKNOWNS_THAT_PAUSE,
        }


def exposition(service: Service) -> tuple[bytes, str]:
    """The text that a scraper reads, and its content type."""
    registry = CollectorRegistry()
    registry.register(StoreCollector(service))
    for collector in (ProcessCollector, PlatformCollector, GCCollector):
        collector(registry=registry)
    return generate_latest(registry), CONTENT_TYPE_LATEST
