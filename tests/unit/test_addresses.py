"""Which addresses may be called, and what a URL tells of it without DNS."""

from __future__ import annotations

import socket
from contextlib import suppress
from ipaddress import ip_address, ip_network

import pycurl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.addresses import EXACT_ONLY, REFUSED, Policy
from service.errors import BlockedAddress, InvalidInput

NOBODY = Policy()


def allowing(*networks: str) -> Policy:
    return Policy(tuple(ip_network(network) for network in networks))


PUBLIC = ["1.1.1.1", "8.8.8.8", "192.0.1.1", "172.32.0.1", "100.128.0.1", "2606:4700::1111", "::ffff:8.8.8.8"]

REFUSED_ADDRESSES = {
    "0.0.0.0": "this host",  # noqa: S104
    "0.1.2.3": "this host",
    "10.0.0.1": "private",
    "100.64.0.1": "shared",
    "127.0.0.1": "loopback",
    "127.255.255.254": "loopback",
    "172.16.0.1": "private",
    "172.31.255.255": "private",
    "192.0.0.8": "protocol assignments",
    "192.0.0.9": "protocol assignments",
    "192.0.2.1": "documentation",
    "192.88.99.1": "6to4",
    "192.168.0.1": "private",
    "198.18.0.1": "benchmarks",
    "198.51.100.1": "documentation",
    "203.0.113.1": "documentation",
    "224.0.0.1": "multicast",
    "239.255.255.250": "multicast",
    "240.0.0.1": "reserved",
    "255.255.255.255": "broadcast",
    "::": "this host",
    "::1": "loopback",
    "::127.0.0.1": "IPv4-compatible",
    "::8.8.8.8": "IPv4-compatible",
    "::ffff:127.0.0.1": "loopback",
    "::ffff:10.0.0.1": "private",
    "::ffff:0:8.8.8.8": "IPv4-translated",
    "64:ff9b::8.8.8.8": "NAT64",
    "64:ff9b:1::1": "NAT64",
    "100::1": "discard",
    "2001::1": "Teredo",
    "2001:2::1": "protocol assignments",
    "2001:20::1": "protocol assignments",
    "2001:db8::1": "documentation",
    "2002:7f00:1::": "6to4",
    "3fff::1": "documentation",
    "4000::1": "not assigned",
    "5f00::1": "segment routing",
    "fc00::1": "private",
    "fd12::1": "private",
    "fec0::1": "site-local",
    "ff02::1": "multicast",
    "ff0e::1": "multicast",
}

EXACT_ADDRESSES = {
    "169.254.0.1": "link-local",
    "169.254.170.2": "link-local",
    "fe80::1": "link-local",
    "fe80::1%eth0": "link-local",
    "169.254.169.254": "metadata",
    "::ffff:169.254.169.254": "metadata",
    "100.100.100.200": "metadata",
    "168.63.129.16": "host agent",
    "192.0.0.192": "metadata",
    "fd00:ec2::254": "metadata",
    "fd20:ce::254": "metadata",
}


def as_judged(ip: str):
    address = ip_address(ip)
    return getattr(address, "ipv4_mapped", None) or address


@pytest.mark.parametrize("ip", PUBLIC)
def test_the_public_internet_may_be_called(ip):
    assert NOBODY.verdict(ip) is None


@pytest.mark.parametrize(("ip", "reason"), [*REFUSED_ADDRESSES.items(), *EXACT_ADDRESSES.items()])
def test_an_address_that_is_not_public_is_refused_with_its_reason_and_the_setting(ip, reason):
    sentence = NOBODY.verdict(ip)
    assert sentence is not None
    assert reason in sentence
    assert "HOOKREEL_EGRESS_ALLOW" in sentence
    assert sentence.startswith(str(as_judged(ip)))


@pytest.mark.parametrize("ip", sorted(REFUSED_ADDRESSES.keys() - {"2002:7f00:1::"}))
def test_an_allowed_network_opens_its_own_addresses_and_no_others(ip):
    assert allowing(str(as_judged(ip))).verdict(ip) is None
    assert allowing("8.8.8.8/32", "2606::/16").verdict(ip) is not None


