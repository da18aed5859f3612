"""The two signature schemes: published vectors, hostile headers, and the receivers' own libraries."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
import standardwebhooks
import svix.webhooks
from hypothesis import given
from hypothesis import strategies as st

from schemas.faults import Complaint
from service.errors import SignatureInvalid
from service.signing import check_secret, new_secret, sign_v1, sign_v3, verify_v3

VENDOR_SECRET = "whsec_e9EE3BdyXSxcB4ZyZUKjQUEoQX4sF9P1+eMpb/KluCM="
VENDOR_ID = "45b392b22c3b449fa935bd4dc"
VENDOR_BODY = (Path(__file__).parent.parent / "data" / "upstream-webhook-body.json").read_bytes()
NOW = 1758798328
GOOD = "v3,7a32ef7ef2c0cc05dbf74c9456add530c638730d40b36ecbce282a4251feaba7"
HEADERS = {"webhook-id": VENDOR_ID, "webhook-timestamp": str(NOW), "webhook-signature": GOOD}


@pytest.mark.parametrize(
    ("secret", "msg_id", "timestamp", "body", "signature"),
    [
        (
            "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
            "msg_p5jXN8AQM9LWM0D4loKWxJek",
            1614265330,
            b'{"test": 2432232314}',
            "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
        ),
        (
            "whsec_plJ3nmyCDGBKInavdOK15jsl",
            "msg_loFOjxBNrRLzqYUf",
            1731705121,
            b'{"event_type":"ping","data":{"success":true}}',
            "v1,rAvfW3dJ/X/qxhsaXPOyyCGmRKsaKWcsNccKXlIktD0=",
        ),
    ],
)
def test_v1_gives_the_published_vectors(secret, msg_id, timestamp, body, signature):
    assert sign_v1(secret, msg_id, timestamp, body) == signature


@pytest.mark.parametrize(
    ("timestamp", "digest"),
    [
        (1758798328, "7a32ef7ef2c0cc05dbf74c9456add530c638730d40b36ecbce282a4251feaba7"),
        (1758802746, "f8b7bf9947e6c9eae9009baa626b1a91202e0103bce66fbcc516195b6a20c7d9"),
    ],
)
def test_v3_gives_the_vendors_vectors(timestamp, digest):
    assert len(VENDOR_BODY) == 464
    assert sign_v3(VENDOR_SECRET, VENDOR_ID, timestamp, VENDOR_BODY) == f"v3,{digest}"
    headers = HEADERS | {"webhook-timestamp": str(timestamp), "webhook-signature": f"v3,{digest}"}
    verify_v3(VENDOR_SECRET, headers, VENDOR_BODY, now=timestamp)


@given(random_bytes=st.binary(min_size=24, max_size=64), text=st.text(max_size=50))
def test_receivers_libraries_accept_what_we_sign(random_bytes, text):
    secret, body = new_secret(random_bytes), json.dumps({"text": text}).encode()
    now = int(datetime.now(UTC).timestamp())
    headers = {"webhook-id": "evt_1", "webhook-timestamp": str(now)}
    headers["webhook-signature"] = sign_v1(secret, "evt_1", now, body)
    assert standardwebhooks.Webhook(secret).verify(body, headers) == {"text": text}
    svix.webhooks.Webhook(secret).verify(body, headers)


def test_receivers_libraries_refuse_another_secret_and_a_changed_body():
    secret, other = new_secret(b"a" * 24), new_secret(b"b" * 24)
    now = int(datetime.now(UTC).timestamp())
    headers = {"webhook-id": "evt_1", "webhook-timestamp": str(now)}
    headers["webhook-signature"] = sign_v1(secret, "evt_1", now, b"{}")
    with pytest.raises(standardwebhooks.WebhookVerificationError):
        standardwebhooks.Webhook(other).verify(b"{}", headers)
    with pytest.raises(svix.webhooks.WebhookVerificationError):
        svix.webhooks.Webhook(secret).verify(b'{"a":1}', headers)


def test_one_good_signature_among_several_is_enough():
    headers = HEADERS | {"webhook-signature": f"v1,abc= v3,{'0' * 64}  {GOOD} v4,zzz"}
    verify_v3(VENDOR_SECRET, headers, VENDOR_BODY, now=NOW)


def test_header_names_may_be_in_any_case():
    headers = {name.title(): value for name, value in HEADERS.items()}
    verify_v3(VENDOR_SECRET, headers, VENDOR_BODY, now=NOW)


@pytest.mark.parametrize("away", [-300, -299.5, 300])
def test_a_timestamp_within_the_tolerance_is_taken(away):
    verify_v3(VENDOR_SECRET, HEADERS, VENDOR_BODY, now=NOW + away)


@pytest.mark.parametrize("away", [-301, 300.5, 1e9])
def test_a_timestamp_outside_the_tolerance_is_refused_both_ways(away):
    with pytest.raises(SignatureInvalid, match="300 s"):
        verify_v3(VENDOR_SECRET, HEADERS, VENDOR_BODY, now=NOW + away)


@pytest.mark.parametrize("missing", sorted(HEADERS))
@pytest.mark.parametrize("value", [None, ""])
def test_a_missing_header_is_refused_by_name(missing, value):
    headers = {**HEADERS, missing: value}
    if value is None:
        del headers[missing]
    with pytest.raises(SignatureInvalid, match=missing):
        verify_v3(VENDOR_SECRET, headers, VENDOR_BODY, now=NOW)


@pytest.mark.parametrize(
    "timestamp",
    [f" {NOW}", f"+{NOW}", f"{NOW}.0", f"0{NOW}", "1_758_798_328", "١٧٥٨٧٩٨٣٢٨", "-1", "nan", "9" * 5000],
)
def test_a_timestamp_is_plain_digits(timestamp):
    headers = HEADERS | {"webhook-timestamp": timestamp}
    with pytest.raises(SignatureInvalid, match="webhook-timestamp"):
        verify_v3(VENDOR_SECRET, headers, VENDOR_BODY, now=NOW)


@pytest.mark.parametrize(
    "signature",
    [
        GOOD.upper(),
        GOOD.replace("v3", "v1"),
        GOOD[:-1],
        GOOD + "0",
        GOOD[3:],
        f"{GOOD},",
        "v3,",
        "é",
        "v3,\udcff",
    ],
)
def test_anything_but_the_exact_signature_is_refused(signature):
    with pytest.raises(SignatureInvalid, match="signature"):
        verify_v3(VENDOR_SECRET, HEADERS | {"webhook-signature": signature}, VENDOR_BODY, now=NOW)


def test_a_changed_body_and_another_secret_are_refused():
    with pytest.raises(SignatureInvalid):
        verify_v3(VENDOR_SECRET, HEADERS, VENDOR_BODY + b"\n", now=NOW)
    with pytest.raises(SignatureInvalid):
        verify_v3(new_secret(b"x" * 24), HEADERS, VENDOR_BODY, now=NOW)


HOSTILE = st.one_of(
    st.text(st.characters()),
    st.text("0123456789v3,. =", max_size=40),
    st.sampled_from([*HEADERS.values(), "\udcff", "\x00", "v3," + "é" * 64]),
)


@given(
    headers=st.one_of(
        st.dictionaries(st.one_of(st.sampled_from(sorted(HEADERS)), st.text()), HOSTILE),
        st.fixed_dictionaries(dict.fromkeys(HEADERS, HOSTILE)),
    ),
    body=st.binary(),
)
def test_hostile_headers_raise_nothing_but_signature_invalid(headers, body):
    with pytest.raises(SignatureInvalid):
        verify_v3(VENDOR_SECRET, headers, body, now=NOW)


@given(st.binary(min_size=24, max_size=64))
def test_a_new_secret_is_a_good_secret(random_bytes):
    check_secret(new_secret(random_bytes))


@pytest.mark.parametrize("length", [0, 23, 65])
def test_too_little_or_too_much_randomness_is_refused(length):
    with pytest.raises(ValueError, match="24 to 64"):
        new_secret(b"x" * length)


@given(
    st.one_of(st.text(), st.text().map("whsec_".__add__), st.binary(max_size=23).map(lambda raw: raw.hex()))
)
def test_a_bad_secret_is_told_by_a_complaint_that_does_not_repeat_it(text):
    with pytest.raises(ValueError, match="is not a webhook secret") as caught:
        check_secret(text)
    (complaint,) = caught.value.args
    assert isinstance(complaint, Complaint)
    assert complaint.allowed == "whsec_ followed by the base64 of 24 to 64 bytes"
