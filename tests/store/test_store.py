"""The one way to change state, over connections that break at the worst moment."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from service import rediskeys
from service.acceptance import Order
from service.bootstrap import Service
from service.errors import OutcomeUnknown, StoreFull, StoreUnavailable
from service.store import Change, StaleRecord, Store
from tests.store.cutter import Cutter

Orders = Callable[..., Order]


def add_one(key: str, rev: int, token: str) -> Change:
    return Change(key, rev, token, (("HINCRBY", key, "n", 1),), subject="job")


def test_a_change_whose_answer_was_lost_is_applied_once_and_known_to_be(
    behind: Service, cutter: Cutter, service: Service
) -> None:
    behind.store.load()
    cutter.lose_answers(3, b"token-1")
    assert behind.store.commit(add_one("hr:x", 0, "token-1")) == []
    assert cutter.lost == 3
    assert service.store.client.hget("hr:x", "n") == b"1"


def test_a_change_that_cannot_be_asked_about_again_is_unknown_and_says_which(
    behind: Service, cutter: Cutter, service: Service
) -> None:
    behind.store.load()
    behind.store.patience = 0.1
    cutter.lose_answers(1, b"token-1", then_close=True)
    with pytest.raises(OutcomeUnknown) as raised:
        behind.store.commit(add_one("hr:x", 0, "token-1"))
    assert raised.value.prediction_id == "job"
    assert service.store.client.hget("hr:x", "n") == b"1"


def test_a_store_that_cannot_be_reached_has_written_nothing(service: Service) -> None:
    away = Store("redis://127.0.0.1:9/0", patience=0.1)
    with pytest.raises(StoreUnavailable):
        away.commit(add_one("hr:x", 0, "token-1"))
    with pytest.raises(StoreUnavailable):
        away.read(lambda pipe: pipe.get("hr:x"))


def test_a_change_from_an_old_revision_is_refused(service: Service) -> None:
    service.store.commit(add_one("hr:x", 0, "token-1"))
    service.store.commit(add_one("hr:x", 1, "token-2"))
    with pytest.raises(StaleRecord) as raised:
        service.store.commit(add_one("hr:x", 1, "token-3"))
    assert raised.value.guard == "rev"
    assert service.store.client.hget("hr:x", "n") == b"2"


def test_a_change_that_was_applied_before_is_not_applied_again(service: Service) -> None:
    change = add_one("hr:x", 0, "token-1")
    service.store.commit(change)
    service.store.commit(change)
    assert service.store.client.hget("hr:x", "n") == b"1"


def test_an_acceptance_whose_answer_was_lost_is_one_job(
    behind: Service, cutter: Cutter, service: Service, order: Orders
) -> None:
    behind.store.load()
    cutter.lose_answers(1, rediskeys.jobs("default").encode())
    job = behind.acceptance.accept(order())
    assert cutter.lost == 1
    (ids,) = service.store.read(lambda pipe: pipe.zrange(rediskeys.jobs("default"), 0, -1))
    assert ids == [job.id.encode()]


def test_a_full_store_takes_nothing_and_says_so(service: Service) -> None:
    client = service.store.client
    (before,) = service.store.read(lambda pipe: pipe.config_get("maxmemory"))
    client.config_set("maxmemory", "1mb")
    try:
        with pytest.raises(StoreFull):
            service.store.commit(add_one("hr:x", 0, "token-1"))
        assert client.exists("hr:x") == 0
    finally:
        client.config_set("maxmemory", before["maxmemory"])


def test_nothing_is_accepted_when_the_store_is_nearly_full(service: Service, order: Orders) -> None:
    client = service.store.client
    (before, info) = service.store.read(lambda pipe: pipe.config_get("maxmemory").info("memory"))
    client.config_set("maxmemory", int(info["used_memory"] * 1.1))
    try:
        with pytest.raises(StoreFull, match="nearly full"):
            service.acceptance.accept(order())
        assert client.zcard(rediskeys.jobs("default")) == 0
    finally:
        client.config_set("maxmemory", before["maxmemory"])
