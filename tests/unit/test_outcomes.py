from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.envelopes import MESSAGE_LIMIT, read_envelope, safe_text
from schemas.outcomes import TABLE, WORKER_DIED, Observation, Outcome, classify

ID = "6488c2754f6f4dfea924382fa14d11bd"
ACCEPTED = {"code": 200, "message": "success", "data": {"id": ID, "status": "created", "outputs": []}}


def answer(status, body=b"", retry_after=None):
    raw = body if isinstance(body, bytes | None) else json.dumps(body).encode()
    return Observation(sent=True, status=status, body=raw, retry_after=retry_after)


ROWS = [
    ("nothing_sent", Observation(sent=False, trouble="Connection refused"), Outcome.REFUSED),
    ("cut_off", Observation(sent=True, trouble="the deadline of 60 s passed"), Outcome.UNKNOWN),
    ("cut_off", WORKER_DIED, Outcome.UNKNOWN),
    ("slow_down", answer(429, {"message": "too many"}, retry_after=7.0), Outcome.REFUSED),
    ("slow_down", answer(429, None), Outcome.REFUSED),
    ("request_timeout", answer(408), Outcome.UNKNOWN),
    (
        "refused_for_good",
        answer(400, {"code": 400, "message": "Insufficient credits. Please top up."}),
        Outcome.FAILED,
    ),
    ("refused_for_good", answer(401, {"error": "bad key"}), Outcome.FAILED),
    ("refused_for_good", answer(403), Outcome.FAILED),
    ("refused_for_good", answer(404, b"not found"), Outcome.FAILED),
    ("refused_for_good", answer(413, None), Outcome.FAILED),
    ("refused_for_good", answer(499), Outcome.FAILED),
    ("no_success", answer(500, {"code": 500, "message": "internal"}), Outcome.UNKNOWN),
    ("no_success", answer(502, b"error code: 502"), Outcome.UNKNOWN),
    ("no_success", answer(504), Outcome.UNKNOWN),
    ("no_success", answer(500, ACCEPTED), Outcome.UNKNOWN),
    ("no_success", answer(307), Outcome.UNKNOWN),
    ("no_success", answer(304), Outcome.UNKNOWN),
    ("no_success", answer(101), Outcome.UNKNOWN),
    ("no_success", answer(600), Outcome.UNKNOWN),
    ("unreadable", answer(200, None), Outcome.UNKNOWN),
    ("unreadable", answer(200, b""), Outcome.UNKNOWN),
    ("unreadable", answer(204), Outcome.UNKNOWN),
    ("unreadable", answer(200, b"<html>"), Outcome.UNKNOWN),
    ("unreadable", answer(200, json.dumps(ACCEPTED).encode()[:-1]), Outcome.UNKNOWN),
    ("unreadable", answer(200, [ACCEPTED]), Outcome.UNKNOWN),
    ("unreadable", answer(200, b"[" * 100_000), Outcome.UNKNOWN),
    ("accepted", answer(200, ACCEPTED), Outcome.ACCEPTED),
    ("accepted", answer(201, {"data": {"id": ID}}), Outcome.ACCEPTED),
    ("accepted", answer(200, {"code": None, "data": {"id": ID}}), Outcome.ACCEPTED),
    ("contradiction", answer(200, {"code": 429, "data": {"id": ID}}), Outcome.UNKNOWN),
    ("contradiction", answer(200, {"code": 400, "data": {"id": ID}}), Outcome.UNKNOWN),
    ("contradiction", answer(200, {"code": "200", "data": {"id": ID}}), Outcome.UNKNOWN),
    ("envelope_slow_down", answer(200, {"code": 429}, retry_after=3.0), Outcome.REFUSED),
    ("envelope_request_timeout", answer(200, {"code": 408}), Outcome.UNKNOWN),
    ("envelope_refused_for_good", answer(200, {"code": 400, "message": "no"}), Outcome.FAILED),
    ("envelope_refused_for_good", answer(200, {"code": 401, "data": None}), Outcome.FAILED),
    ("no_id", answer(200, {"code": 500, "message": "internal"}), Outcome.UNKNOWN),
    ("no_id", answer(200, {"code": 5004, "data": {}}), Outcome.UNKNOWN),
    ("no_id", answer(200, {"code": True}), Outcome.UNKNOWN),
    ("no_id", answer(200, {"code": 200, "data": None}), Outcome.UNKNOWN),
    ("no_id", answer(200, {}), Outcome.UNKNOWN),
    ("no_id", answer(200, {"code": 200, "data": {"id": ""}}), Outcome.UNKNOWN),
    ("no_id", answer(200, {"code": 200, "data": {"id": 17}}), Outcome.UNKNOWN),
    ("no_id", answer(200, {"code": 200, "data": {"id": "a/../b"}}), Outcome.UNKNOWN),
    ("no_id", answer(200, {"code": 200, "data": {"id": "a" * 129}}), Outcome.UNKNOWN),
    ("no_id", answer(200, {"code": 200, "data": {"id": "٣"}}), Outcome.UNKNOWN),
    ("no_id", answer(200, {"code": 200, "data": [ID]}), Outcome.UNKNOWN),
]