@pytest.mark.parametrize("ip", sorted(EXACT_ADDRESSES))
def test_metadata_and_link_local_addresses_need_their_own_exact_entry(ip):
    exact = str(as_judged(ip)).partition("%")[0]
    assert allowing("0.0.0.0/0", "::/0", "169.254.169.254/31", "fd00:ec2::254/127").verdict(ip) is not None
    assert allowing(exact).verdict(ip) is None


def test_a_translating_gateway_that_is_allowed_opens_only_public_addresses_behind_it():
    policy = allowing("64:ff9b::/96", "2002::/16")
    assert policy.verdict("64:ff9b::8.8.8.8") is None
    assert policy.verdict("2002:808:808::1") is None
    assert "loopback" in policy.verdict("64:ff9b::127.0.0.1")
    assert "metadata" in policy.verdict("64:ff9b::169.254.169.254")
    assert "private" in policy.verdict("2002:a00:1::1")


def test_every_row_of_the_tables_refuses_its_first_and_last_address():
    for network, _ in (*EXACT_ONLY, *REFUSED):
        if str(network) != "::ffff:0:0/96":
            assert NOBODY.verdict(network[0]) is not None
            assert NOBODY.verdict(network[-1]) is not None


@given(st.ip_addresses())
def test_what_passes_is_global_and_not_multicast(ip):
    if NOBODY.verdict(ip) is None:
        assert as_judged(str(ip)).is_global
        assert not as_judged(str(ip)).is_multicast


SPELLINGS_OF_LOOPBACK = [
    "127.0.0.1",
    "127.1",
    "127.0.1",
    "0x7f000001",
    "0x7f.1",
    "0X7F.0.0.1",
    "2130706433",
    "017700000001",
    "0177.0.0.1",
    "127.0.0.1.",
    "127%2e0%2e0%2e1",
    "0",
    "0.0.0.0",  # noqa: S104
    "[::1]",
    "[0:0:0:0:0:0:0:1]",
    "[::]",
    "[::ffff:127.0.0.1]",
    "[::ffff:7f00:1]",
    "[64:ff9b::7f00:1]",
    "[2002:7f00:1::]",
    "[fe80::1%25lo]",
    "localhost",
    "LOCALHOST",
    "localhost.",
    "anything.localhost",
    "%6cocalhost",
    "user:secret@127.0.0.1",
    "example.com@127.1",
]


@pytest.mark.parametrize("host", SPELLINGS_OF_LOOPBACK)
@pytest.mark.parametrize("scheme", ["https", "http"])
def test_no_spelling_of_a_refused_address_passes_the_check_of_a_url(host, scheme):
    with pytest.raises(BlockedAddress, match="HOOKREEL_EGRESS_ALLOW") as caught:
        NOBODY.check_url(f"{scheme}://{host}:8080/hook?a=b")
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("host", SPELLINGS_OF_LOOPBACK[:10])
def test_an_allowed_network_is_allowed_in_every_spelling_and_over_plain_http(host):
    allowing("127.0.0.0/8").check_url(f"http://{host}:8080/hook")


def test_localhost_is_allowed_when_one_of_its_addresses_is():
    allowing("::1").check_url("http://localhost/")


def test_plain_http_goes_to_no_public_address_without_an_entry():
    with pytest.raises(BlockedAddress, match="use https"):
        NOBODY.check_url("http://8.8.8.8/")
    with pytest.raises(BlockedAddress, match="use https"):
        allowing("10.0.0.0/8").check_url("http://8.8.8.8/")
    allowing("8.8.8.8").check_url("http://8.8.8.8/")


def test_plain_http_to_a_name_waits_for_the_socket_when_a_network_is_allowed():
    with pytest.raises(BlockedAddress, match="use https"):
        NOBODY.check_url("http://example.com/")
    allowing("10.0.0.0/8").check_url("http://example.com/")


