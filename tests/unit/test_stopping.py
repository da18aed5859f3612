"""A signal may interrupt anything, also what another one has begun."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from service.embedded import Guardian
from workers.worker import StoppableQueue


@pytest.fixture(params=["worker", "guardian"])
def stop(request, monkeypatch: pytest.MonkeyPatch) -> Callable[[int, FrameType | None], None]:
    if request.param == "guardian":
        return Guardian(Path("nowhere"))._stop
    monkeypatch.setattr(StoppableQueue, "stopping", False)
    return StoppableQueue.stop


def test_a_second_signal_may_come_at_any_line_that_the_first_one_runs(stop):
    def interrupt(*_: Any) -> Any:
        stop(15, None)
        return interrupt

    def handle() -> None:
        sys.settrace(interrupt)
        stop(15, None)

    # In a thread, that may be left alone where it waits for itself.
    handling = threading.Thread(target=handle, daemon=True)
    handling.start()
    handling.join(5)
    assert not handling.is_alive()