@pytest.mark.parametrize(("row", "seen", "outcome"), ROWS)
def test_every_sight_has_its_row(row, seen, outcome):
    result = classify(seen)
    assert (result.row, result.outcome) == (row, outcome)
    assert (result.upstream_id is not None) == (outcome is Outcome.ACCEPTED)


def test_every_row_of_the_table_is_tested():
    assert {row.name for row in TABLE} == {name for name, _, _ in ROWS}


def test_an_accepted_task_gives_its_id_and_no_words():
    result = classify(answer(200, ACCEPTED))
    assert (result.upstream_id, result.message, result.code, result.prediction) == (ID, "", None, None)


@pytest.mark.parametrize("word", ["completed", "failed", "cancelled", "timeout", "deleted"])
def test_a_task_that_is_final_at_once_brings_its_prediction(word):
    data = {"id": ID, "status": word, "outputs": ["https://files.example/a.mp4"]}
    assert classify(answer(200, {"code": 200, "data": data})).prediction == data


@pytest.mark.parametrize("word", ["created", "processing", "dreaming", None, 7, ["completed"], {}])
def test_any_other_word_means_that_it_is_still_running(word):
    result = classify(answer(200, {"code": 200, "data": {"id": ID, "status": word}}))
    assert (result.outcome, result.prediction) == (Outcome.ACCEPTED, None)


def test_the_wait_that_was_asked_for_is_kept_only_where_it_is_safe_to_come_back():
    assert classify(answer(429, retry_after=7.0)).retry_after == 7.0
    assert classify(answer(200, {"code": 429}, retry_after=7.0)).retry_after == 7.0
    assert classify(answer(503, retry_after=7.0)).retry_after is None


@pytest.mark.parametrize(
    ("seen", "code"),
    [
        (answer(400, {"code": 1400, "message": "missing"}), 1400),
        (answer(403, {"message": "no", "error_code": 1200}), 1200),
        (answer(404, b"gone"), 404),
        (answer(400, {"code": 200}), 400),
        (answer(400, {"code": True}), 400),
        (answer(400, {"code": 10**30}), 400),
        (answer(502), 502),
        (answer(200, {"code": 401}), 401),
        (Observation(sent=False), None),
        (WORKER_DIED, None),
    ],
)
def test_the_code_is_the_most_particular_number(seen, code):
    assert classify(seen).code == code


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"code": 400, "message": "Insufficient credits."}, "Insufficient credits."),
        ({"error": "webhook is not a URL"}, "webhook is not a URL"),
        ({"message": "no", "error_code": 1401}, "no"),
        ({"code": 400, "message": "bad", "data": {"error": "duration is 7"}}, "bad; duration is 7"),
        ({"message": "same", "error": "same"}, "same"),
        (b"error code: 400", "error code: 400"),
        (b"<html>a page</html>", ""),
        (b"\xff\xfe", ""),
    ],
)
def test_the_vendors_words_are_repeated_whatever_their_shape(body, words):
    message = classify(answer(400, body)).message
    assert message.startswith("the vendor refused the job")
    if words:
        assert message.endswith(f": {words}")


