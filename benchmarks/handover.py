"""A window of one: how soon the end of a job at the vendor brings the next one there."""

from __future__ import annotations

import statistics

from benchmarks.figures import Figure
from benchmarks.processes import wait_until
from benchmarks.up import Up, up
from benchmarks.vendor import SECRET, Vendor, quick_vendor

JOBS = 60
WARM = 5


def figures() -> list[Figure]:
    """From a job's callback until the next job's POST comes, with a vendor that answers at once."""
    settings = {"WAVESPEED_WEBHOOK_SECRET": SECRET, "HOOKREEL_MAX_IN_FLIGHT": "1"}
    with quick_vendor() as vendor, up(WAVESPEED_BASE_URL=vendor.url, **settings) as running:
        for _ in range(JOBS + 1):
            running.submit()
        took = [_hand_over(vendor, running, number) * 1000 for number in range(JOBS)][WARM:]
    slow = statistics.quantiles(took, n=10)[-1]
    detail = f"{len(took)} jobs, a window of one, from before the callback is sent; 90 % within {slow:.0f} ms"
    return [Figure("handover", "callback to next POST", statistics.median(took), "ms", "<=", 50, detail)]


def _hand_over(vendor: Vendor, running: Up, number: int) -> float:
    """Once the worker has nothing more to do for the job that is there; seconds."""
    wait_until(lambda: len(vendor.posts) > number)
    post = vendor.posts[number]
    wait_until(lambda: bool(running.call(f"/v1/jobs/{post.job}")["state"] == "processing"))
    if len(vendor.posts) != number + 1:
        raise RuntimeError("more than one job was let in")
    begun = vendor.call_back(post)
    wait_until(lambda: len(vendor.posts) > number + 1)
    return vendor.posts[number + 1].at - begun
