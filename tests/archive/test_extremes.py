"""Whatever a setting may be, the clock's every pass comes to its end, for as long as one looks."""

from __future__ import annotations

import logging

import pytest

from schemas.inputs import Input
from service.acceptance import Order
from service.bootstrap import Service
from service.errors import NotFound
from service.records import Job
from tests.archive.conftest import Time, archivist, completed
from tests.archive.origin import Origin
from tests.archive.test_copies import delete, fan_out
from workers.clock import Clock

DAY = 86_400
EXTREMES = {
    "HOOKREEL_ARCHIVE": ["none"],
    "HOOKREEL_ARCHIVE_RETENTION": ["forever", str(DAY), str(3650 * DAY)],
    "HOOKREEL_RETENTION": [str(3650 * DAY)],
    "HOOKREEL_HELD_RETENTION": [str(DAY), str(3650 * DAY)],
    "HOOKREEL_DISABLE_AFTER": ["60", str(3650 * DAY)],
    "HOOKREEL_RETRY_SCHEDULE": ["0", ",".join(["1"] * 50)],
    "HOOKREEL_MAX_IN_FLIGHT": ["1", "100000"],
    "HOOKREEL_MAX_QUEUED": ["10000000"],
    "HOOKREEL_MAX_PENDING_BYTES": ["1000000", str(2**40)],
    "HOOKREEL_SUBMIT_FOR": ["1", str(30 * DAY)],
    "HOOKREEL_UNCERTAIN_AFTER": ["1", str(30 * DAY)],
    "HOOKREEL_ON_UNCERTAIN": ["resubmit"],
    "HOOKREEL_OVERDUE_AFTER": ["1", str(30 * DAY)],
}


def accepted(service: Service) -> Job:
    order = Order("default", Input("minimax/hailuo-02/fast", {"image": "https://example.com/a.jpg"}, {}))
    return service.acceptance.accept(order)


def begun(service: Service) -> Job:
    admitted = service.jobs.admitted(accepted(service).id)
    assert admitted is not None
    job = service.jobs.begin(admitted, service.token(), "worker-gone")
    assert job is not None
    return job


@pytest.mark.parametrize(("name", "value"), [(name, each) for name in EXTREMES for each in EXTREMES[name]])
def test_every_pass_ends(
    build, origin: Origin, at: Time, caplog: pytest.LogCaptureFixture, name: str, value: str
) -> None:
    service = build(**{name: value})
    service.apikeys.create("default")
    kept, deleted = (completed(service, origin.film(path=f"/{number}.mp4")) for number in range(2))
    for job in (kept, deleted):
        if service.depot is not None:
            archivist(service).archive(job.id)
    fan_out(service)
    delete(service, deleted)
    others = [begun(service), accepted(service)]
    clock = Clock.of(service, at.monotonic)
    for ahead in (0, 1, 3600, 2 * DAY, 31 * DAY, 4000 * DAY):
        at.ahead = max(at.ahead, ahead)
        with caplog.at_level(logging.WARNING):
            clock.tick()
    assert [
        each.exc_text for each in caplog.records if each.message in {"clock.broken", "clock.failed"}
    ] == []
    with pytest.raises(NotFound):
        service.jobs.get(deleted.id)
    assert {service.jobs.get(each.id).id for each in others} == {each.id for each in others}
