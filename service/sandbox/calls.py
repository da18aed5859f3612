"""The sandbox's own HTTP calls, for pictures and webhooks: no redirects, no proxy, every address judged."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import certifi
import pycurl

from schemas.images import MAX_BYTES
from service.addresses import Policy

FETCH_SECONDS = 10
_OK = 200


class Unfetched(Exception):
    """A picture that could not be fetched; the text says why."""


@dataclass(frozen=True)
class Answer:
    """What came of a call: an HTTP status, or an error and no status."""

    status: int | None
    error: str | None = None
    body: bytes = field(default=b"", repr=False)

    @property
    def delivered(self) -> bool:
        """Whether a webhook counts as received."""
        return self.status is not None and self.status // 100 == 2  # noqa: PLR2004


def fetch(url: str, policy: Policy) -> bytes:
    """The picture at the URL: as large as a picture may be in at most 10 s. Raises Unfetched."""
    answer = _perform(pycurl.Curl(), url, policy, FETCH_SECONDS, MAX_BYTES)
    if answer.error is not None:
        raise Unfetched(answer.error)
    if answer.status != _OK:
        raise Unfetched(f"it was answered with status {answer.status}")
    return answer.body


def post(url: str, headers: Mapping[str, str], body: bytes, seconds: float, policy: Policy) -> Answer:
    """Send a webhook; the answer's body is not kept."""
    curl = pycurl.Curl()
    curl.setopt(pycurl.POSTFIELDS, body)
    # Without "Expect:" libcurl waits a second before a large body when the receiver does not say 100.
    lines = [f"{name}: {value}" for name, value in headers.items()]
    curl.setopt(pycurl.HTTPHEADER, [*lines, "Expect:", "User-Agent: hookreel-sandbox"])
    return _perform(curl, url, policy, seconds, None)


def _perform(curl: pycurl.Curl, url: str, policy: Policy, seconds: float, keep: int | None) -> Answer:
    body = bytearray()

    def write(data: bytes) -> int | None:
        if keep is None:
            return None
        body.extend(data)
        # Any number but the data's length makes libcurl give up.
        return None if len(body) <= keep else -1

    guard = policy.guard()
    _set_up(curl, url, seconds)
    curl.setopt(pycurl.OPENSOCKETFUNCTION, guard.open_socket)
    curl.setopt(pycurl.WRITEFUNCTION, write)
    try:
        curl.perform()
        return Answer(curl.getinfo(pycurl.RESPONSE_CODE), body=bytes(body))
    except pycurl.error as error:
        too_large = keep is not None and len(body) > keep
        told = f"it is larger than {keep} bytes" if too_large else guard.refusal or str(error.args[-1])
        return Answer(None, told)
    finally:
        curl.close()


def _set_up(curl: pycurl.Curl, url: str, seconds: float) -> None:
    # As bytes: pycurl refuses a text beyond ASCII, which a picture's URL may be.
    curl.setopt(pycurl.URL, url.encode())
    curl.setopt(pycurl.NOSIGNAL, 1)
    curl.setopt(pycurl.PROTOCOLS, pycurl.PROTO_HTTP | pycurl.PROTO_HTTPS)
    curl.setopt(pycurl.FOLLOWLOCATION, 0)
    curl.setopt(pycurl.PROXY, "")
    curl.setopt(pycurl.NOPROXY, "*")
    curl.setopt(pycurl.CAINFO, certifi.where())
    curl.setopt(pycurl.TIMEOUT_MS, int(seconds * 1000))
