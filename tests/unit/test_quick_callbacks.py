"""The short way to read a callback never says anything but what the schema says."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from schemas.callbacks import as_documented, read_callback
from schemas.predictions import read_prediction

GOOD = {
    "id": "0123456789abcdef0123456789abcdef",
    "model": "minimax/hailuo-02/fast",
    "outputs": ["https://cdn.example.com/a.mp4"],
    "urls": {"get": "https://api.wavespeed.ai/api/v3/predictions/0/result"},
    "has_nsfw_contents": [False],
    "status": "completed",
    "created_at": "2026-11-22T05:28:00.123456789Z",
    "error": "",
    "executionTime": 25729,
    "timings": {"inference": 25729},
}
LONG = st.sampled_from(["x" * n for n in (64, 65, 128, 129, 256, 257, 4000, 4001)])
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5) | LONG,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
CHANGES = st.dictionaries(st.sampled_from([*GOOD, "input", "code", "new"]), VALUES, max_size=3)


def test_the_documented_form_goes_the_short_way():
    assert as_documented(GOOD) == read_prediction(GOOD)
    with_input = {**GOOD, "input": {"prompt": "x"}, "error": "x" * 5000, "status": "failed", "outputs": []}
    assert as_documented(with_input) == read_prediction(with_input)
    assert as_documented(with_input) is not None


@given(changes=CHANGES, missing=st.sets(st.sampled_from(list(GOOD)), max_size=2))
def test_the_short_way_agrees_with_the_schema(changes, missing):
    value = {name: found for name, found in (GOOD | changes).items() if name not in missing}
    quick = as_documented(value)
    if quick is not None:
        assert quick == read_prediction(value)


@given(value=VALUES)
def test_the_short_way_takes_nothing_that_is_no_prediction(value):
    assert as_documented(value) is None


def test_a_long_body_goes_through_the_schema():
    # Written out, each of the numbers is four times as long.
    numbers = ",".join(["1e15"] * 60_000)
    body = json.dumps({**GOOD, "timings": {"a": []}}).replace("[]", f"[{numbers}]").encode()
    assert as_documented(json.loads(body)) is not None
    assert read_callback(body).timings is None
