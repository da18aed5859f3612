"""Log lines: one JSON object each, fields by name, a traceback in one of them."""

from __future__ import annotations

import contextlib
import json
import logging
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from service import logs
from service.logs import NOISY


@pytest.fixture
def out(capfd: pytest.CaptureFixture[str]) -> Iterator[Callable[[], str]]:
    root = logging.getLogger()
    before = root.handlers[:], root.level
    levels = {each: each.level for each in map(logging.getLogger, (*logging.root.manager.loggerDict, *NOISY))}
    logs.configure("info", "web")
    yield lambda: capfd.readouterr().err
    root.handlers[:], level = before
    root.setLevel(level)
    for logger, kept in levels.items():
        logger.setLevel(kept)


def test_a_line_is_a_json_object_with_the_fields_that_were_given(out: Callable[[], str]) -> None:
    logging.getLogger("any").info("job.accepted", extra={"job": "abc", "size": 3})
    line = json.loads(out())
    assert line.pop("timestamp").endswith("Z")
    assert line == {"role": "web", "event": "job.accepted", "level": "info", "job": "abc", "size": 3}


def test_an_exception_is_one_line_with_its_traceback_in_a_field(out: Callable[[], str]) -> None:
    try:
        json.loads("what was wrong")
    except ValueError:
        logging.getLogger("any").exception("part %s failed", 3)
    (line,) = out().splitlines()
    told = json.loads(line)
    assert told["event"] == "part 3 failed"
    assert "JSONDecodeError" in told["exception"]


def test_what_is_below_the_level_is_not_written(out: Callable[[], str]) -> None:
    logging.getLogger("any").debug("nothing")
    assert out() == ""


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="/dev/full is Linux's")
def test_a_full_disk_costs_an_attempts_line_and_nothing_else() -> None:
    with contextlib.suppress(OSError), Path("/dev/full").open("w", encoding="utf-8") as full:
        log = logs.AttemptLog("info", full)
        log._lines.append("{}")
        log.flush()
    assert log._lines == []
