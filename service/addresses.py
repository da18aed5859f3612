"""May we call this? The one guard against server-side request forgery.

The decision falls where the socket is opened, on the address that was really resolved, so no spelling, DNS
answer or redirect passes it. ``check_url`` only tells a caller early what can be known without DNS.

Only addresses of the public internet are called. Others need a network in ``HOOKREEL_EGRESS_ALLOW``;
link-local and metadata addresses need their own exact entry there (/32 or /128), so that a wide network never
opens them. The table follows the IANA special-purpose registries; ``ipaddress.is_global`` is asked besides,
but not alone: on Python 3.11 it lets multicast, NAT64, 6to4, 168.63.129.16 and unassigned IPv6 pass.
"""

from __future__ import annotations

import re
import socket
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import TYPE_CHECKING, Any
from urllib.parse import SplitResult, unquote, urlsplit

import pycurl

from schemas.faults import Fault
from service.errors import BlockedAddress, InvalidInput

if TYPE_CHECKING:
    from collections.abc import Iterable

SETTING = "HOOKREEL_EGRESS_ALLOW"

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

EXACT_ONLY: tuple[tuple[Network, str], ...] = tuple(
    (ip_network(network), reason)
    for network, reason in (
        ("169.254.169.254/32", "a cloud's metadata service"),
        ("100.100.100.200/32", "Alibaba Cloud's metadata service"),
        ("168.63.129.16/32", "Azure's host agent"),
        ("192.0.0.192/32", "Oracle Cloud's metadata service"),
        ("fd00:ec2::254/128", "AWS's metadata service"),
        ("fd20:ce::254/128", "Google Cloud's metadata service"),
        ("169.254.0.0/16", "link-local"),
        ("fe80::/10", "link-local"),
    )
)
"""Opened by their own exact entry alone; the first that fits gives the reason."""

REFUSED: tuple[tuple[Network, str], ...] = tuple(
    (ip_network(network), reason)
    for network, reason in (
        ("0.0.0.0/8", "this host"),
        ("10.0.0.0/8", "a private network"),
        ("100.64.0.0/10", "a provider's shared address space"),
        ("127.0.0.0/8", "loopback"),
        ("172.16.0.0/12", "a private network"),
        ("192.0.0.0/24", "reserved for protocol assignments"),
        ("192.0.2.0/24", "reserved for documentation"),
        ("192.88.99.0/24", "a 6to4 relay, which translates to another address"),
        ("192.168.0.0/16", "a private network"),
        ("198.18.0.0/15", "reserved for benchmarks"),
        ("198.51.100.0/24", "reserved for documentation"),
        ("203.0.113.0/24", "reserved for documentation"),
        ("224.0.0.0/4", "multicast"),
        ("255.255.255.255/32", "broadcast"),
        ("240.0.0.0/4", "reserved"),
        ("::/128", "this host"),
        ("::1/128", "loopback"),
        ("::/96", "IPv4-compatible, which translates to another address"),
        ("::ffff:0:0:0/96", "IPv4-translated, which translates to another address"),
        ("64:ff9b::/96", "NAT64, which translates to another address"),
        ("64:ff9b:1::/48", "NAT64, which translates to another address"),
        ("100::/64", "the discard prefix"),
        ("2001::/32", "Teredo, which translates to another address"),
        ("2001::/23", "reserved for protocol assignments"),
        ("2001:db8::/32", "reserved for documentation"),
        ("2002::/16", "6to4, which translates to another address"),
        ("3fff::/20", "reserved for documentation"),
        ("5f00::/16", "segment routing inside a network"),
        ("fc00::/7", "a private network"),
        ("fec0::/10", "site-local"),
        ("ff00::/8", "multicast"),
        # Only 2000::/3 has been given out as global unicast (IANA, IPv6 address space).
        ("::/3", "not assigned"),
        ("4000::/2", "not assigned"),
        ("8000::/1", "not assigned"),
    )
)
"""Opened by any allowed network that holds the address; the first that fits gives the reason."""

_NAT64 = IPv6Network("64:ff9b::/96")
_6TO4 = IPv6Network("2002::/16")
_VISIBLE_ASCII = re.compile(r"[!-~]+")
_NAME = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_.-]*[A-Za-z0-9_])?\.?")


