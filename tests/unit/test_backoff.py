"""When an attempt is repeated."""

from __future__ import annotations

from email.utils import formatdate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.backoff import DEFAULT_SCHEDULE, delay, parse_retry_after

HOUR = 3600
DAY = 24 * HOUR
NOW = 1_758_798_328.0
jitters = st.floats(-1, 1)
attempts = st.integers(1, len(DEFAULT_SCHEDULE) - 1)


def test_the_default_schedule_is_the_documented_one():
    delays = [delay(DEFAULT_SCHEDULE, attempt, jitter=0) for attempt in range(1, 12)]
    hours = [2 * HOUR, 5 * HOUR, 10 * HOUR, 14 * HOUR, 20 * HOUR, 24 * HOUR]
    assert DEFAULT_SCHEDULE[0] == 0
    assert delays == [5, 300, 1800, *hours, None, None]


@given(attempts, jitters)
def test_jitter_is_twenty_percent_either_way_also_at_the_longest_delay(attempt, jitter):
    assert delay(DEFAULT_SCHEDULE, attempt, jitter) == pytest.approx(
        DEFAULT_SCHEDULE[attempt] * (1 + 0.2 * jitter)
    )
    assert delay(DEFAULT_SCHEDULE, 9, 1) == pytest.approx(1.2 * DAY)
    assert delay(DEFAULT_SCHEDULE, 9, -1) == pytest.approx(0.8 * DAY)


@given(attempts, jitters, st.floats(0, 1e12))
def test_retry_after_never_shortens_the_scheduled_delay(attempt, jitter, retry_after):
    wait = delay(DEFAULT_SCHEDULE, attempt, jitter, retry_after)
    assert wait >= DEFAULT_SCHEDULE[attempt]
    assert wait >= min(retry_after, DAY)


@given(jitters, st.floats(DAY, 1e12) | st.just(float("inf")))
def test_retry_after_counts_for_a_day_at_most(jitter, retry_after):
    assert delay(DEFAULT_SCHEDULE, 1, jitter, retry_after) == DAY


def test_retry_after_is_kept_to_the_second_when_it_is_longer_than_the_schedule():
    assert delay(DEFAULT_SCHEDULE, 1, 1, 120) == 120


def test_retry_after_adds_no_attempt_to_an_exhausted_schedule():
    assert delay(DEFAULT_SCHEDULE, 10, 0, 1) is None
    assert delay((0,), 1, 0, 1) is None
    assert delay((), 1, 0, None) is None


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("120", 120),
        (" 7 ", 7),
        ("0", 0),
        ("9" * 5000, float("inf")),
        (formatdate(NOW + 90, usegmt=True), 90),
        (formatdate(NOW - 90, usegmt=True), 0),
        ("Thu, 25 Sep 2025 11:05:28 -0000", 0),
        (None, None),
        ("", None),
        ("-5", None),
        ("1.5", None),
        ("soon", None),
        ("١٢", None),
        ("Thu, 99 Sep 2025 11:05:28 GMT", None),
    ],
)
def test_retry_after_is_read_as_seconds_or_a_date(header, seconds):
    assert parse_retry_after(header, NOW) == seconds


@given(st.text() | st.text("0123456789:, GMTSepThu+-"))
def test_a_hostile_retry_after_is_read_as_nothing_or_as_seconds(header):
    seconds = parse_retry_after(header, NOW)
    assert seconds is None or seconds >= 0
