"""Receivers that end with the test, and senders that may call the networks a test allows."""

from __future__ import annotations

import ssl
from contextlib import ExitStack
from ipaddress import ip_network

import pytest

from service.addresses import Policy
from service.sender import Outcome, Request, Sender
from tests.sender.receivers import Behaviour, Receiver, answering


@pytest.fixture
def receive():
    """Start a receiver with a behaviour; it ends with the test."""
    with ExitStack() as stack:

        def start(behaviour: Behaviour = answering(), tls: ssl.SSLContext | None = None) -> Receiver:  # noqa: B008
            receiver = Receiver(behaviour, tls)
            stack.callback(receiver.close)
            return receiver

        yield start


@pytest.fixture
def make_sender():
    with ExitStack() as stack:

        def make(*allow: str, ca_file: str | None = None) -> Sender:
            policy = Policy(tuple(ip_network(network) for network in allow))
            sender = Sender(policy, "Hookreel/test", ca_file=ca_file)
            stack.callback(sender.close)
            return sender

        yield make


@pytest.fixture
def sender(make_sender):
    return make_sender("127.0.0.0/8")


@pytest.fixture
def post():
    """Send one POST and give its outcome."""

    def post(
        sender: Sender,
        url: str,
        *,
        headers: tuple[tuple[str, str], ...] = (("content-type", "application/json"),),
        body: bytes = b"{}",
        timeout: float = 20.0,
        resolve: tuple[str, ...] = (),
    ) -> Outcome:
        sender.submit(Request("key", url, headers, body, timeout, resolve))
        (outcome,) = sender.poll(60)
        assert sender.in_flight == 0
        return outcome

    return post