@dataclass(frozen=True)
class Policy:
    """Which addresses may be called: the public internet, and the networks in ``allow``."""

    allow: tuple[Network, ...] = ()

    def verdict(self, ip: Address | str) -> str | None:
        """None when the address may be called, else a sentence that names it, why not, and the setting."""
        address = _unwrapped(ip_address(ip))
        return _refusal(address, self._reason(address))

    def plain_verdict(self, ip: Address | str) -> str | None:
        """The same for plain http, which goes only to addresses in ``allow``."""
        address = _unwrapped(ip_address(ip))
        reason = self._reason(address)
        if reason is None and not _within(address, self.allow):
            reason = "public, and plain http goes only to allowed networks; use https"
        return _refusal(address, reason)

    def check_url(self, url: str, pointer: str = "/url") -> None:
        """Refuse what no DNS answer can mend: InvalidInput for the form, BlockedAddress for the address."""
        parts = _split(url, pointer)
        plain = parts.scheme == "http"
        judge = self.plain_verdict if plain else self.verdict
        addresses = _literal(_host(parts, pointer))
        verdicts = [judge(address) for address in addresses]
        if verdicts and None not in verdicts:
            raise BlockedAddress(verdicts[0] or "")
        if plain and not self.allow:
            raise BlockedAddress(f"plain http goes only to networks allowed by {SETTING}; use https")

    def guard(self, *, plain: bool = False) -> Guard:
        """A new guard for one easy handle; ``plain``: plain http may go only to addresses in ``allow``."""
        return Guard(self, plain=plain)

    def _reason(self, address: Address) -> str | None:
        exact = _first(address, EXACT_ONLY)
        if exact is not None:
            return None if _has_own_entry(address, self.allow) else f"{exact} and needs its own exact entry"
        if _within(address, self.allow):
            return self._reason_behind(address)
        refused = _first(address, REFUSED)
        return refused or (None if address.is_global else "not global")

    def _reason_behind(self, gateway: Address) -> str | None:
        inner = _translated(gateway)
        reason = self._reason(inner) if inner else None
        return reason and f"a way to {inner}, {reason}"


class Guard:
    """libcurl's OPENSOCKETFUNCTION for one easy handle; ``refusal`` says why it opened nothing.

    Reset it before each transfer after the first. A connection that is reused was judged when it was opened.
    """

    __slots__ = ("_judge", "_opened", "_policy", "refusal")

    def __init__(self, policy: Policy, *, plain: bool) -> None:
        self._policy = policy
        self.reset(plain=plain)

    def reset(self, *, plain: bool) -> None:
        """Forget the transfer before; ``plain`` as for ``Policy.guard``."""
        self._judge = self._policy.plain_verdict if plain else self._policy.verdict
        self._opened = False
        self.refusal: str | None = None

    def open_socket(self, _purpose: int, address: Any) -> socket.socket | int:
        """A socket for ``address``, pycurl's (family, type, protocol, sockaddr), or SOCKET_BAD."""
        family, kind, protocol, sockaddr = address
        inet = family in {socket.AF_INET, socket.AF_INET6}
        refusal = self._judge(sockaddr[0]) if inet else "only IPv4 and IPv6 are called"
        if refusal:
            # A name may have several addresses; what counts is what became of those that were called.
            self.refusal = None if self._opened else refusal
            return pycurl.SOCKET_BAD
        self._opened, self.refusal = True, None
        try:
            return _Lent(family, kind, protocol)
        except OSError:  # no IPv6 here, or no descriptor left: libcurl tries the next address
            return pycurl.SOCKET_BAD


class _Lent(socket.socket):
    """Closes itself when dropped: pycurl has duplicated its descriptor by then."""

    def __del__(self) -> None:
        if self.fileno() >= 0:
            self.close()


def _refusal(address: Address, reason: str | None) -> str | None:
    if reason is None:
        return None
    return f"{address} is not called: it is {reason}; {SETTING} lists what may be called all the same"


def _unwrapped(address: Address) -> Address:
    """An IPv4-mapped address reaches IPv4 hosts, so it is judged as IPv4."""
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address


def _translated(address: Address) -> IPv4Address | None:
    """The IPv4 address that a gateway would call in our place: allowing the gateway does not allow that."""
    if isinstance(address, IPv4Address):
        return None
    if address in _NAT64:
        return IPv4Address(int(address) & 0xFFFFFFFF)
    return address.sixtofour if address in _6TO4 else None


def _first(address: Address, table: Iterable[tuple[Network, str]]) -> str | None:
    return next((reason for network, reason in table if address in network), None)


def _within(address: Address, networks: Iterable[Network]) -> bool:
    return any(address in network for network in networks)


def _has_own_entry(address: Address, networks: Iterable[Network]) -> bool:
    return _within(address, (network for network in networks if network.num_addresses == 1))


def _split(url: str, pointer: str) -> SplitResult:
    if not _VISIBLE_ASCII.fullmatch(url) or "\\" in url:
        raise _malformed(pointer, "has characters that a URL writes percent-encoded")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise _malformed(pointer, "is not a URL") from None
    if parts.scheme not in {"http", "https"} or not parts.hostname or port == 0:
        raise _malformed(pointer, "is not an absolute http or https URL")
    return parts


def _host(parts: SplitResult, pointer: str) -> str:
    """The host in lower case, unquoted as libcurl unquotes it, without a zone and the root's dot."""
    host = unquote(parts.hostname or "")
    if ":" in host:
        return host.partition("%")[0]
    if not _NAME.fullmatch(host):
        raise _malformed(pointer, "has a host that is neither a name nor an address")
    return host.rstrip(".")


def _literal(host: str) -> tuple[Address, ...]:
    """The addresses that a host spells without DNS, in any spelling inet_aton and libcurl take; else ()."""
    if host == "localhost" or host.endswith(".localhost"):
        return IPv4Address("127.0.0.1"), IPv6Address("::1")
    try:
        return (ip_address(host) if ":" in host else IPv4Address(socket.inet_aton(host)),)
    except (OSError, ValueError):
        return ()


def _malformed(pointer: str, detail: str) -> InvalidInput:
    return InvalidInput(Fault(pointer, "invalid_url", detail, "an absolute http or https URL"))
