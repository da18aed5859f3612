"""Calls made together: who makes them, in which order, and what a failure does."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

from service.batching import Batching


class Work:
    """Doubles numbers, when it is let; notes each batch."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.begun = threading.Semaphore(0)
        self.let = threading.Semaphore(0)

    def __call__(self, numbers: list[int]) -> list[int | None]:
        self.batches.append(numbers)
        self.begun.release()
        assert self.let.acquire(timeout=10)
        if 13 in numbers:
            raise ArithmeticError
        return [None if number == 0 else number * 2 for number in numbers]


def test_what_comes_while_a_batch_is_made_is_made_together_in_the_order_it_came() -> None:
    work = Work()
    batching = Batching(work)
    with ThreadPoolExecutor() as threads:
        first = threads.submit(batching, 1)
        assert work.begun.acquire(timeout=10)
        others = []
        for number in (2, 3, 4):
            others.append(threads.submit(batching, number))
            while len(batching._waiting) < len(others):
                pass
        work.let.release(2)
        assert [each.result(10) for each in (first, *others)] == [2, 4, 6, 8]
    assert work.batches == [[1], [2, 3, 4]]


def test_a_call_at_a_quiet_time_is_made_at_once_by_itself() -> None:
    work = Work()
    work.let.release(2)
    batching = Batching(work)
    assert (batching(1), batching(2)) == (2, 4)
    assert work.batches == [[1], [2]]


def test_a_batch_that_fails_leaves_each_call_to_itself_and_the_next_goes_on() -> None:
    work = Work()
    work.let.release(2)
    batching = Batching(work)
    assert batching(13) is None
    assert batching(2) == 4


def test_none_for_one_call_is_its_own_alone() -> None:
    work = Work()
    work.let.release(1)
    assert Batching(work)(0) is None
