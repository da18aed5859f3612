"""Every model's every parameter: good, bad, missing, unknown. The table is the vendor's, written anew."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
from marshmallow import ValidationError

from schemas import images, inputs
from schemas.faults import flatten
from schemas.models import MODELS

DATA = Path(__file__).parent.parent / "data"
URL = "https://example.com/photo.jpg"
LONGEST = "é" * 2000

# model: what it needs, what it may have, durations, expands by itself, goes fast by itself
TABLE = {
    "minimax/hailuo-02/fast": ("image", "prompt", (6, 10), True, True),
    "minimax/hailuo-02/standard": ("prompt", "image end_image", (6, 10), False, None),
    "minimax/hailuo-02/pro": ("prompt", "image end_image", (6,), False, None),
    "minimax/hailuo-02/i2v-standard": ("image", "prompt end_image", (6, 10), False, None),
    "minimax/hailuo-02/i2v-pro": ("image", "prompt end_image", (), True, None),
    "minimax/hailuo-02/t2v-standard": ("prompt", "", (6, 10), True, None),
    "minimax/hailuo-02/t2v-pro": ("prompt", "", (), True, None),
    "minimax/hailuo-2.3/fast": ("image", "prompt", (6, 10), True, True),
    "minimax/hailuo-2.3/fast-pro": ("image", "prompt", (6,), True, True),
    "minimax/hailuo-2.3/i2v-standard": ("image", "prompt", (6, 10), False, None),
    "minimax/hailuo-2.3/i2v-pro": ("image", "prompt", (), True, None),
    "minimax/hailuo-2.3/t2v-standard": ("prompt", "", (6, 10), True, None),
    "minimax/hailuo-2.3/t2v-pro": ("prompt", "", (), True, None),
}
ALL_PARAMETERS = ("prompt", "image", "end_image", "duration", "enable_prompt_expansion", "go_fast")

IMAGE_ALLOWED = "a public URL or a data:image/...;base64 URI of a JPEG or PNG"
BAD_IMAGES = {
    "": '"" is no URL and no data URI',
    "photo.jpg": '"photo.jpg" is no URL and no data URI',
    "x" * 100: f'"{"x" * 36}... is no URL and no data URI',
    "ftp://example.com/a": "has the scheme 'ftp'",
    "data:image/jpeg;base64,aGk=": "is no image that can be read",
    7: "7 is not a string",
    None: "null is no value",
    (URL,): "a list is not a string",
}
BAD_PROMPTS = {
    "x" * 2001: "is 2001 characters long",
    7: "7 is not a string",
    True: "true is not a string",
    None: "null is no value",
    "\ud800": "holds a lone surrogate",
}
BAD_INTEGERS = {
    "6": '"6" is not an integer',
    6.0: "6.0 is not an integer",
    6.5: "6.5 is not an integer",
    True: "true is not an integer",
    None: "null is no value",
    7: "7 is not one of",
    -6: "-6 is not one of",
    10**30: "1000000000000000000000000000000 is not one of",
    math.nan: "NaN is not an integer",
}
BAD_FLAGS = {
    1: "1 is not a boolean",
    0: "0 is not a boolean",
    "true": '"true" is not a boolean',
    None: "null is no value",
}


def parameters(model_id):
    needed, optional, durations, _, fast = TABLE[model_id]
    extra = ["duration"] * bool(durations) + ["enable_prompt_expansion"] + ["go_fast"] * (fast is not None)
    return [needed, *optional.split(), *extra]


def least(model_id):
    needed = TABLE[model_id][0]
    return {needed: URL if needed == "image" else "A rocket takes off."}


def cases(bad_values, *names):
    for model_id in TABLE:
        for name in sorted(set(names) & set(parameters(model_id))):
            for value, words in bad_values.items():
                yield pytest.param(model_id, name, value, words, id=f"{model_id}-{name}-{str(value)[:20]!a}")


def faults(call, *arguments):
    with pytest.raises(ValidationError) as caught:
        call(*arguments)
    return flatten(caught.value.normalized_messages())


def refused(model_id, body):
    return {fault.field: fault for fault in faults(inputs.parse, model_id, body)}


def test_the_table_of_the_tests_and_of_the_code_name_the_same_models():
    assert list(TABLE) == list(MODELS)


@pytest.mark.parametrize("model_id", TABLE)
def test_what_is_not_given_has_its_default(model_id):
    _, _, durations, expands, fast = TABLE[model_id]
    defaults: dict[str, object] = {"enable_prompt_expansion": expands}
    if durations:
        defaults["duration"] = 6
    if fast is not None:
        defaults["go_fast"] = fast
    assert inputs.parse(model_id, least(model_id)) == inputs.Input(model_id, least(model_id) | defaults, {})


@pytest.mark.parametrize("model_id", TABLE)
def test_what_is_given_stays(model_id):
    _, _, durations, expands, fast = TABLE[model_id]
    good = {"prompt": LONGEST, "image": URL, "end_image": URL, "enable_prompt_expansion": not expands}
    good |= {"go_fast": not fast, "duration": durations[-1] if durations else None}
    body = {name: good[name] for name in parameters(model_id)}
    assert inputs.parse(model_id, body).fields == body


@pytest.mark.parametrize(
    ("model_id", "duration"), [(model_id, seconds) for model_id in TABLE for seconds in TABLE[model_id][2]]
)
def test_every_duration_of_the_table_is_taken(model_id, duration):
    assert inputs.parse(model_id, least(model_id) | {"duration": duration}).fields["duration"] == duration


@pytest.mark.parametrize("model_id", [model_id for model_id in TABLE if TABLE[model_id][2] == (6,)])
def test_ten_seconds_are_refused_where_there_are_only_six(model_id):
    found = refused(model_id, least(model_id) | {"duration": 10})
    assert str(found["duration"]) == "duration: 10 is not one of 6"


@pytest.mark.parametrize("model_id", TABLE)
def test_what_is_needed_is_asked_for(model_id):
    needed = TABLE[model_id][0]
    found = refused(model_id, {})
    assert list(found) == [needed]
    assert (found[needed].pointer, found[needed].code) == (f"/{needed}", "required")
    allowed = IMAGE_ALLOWED if needed == "image" else "text of 1 to 2000 characters"
    assert (found[needed].detail, found[needed].allowed) == (f"is required; {allowed}", allowed)


@pytest.mark.parametrize("model_id", [model_id for model_id in TABLE if TABLE[model_id][0] == "prompt"])
def test_an_empty_prompt_is_none_where_one_is_needed(model_id):
    assert refused(model_id, {"prompt": ""})["prompt"].detail == "is empty; text of 1 to 2000 characters"


@pytest.mark.parametrize("model_id", [model_id for model_id in TABLE if "prompt" in TABLE[model_id][1]])
def test_an_empty_prompt_is_fine_where_none_is_needed(model_id):
    assert inputs.parse(model_id, least(model_id) | {"prompt": ""}).fields["prompt"] == ""


@pytest.mark.parametrize(
    ("model_id", "name", "value", "words"),
    [
        *cases(BAD_IMAGES, "image", "end_image"),
        *cases(BAD_PROMPTS, "prompt"),
        *cases(BAD_INTEGERS, "duration"),
        *cases(BAD_FLAGS, "enable_prompt_expansion", "go_fast"),
    ],
)
def test_a_bad_value_is_refused_by_its_name_its_fault_and_what_is_allowed(model_id, name, value, words):
    value = list(value) if isinstance(value, tuple) else value
    found = refused(model_id, least(model_id) | {name: value})
    assert list(found) == [name]
    fault = found[name]
    assert fault.detail.startswith(words)
    assert fault.allowed
    assert fault.detail.endswith(fault.allowed)
    assert len(fault.detail) < 200
    assert fault.code not in {"", "invalid"}


@pytest.mark.parametrize(
    ("model_id", "name"),
    [(model_id, name) for model_id in TABLE for name in ALL_PARAMETERS if name not in parameters(model_id)]
    + [(model_id, name) for model_id in TABLE for name in ("seed", "Prompt", "", "enable_sync_mode")],
)
def test_an_unknown_parameter_is_refused_by_its_name(model_id, name):
    (fault,) = faults(inputs.parse, model_id, least(model_id) | {name: 6})
    assert (fault.pointer, fault.code) == (f"/{name}", "unknown")
    assert set(fault.allowed.split(", ")) == set(parameters(model_id))


@pytest.mark.parametrize("model_id", TABLE)
@pytest.mark.parametrize("body", [None, [], "image", 7, True, [{"image": URL}]])
def test_a_body_that_is_no_object_is_refused(model_id, body):
    (fault,) = faults(inputs.parse, model_id, body)
    assert (fault.pointer, fault.code, fault.allowed) == ("", "type", "a JSON object")


def test_the_vendors_own_example_is_refused_for_its_missing_image():
    body = json.loads("""{
    "duration": 6,
    "enable_prompt_expansion": true,
    "go_fast": true
}""")
    (fault,) = faults(inputs.parse, "minimax/hailuo-02/fast", body)
    assert str(fault) == f"image: is required; {IMAGE_ALLOWED}"


def test_a_duration_of_seven_is_refused_in_the_words_of_the_contract():
    found = refused("minimax/hailuo-02/fast", {"image": URL, "duration": 7})
    assert str(found["duration"]) == "duration: 7 is not one of 6, 10"
    assert (found["duration"].code, found["duration"].allowed) == ("choice", "6, 10")


def test_all_faults_are_told_at_once():
    assert set(refused("minimax/hailuo-02/fast", {"duration": 7, "go_fast": 1, "x": 1})) == {
        "image", "duration", "go_fast", "x",
    }  # fmt: skip


def test_a_name_of_the_callers_own_is_told_short_and_printable():
    (fault,) = faults(inputs.parse, "minimax/hailuo-02/fast", {"image": URL, "a/~\n\ud800" + "b" * 9999: 1})
    assert fault.pointer.startswith("/a~1~0\\n\\ud800bbb")
    assert fault.field.startswith("a/~\\n\\ud800bbb")
    assert len(fault.pointer) < 60


@pytest.mark.parametrize("model_id", [model_id for model_id in TABLE if "end_image" in parameters(model_id)])
def test_images_in_the_body_are_read_and_described(model_id):
    photos = {"image": "astronaut.jpg", "end_image": "rocket.jpg"}
    contents = {name: (DATA / photo).read_bytes() for name, photo in photos.items()}
    read = {name: images.read(content) for name, content in contents.items()}
    body = {name: image.data_uri() for name, image in read.items()} | {"prompt": "Take off."}
    parsed = inputs.parse(model_id, body)
    assert parsed.images == read
    sha256 = read["image"].sha256
    assert parsed.fields["image"] == {"media_type": "image/jpeg", "bytes": 60270, "sha256": sha256}
    assert parsed.fields["end_image"]["bytes"] == 45971
    assert "base64" not in repr(parsed)
