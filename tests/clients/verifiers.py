"""Whatever a receiver may verify a webhook with; each raises `Refused`, or returns what it has read."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import standardwebhooks
import svix.webhooks

NODE = Path(__file__).with_name("node")
TOLERANCE = 300


@dataclass(frozen=True)
class Message:
    """What a receiver got, and the secret that it knows."""

    secret: str
    headers: Mapping[str, str]
    body: bytes

    def v1(self, timestamp: str) -> str:
        at = datetime.fromtimestamp(int(timestamp), UTC)
        return standardwebhooks.Webhook(self.secret).sign(self.headers["webhook-id"], at, self.body.decode())

    def v3(self, timestamp: str) -> str:
        key = self.secret.removeprefix("whsec_").encode()
        signed = b"%s.%s.%s" % (self.headers["webhook-id"].encode(), timestamp.encode(), self.body)
        return f"v3,{hmac.new(key, signed, hashlib.sha256).hexdigest()}"


class Refused(Exception):
    """It is not the sender's, or too old."""


def with_standardwebhooks(message: Message) -> Any:
    try:
        return standardwebhooks.Webhook(message.secret).verify(message.body, dict(message.headers))
    except standardwebhooks.WebhookVerificationError as error:
        raise Refused from error


def with_svix(message: Message) -> Any:
    try:
        svix.webhooks.Webhook(message.secret).verify(message.body, dict(message.headers))
    except svix.webhooks.WebhookVerificationError as error:
        raise Refused from error
    return json.loads(message.body)


def as_documented(message: Message) -> Any:
    """The vendor's page on webhooks: v3, hex, the secret's text after ``whsec_`` as the key, 300 s."""
    timestamp = message.headers["webhook-timestamp"]
    if abs(time.time() - int(timestamp)) > TOLERANCE:
        raise Refused
    if not hmac.compare_digest(message.v3(timestamp), message.headers["webhook-signature"]):
        raise Refused
    return json.loads(message.body)


class Node:
    """The libraries of Node, in one process: a message a line."""

    def __init__(self, program: str) -> None:
        command = [program, "verify.mjs"]
        self.process = subprocess.Popen(
            command, cwd=NODE, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def verify(self, library: str, message: Message) -> Any:
        body = base64.b64encode(message.body).decode()
        given = {"secret": message.secret, "headers": message.headers, "body": body}
        print(json.dumps({"library": library, **given}), file=self.process.stdin, flush=True)
        answer = json.loads(self.process.stdout.readline())
        if "refused" in answer:
            raise Refused(answer["refused"])
        return answer["event"]

    def close(self) -> None:
        self.process.communicate(timeout=10)
        assert self.process.returncode == 0
