"""One HTTP request: whose it is, what it carries, and its line in the book."""

from __future__ import annotations

from typing import Any

from flask import g, request
from marshmallow import ValidationError

from schemas import documents
from schemas.faults import flatten
from service.errors import InvalidInput
from service.sandbox.accounts import Account, Accounts
from service.sandbox.answers import Refusal
from service.sandbox.book import Book

LARGEST_BODY = 64 * 1024 * 1024
"""Room for two pictures of 20 MB as data URIs."""


def key() -> str:
    """The API key of this request; "" without one."""
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


def admitted(accounts: Accounts, book: Book, kind: str, **about: Any) -> Account:
    """The account behind the request, noted as ``kind`` in the book; raises Refusal 401 or 403."""
    account = accounts.of(key())
    g.shape = account.switches().error_shape
    auth = account.switches().auth
    refused = 401 if not key() else int(auth) if auth.isdigit() else None
    begun(book, "unauthorized" if refused else kind, account, **about)
    if refused:
        raise Refusal(refused)
    return account


def begun(book: Book, kind: str, account: Account, **about: Any) -> None:
    """Note a request that needs no key."""
    g.book, g.entry = book, book.open(kind, account.name, **about)


def note(**about: Any) -> None:
    """Add to this request's line in the book."""
    g.entry.update(about)


def json_object() -> dict[str, Any]:
    """The body; raises Refusal 400 unless it is a JSON object."""
    try:
        body = documents.read(request.get_data(cache=False), limit=LARGEST_BODY)
    except ValidationError as error:
        raise Refusal(400, f"the body {error.messages[0]}") from None
    if not isinstance(body, dict):
        raise Refusal(400, "the body is not a JSON object")
    return body


def sentence(messages: Any) -> str:
    """What marshmallow says, as one line: ``duration: 7 is not one of 6, 10``."""
    return str(InvalidInput(*flatten(messages)))
