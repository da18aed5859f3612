"""The form of a URL."""

from __future__ import annotations

import pytest
from marshmallow import ValidationError

from schemas.urls import check_callable_url, check_url


def fault(call, value):
    with pytest.raises(ValidationError) as caught:
        call(value)
    (complaint,) = caught.value.messages
    return complaint


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("https://example.com:99999/", "a port from 1 to 65535"),
        ("https://example.com:0/", "a port from 1 to 65535"),
        (f"https://{'a' * 300}.example/", "a host of at most 253"),
    ],
)
def test_what_is_wrong_with_host_or_port_is_told(url, said):
    assert fault(check_url, url).allowed == said


@pytest.mark.parametrize(
    "url",
    [
        "https://example.com/a.jpg",
        "http://example.com:8080/a?b=c&d=%20#e",
        "HTTPS://EXAMPLE.COM/",
        "http://127.0.0.1:9/x",
        "http://[::1]:80/x",
        "http://a_b.example./x",
        "https://bücher.example/ä.jpg",
        "https://example.com/@user",
    ],
)
def test_a_url_of_good_form_is_taken(url):
    assert check_url(url) == url


@pytest.mark.parametrize(
    "url",
    [
        "", "example.com/a.jpg", "//example.com/a", "ftp://example.com/a", "file:///etc/passwd",
        "javascript:1",
        "http://", "https:///a", "http://:80/", "http:example.com", "http://./", "http://-/", "http://a..%00/",
        "http://user:secret@example.com/", "http://user@example.com/", "http://@example.com/",
        "http://example.com:99999/", "http://example.com:x/", "http://[::1/", "http://[::1%25eth0]/",
        "http://[v1.a]/", "http://exa mple.com/", "http://example.com/a b", "http://example.com/\n",
        " http://example.com/", "http://example.com\\@evil.example/", "http://example.com/\u202e",
        "http://example.com/\ud800", "http://exa\u00admple.com/", "https://example.com/" + "a" * 2029,
    ],
)  # fmt: skip
def test_a_url_of_bad_form_is_refused(url):
    assert fault(check_url, url)


def test_a_refused_url_shows_nothing_of_its_secrets():
    assert "secret" not in fault(check_url, "ftp://user:secret@example.com/?token=secret")
    assert "secret" not in fault(check_url, "https://user:secret@example.com/?token=secret")


def test_a_url_that_we_call_is_ascii_and_has_no_fragment():
    assert check_callable_url("https://example.com/a?b=%20") == "https://example.com/a?b=%20"
    assert "Punycode" in fault(check_callable_url, "https://b\u00fccher.example/")
    assert fault(check_callable_url, "https://example.com/#top").startswith("has a fragment")
    assert fault(check_callable_url, "ftp://example.com/").startswith("has the scheme 'ftp'")
