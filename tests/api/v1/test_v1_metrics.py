"""``/metrics``: the store's figures, without a key."""

from __future__ import annotations

from prometheus_client.parser import text_string_to_metric_families

from service import rediskeys
from service.api import create_app
from service.bootstrap import Service


def scraped(app):
    answer = app.test_client().get("/metrics")
    assert answer.status_code == 200
    assert answer.content_type.startswith("text/plain")
    families = text_string_to_metric_families(answer.text)
    return {(each.name, *each.labels.values()): each.value for family in families for each in family.samples}


def test_what_is_waiting_and_under_way_is_counted(app, story, endpoint, service):
    for _ in range(3):
        story.accepted()
    story.fanned_out(story.completed(), endpoint()["id"])
    service.store.client.hset(rediskeys.VENDOR, "unknowns", 3)
    service.store.client.hset(
        rediskeys.BEATS, mapping={"web-1": 4, "worker-1": 9, "worker-2": 1, "clock-1": "gone"}
    )
    found = scraped(app)
    assert found[("hookreel_store_up",)] == 1
    assert found[("hookreel_window_in_use",)] == 3
    assert found[("hookreel_window_limit",)] == service.settings.max_in_flight
    assert found[("hookreel_jobs_waiting",)] == 0
    assert found[("hookreel_vendor_paused",)] == 1
    assert found[("hookreel_processes", "web")] == 1
    assert found[("hookreel_processes", "worker")] == 2
    assert ("hookreel_processes", "clock") not in found
    assert found[("process_resident_memory_bytes",)] > 0


def test_a_store_that_is_away_is_told_as_a_figure(service, tmp_path):
    away = Service(service.settings, f"unix://{tmp_path}/none.sock", "web", "web-1")
    found = scraped(create_app(away))
    assert found[("hookreel_store_up",)] == 0
    assert ("hookreel_jobs_waiting",) not in found
    away.close()
