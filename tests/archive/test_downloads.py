"""One thread's downloads, one after the other."""

from __future__ import annotations

from io import BytesIO
from ipaddress import ip_network

import pytest

from service.addresses import Policy
from service.archive.download import Downloads, Unfetched
from service.archive.naming import kind as kind_of
from service.sender import trusted_authorities
from tests.archive.origin import FILM, Answer, Origin


@pytest.fixture
def downloads() -> Downloads:
    return Downloads(Policy((ip_network("127.0.0.1/32"),)), "Hookreel/test", trusted_authorities())


def fetched(downloads: Downloads, url: str) -> bytes:
    target = BytesIO()
    downloads.fetch(url, target)
    return target.getvalue()


def test_the_next_file_of_an_origin_comes_over_the_same_connection(
    downloads: Downloads, origin: Origin
) -> None:
    for path in ("/1.mp4", "/2.mp4", "/3.mp4"):
        assert fetched(downloads, origin.film(Answer(stays=True), path=path)) == FILM
    assert (len(origin.gets), origin.connections) == (3, 1)


def test_a_connection_that_the_origin_has_closed_meanwhile_costs_nothing_but_another(
    downloads: Downloads, origin: Origin
) -> None:
    for path in ("/1.mp4", "/2.mp4"):
        assert fetched(downloads, origin.film(path=path)) == FILM
    assert (len(origin.gets), origin.connections) == (2, 2)


@pytest.mark.parametrize(
    "bad",
    [
        Answer(404, stays=True),
        Answer(cut=300_000),
        Answer(cut=600_000, chunked=True),
        Answer(body=b"", stays=True),
        Answer(length=None),
        Answer(length=10**12),
    ],
)
def test_what_went_wrong_with_one_file_does_not_go_into_the_next(
    downloads: Downloads, origin: Origin, bad: Answer
) -> None:
    first = origin.film(bad, path="/bad.mp4")
    with pytest.raises(Unfetched):
        downloads.fetch(first, BytesIO())
    assert fetched(downloads, origin.film(Answer(stays=True))) == FILM


@pytest.mark.parametrize("path", ["/a\0.mp4", "/\ud800.mp4"])
def test_what_is_no_url_is_given_up_at_once(downloads: Downloads, origin: Origin, path: str) -> None:
    with pytest.raises(Unfetched) as refused:
        downloads.fetch(origin.url + path, BytesIO())
    assert refused.value.permanent
    assert origin.gets == []


def test_a_type_of_any_bytes_costs_no_file(downloads: Downloads, origin: Origin) -> None:
    for kind in ("video/mp4; name=\xff\xfe", "\xff"):
        assert fetched(downloads, origin.film(Answer(kind=kind))) == FILM


def test_a_url_that_only_libcurl_reads_has_a_name(downloads: Downloads, origin: Origin) -> None:
    url = origin.film().replace("http://", "http://\u2100@")
    assert fetched(downloads, url) == FILM
    assert kind_of(url, "video/mp4") == ("video/mp4", ".mp4")


def test_every_address_is_judged_also_after_another_one_was_allowed(
    downloads: Downloads, origin: Origin
) -> None:
    assert fetched(downloads, origin.film(Answer(stays=True))) == FILM
    elsewhere = f"http://127.0.0.2:{origin.server_port}/film.mp4"
    with pytest.raises(Unfetched, match="HOOKREEL_EGRESS_ALLOW"):
        downloads.fetch(elsewhere, BytesIO())
    leads_there = origin.film(Answer(302, b"", location=elsewhere, stays=True), path="/r.mp4")
    with pytest.raises(Unfetched, match="HOOKREEL_EGRESS_ALLOW"):
        downloads.fetch(leads_there, BytesIO())
    assert origin.gets == ["/film.mp4", "/r.mp4"]
    assert fetched(downloads, origin.film(Answer(stays=True))) == FILM