@pytest.mark.parametrize(
    "url",
    [
        "https://example.com",
        "https://example.com:8443/hook?a=b%20c#x",
        "https://user:password@example.com/",
        "https://xn--bcher-kva.example./",
        "https://under_score.example/",
        "https://8.8.8.8/",
        "https://[2606:4700::1111]:444/",
        "HTTPS://EXAMPLE.COM/",
    ],
)
def test_a_good_url_passes(url):
    NOBODY.check_url(url)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "example.com",
        "//example.com/",
        "https:///x",
        "https://:443/",
        "https://example.com:0/",
        "https://example.com:99999/",
        "https://example.com:x/",
        "ftp://example.com/",
        "file:///etc/passwd",
        "gopher://127.0.0.1/",
        "https://exa mple.com/",
        "https://example.com/\r\nX: y",
        "https://example.com/\x00",
        "https://127.0.0.1\\@example.com/",
        "https://[::1",
        "https://bücher.example/",
        "https://\uff11\uff12\uff17.0.0.1/",
        "https://-/",
        "https://a%2fb/",
        "https://a%40b/",
    ],
)
def test_a_malformed_url_is_refused_at_its_pointer(url):
    with pytest.raises(InvalidInput) as caught:
        NOBODY.check_url(url, pointer="/webhook")
    (fault,) = caught.value.faults
    assert fault.pointer == "/webhook"
    assert fault.allowed == "an absolute http or https URL"


@given(st.text() | st.text("https:/@[]%.0123456789abxf\\#?").map("https://".__add__))
def test_a_hostile_url_raises_nothing_unexpected(url):
    with suppress(InvalidInput, BlockedAddress):
        NOBODY.check_url(url)


def sockaddr(ip: str, family: int = socket.AF_INET) -> tuple:
    return (family, socket.SOCK_STREAM, socket.IPPROTO_TCP, (ip, 80))


def test_the_guard_opens_a_socket_for_an_address_that_may_be_called():
    guard = allowing("127.0.0.0/8").guard()
    with guard.open_socket(pycurl.SOCKTYPE_IPCXN, sockaddr("127.0.0.1")) as opened:
        assert opened.family == socket.AF_INET
    assert guard.refusal is None


def test_the_guard_remembers_why_it_refused():
    guard = NOBODY.guard()
    assert guard.open_socket(pycurl.SOCKTYPE_IPCXN, sockaddr("127.0.0.1")) == pycurl.SOCKET_BAD
    assert "127.0.0.1" in guard.refusal


def test_the_guard_keeps_plain_http_from_a_public_address():
    guard = NOBODY.guard(plain=True)
    assert guard.open_socket(pycurl.SOCKTYPE_IPCXN, sockaddr("8.8.8.8")) == pycurl.SOCKET_BAD
    assert "use https" in guard.refusal


def test_the_guard_opens_no_other_family():
    guard = allowing("0.0.0.0/0").guard()
    address = (socket.AF_UNIX, socket.SOCK_STREAM, 0, "/run/some.sock")
    assert guard.open_socket(pycurl.SOCKTYPE_IPCXN, address) == pycurl.SOCKET_BAD


def test_a_refused_address_among_others_is_not_the_reason_when_one_was_called():
    guard = allowing("127.0.0.1").guard()
    assert guard.open_socket(pycurl.SOCKTYPE_IPCXN, sockaddr("10.0.0.1")) == pycurl.SOCKET_BAD
    guard.open_socket(pycurl.SOCKTYPE_IPCXN, sockaddr("127.0.0.1"))
    assert guard.open_socket(pycurl.SOCKTYPE_IPCXN, sockaddr("10.0.0.2")) == pycurl.SOCKET_BAD
    assert guard.refusal is None


def test_a_socket_that_the_system_does_not_give_is_no_refusal():
    guard = allowing("127.0.0.1").guard()
    address = (socket.AF_INET, socket.SOCK_STREAM, 250, ("127.0.0.1", 80))
    assert guard.open_socket(pycurl.SOCKTYPE_IPCXN, address) == pycurl.SOCKET_BAD
    assert guard.refusal is None