@pytest.mark.parametrize(
    "words",
    [
        "HTTP 500",
        "HTTP 429",
        "HTTP\n503",
        "http 5xx",
        "HTTP\u00a0500",
        "HTTP\u200b 500",
        "HTHTTP 5TP 500",
        "HTTP5",
    ],
)
def test_no_message_makes_the_official_client_pay_again(words):
    for seen in (
        answer(400, {"message": words}),
        answer(502, words.encode()),
        Observation(sent=True, trouble=words),
    ):
        message = classify(seen).message
        assert "HTTP 5" not in message
        assert "HTTP 429" not in message


def test_secrets_that_the_vendor_echoes_do_not_reach_the_message():
    seen = answer(400, {"message": "cannot call https://h.example/callbacks/wavespeed/j/tok3n with key k3y"})
    message = classify(seen, ("tok3n", "k3y", "")).message
    assert "tok3n" not in message
    assert "k3y" not in message
    assert "cannot call" in message


def test_a_repr_shows_no_body():
    assert "prompt" not in repr(answer(200, {"data": {"id": ID, "status": "completed", "input": "prompt"}}))


NUMBERS = st.integers(-10, 10_000) | st.sampled_from([200, 201, 400, 408, 429, 500])
LEAVES = st.none() | st.booleans() | NUMBERS | st.floats() | st.text(max_size=20) | st.just(ID)
JSON = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3)
)
ENVELOPES = st.fixed_dictionaries(
    {},
    optional={
        "code": JSON,
        "message": JSON,
        "error": JSON,
        "error_code": JSON,
        "data": JSON
        | st.fixed_dictionaries({}, optional={"id": JSON, "status": JSON, "error": JSON, "code": JSON}),
    },
)
BODIES = st.none() | st.binary() | ENVELOPES.map(lambda body: json.dumps(body).encode())


@given(
    sent=st.booleans(),
    status=st.none() | st.integers() | NUMBERS,
    body=BODIES,
    retry_after=st.none() | st.floats(),
    trouble=st.text(),
)
def test_the_table_is_total(sent, status, body, retry_after, trouble):
    result = classify(Observation(sent, status, body, retry_after, trouble), ("hide me",))
    assert result.outcome in Outcome
    assert (result.upstream_id is not None) == (result.outcome is Outcome.ACCEPTED)
    assert len(result.message) <= MESSAGE_LIMIT
    assert result.outcome is not Outcome.REFUSED or not sent or 429 in {status, read_envelope(body).code}
    result.message.encode()


@given(
    st.text()
    | st.lists(st.sampled_from(["HTTP", "http", " ", "5", "429", "\n", "\u200b", "\x00"])).map("".join)
)
def test_a_safe_text_is_one_line_that_nobody_pays_for(text):
    line = safe_text(text)
    assert line.isprintable()
    assert "HTTP 5" not in line
    assert "HTTP 429" not in line
    assert safe_text(line) == line


@given(st.binary())
def test_whatever_the_bytes_are_they_are_an_envelope(body):
    assert isinstance(read_envelope(body).said, str)


def test_what_an_answer_holds_can_be_written_again():
    told = read_envelope(b'{"code": 200, "data": {"a": 1e400, "b": NaN, "c": "cut \\uD83D", "d": 1.5}}')
    assert told.data == {"a": None, "b": None, "c": "cut ?", "d": 1.5}
