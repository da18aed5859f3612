"""The service over HTTP, as the commands see it: found by the environment, its errors as one line."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final, NoReturn
from urllib.parse import quote

import click
import requests
from marshmallow import ValidationError

from service import environment
from service.settings import DATA_DIR

URL: Final = "http://127.0.0.1:8080"
PATIENCE: Final = (5.0, 120.0)
"""Seconds to connect, and between two bytes of an answer: a submission may wait for its images."""
STREAM_PATIENCE: Final = (5.0, 45.0)
"""A stream is never silent for longer than 15 seconds."""
_KEY: Final = re.compile(r"[!-~]{1,512}")


class Refused(click.ClickException):
    """What the service or the way to it has against the request; ``status`` is None without an answer."""

    def __init__(self, message: str, status: int | None = None, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.retry_after = retry_after


@dataclass(frozen=True)
class Message:
    """One event of a stream; ``type`` is empty for an id that stands alone."""

    id: str
    type: str
    data: str


@dataclass(frozen=True)
class Client:
    """Calls the service at ``base`` with ``key``."""

    base: str
    key: str = field(repr=False)
    session: requests.Session = field(repr=False)

    def call(self, method: str, path: str, **options: Any) -> Any:
        """The answer's JSON; None when it has no body. Raises `Refused`."""
        with self._asked(method, path, timeout=PATIENCE, **options) as answer:
            return _document(answer, self.base) if answer.content else None

    def rows(self, path: str) -> Iterator[dict[str, Any]]:
        """Every row of a list, page by page. Raises `Refused`."""
        cursor: str | None = None
        while True:
            page = self.call("GET", path, params={"limit": 100, **({"cursor": cursor} if cursor else {})})
            yield from page["data"]
            cursor = page["next"]
            if cursor is None:
                return

    @contextmanager
    def stream(self, last: str | None) -> Iterator[Iterator[Message]]:
        """Events as they happen, or those after ``last``. Raises `Refused`, also when it is cut off."""
        headers = {"Last-Event-ID": last} if last else {}
        options: dict[str, Any] = {"headers": headers, "stream": True, "timeout": STREAM_PATIENCE}
        with self._asked("GET", "/v1/stream", **options) as answer:
            yield self._messages(answer)

    @contextmanager
    def _asked(self, method: str, path: str, **options: Any) -> Iterator[requests.Response]:
        headers = {"Authorization": f"Bearer {self.key}", **options.pop("headers", {})}
        url = f"{self.base}{path}"
        try:
            answer = self.session.request(method, url, headers=headers, allow_redirects=False, **options)
        except requests.RequestException as error:
            raise Refused(_unreachable(self.base, error)) from None
        with answer:
            if answer.status_code not in range(200, 300):
                _refuse(answer)
            yield answer

    def _messages(self, answer: requests.Response) -> Iterator[Message]:
        fields: dict[str, str] = {}
        try:
            for line in answer.iter_lines(chunk_size=None):
                if line:
                    name, _, value = line.decode().partition(": ")
                    fields[name] = value
                elif "id" in fields:
                    yield Message(fields["id"], fields.get("event", ""), fields.get("data", ""))
                    fields = {}
        except requests.RequestException:
            raise Refused(f"the connection to {self.base} was lost") from None
        raise Refused(f"{self.base} has ended the stream")


def segment(text: str, safe: str = "") -> str:
    """What the caller typed, as part of a path."""
    return quote(text, safe=safe)


def connect() -> Client:
    """The client that the environment describes. Raises `Refused`."""
    session = requests.Session()
    # No proxy and no .netrc of the caller's: the latter would replace the key.
    session.trust_env = False
    return Client(_base(), _key(), session)


def data_dir() -> Path:
    """Where `up` keeps its files."""
    return environment.directory(os.environ.get("HOOKREEL_DATA_DIR", "").strip() or DATA_DIR)


def _base() -> str:
    try:
        return environment.web_url(os.environ.get("HOOKREEL_URL", "").strip() or URL)
    except ValidationError as error:
        raise Refused(f"HOOKREEL_URL: {error.messages[0]}") from None


def _key() -> str:
    environ, problems = environment.read_secrets(os.environ, ("HOOKREEL_API_KEY",))
    if problems:
        raise Refused(problems[0])
    key = environ.get("HOOKREEL_API_KEY", "").strip() or _kept_key(data_dir() / "api-key")
    # requests repeats a header that it refuses, key and all.
    if not _KEY.fullmatch(key):
        raise Refused("HOOKREEL_API_KEY: this is no API key; allowed: what `hookreel keys create` printed")
    return key


def _kept_key(path: Path) -> str:
    try:
        return path.read_text("utf-8").strip()
    except FileNotFoundError:
        raise Refused(
            f"no API key: {path} is not there; start `hookreel up` here, or set HOOKREEL_API_KEY"
        ) from None
    except (OSError, UnicodeDecodeError):
        raise Refused(f"no API key: {path} cannot be read; set HOOKREEL_API_KEY") from None


def _unreachable(base: str, error: requests.RequestException) -> str:
    if isinstance(error, requests.Timeout):
        return f"{base} does not answer"
    return f"nothing answers at {base}; start the service with `hookreel up`, or set HOOKREEL_URL"


def _document(answer: requests.Response, base: str) -> dict[str, Any]:
    try:
        document = answer.json()
    except ValueError:
        document = None
    if not isinstance(document, dict):
        raise Refused(f"{base} does not answer as Hookreel does; is HOOKREEL_URL right?")
    return document


def _refuse(answer: requests.Response) -> NoReturn:
    """The error in the shape of either API, or of whatever else has answered."""
    try:
        told = answer.json()
        sentence = told.get("detail") or told["message"]
    except (ValueError, KeyError, AttributeError):
        sentence = f"{answer.status_code} {answer.reason}"
    if answer.status_code == HTTPStatus.UNAUTHORIZED:
        sentence += " (it comes from HOOKREEL_API_KEY, or from the data directory's file api-key)"
    wait = answer.headers.get("Retry-After", "")
    raise Refused(
        " ".join(str(sentence).split()), answer.status_code, float(wait) if wait.isdigit() else None
    )
