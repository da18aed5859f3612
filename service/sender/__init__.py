"""POSTs through libcurl's multi interface: requests in, outcomes out. Knows nothing of what is sent.

One thread submits and polls; any thread may wake it. Nothing here follows redirects, takes a proxy or a
password from the environment, keeps cookies or decompresses. Every socket passes the guard of ``addresses``.
An answer is read up to 64 kB, and its first kilobyte is kept.
"""

from __future__ import annotations

import select
import socket
import ssl
import time
from contextlib import suppress
from typing import Any

import certifi
import pycurl

from service.addresses import Policy
from service.sender.transfers import ANSWER_KEPT, Error, Outcome, Request, Transfer, refused

__all__ = ["ANSWER_KEPT", "Error", "Outcome", "Request", "Sender", "trusted_authorities"]

IDLE_CONNECTIONS = 512

# poll's and epoll's bits are the same; epoll's timeout is in seconds, poll's (macOS) in milliseconds.
_WANTED = {
    pycurl.POLL_NONE: 0,
    pycurl.POLL_IN: select.POLLIN,
    pycurl.POLL_OUT: select.POLLOUT,
    pycurl.POLL_INOUT: select.POLLIN | select.POLLOUT,
}


class Sender:
    """Transfers in flight. Not for several threads, but for ``wake``."""

    def __init__(self, policy: Policy, user_agent: str, *, ca_file: str | None = None) -> None:
        """``ca_file`` holds the authorities that receivers' certificates are verified against (PEM)."""
        self._policy = policy
        self._user_agent = user_agent
        self._ca_file = ca_file or trusted_authorities()
        self._transfers: dict[pycurl.Curl, Transfer] = {}
        self._free: list[Transfer] = []
        self._ready: list[Outcome] = []
        self._watched: dict[int, int] = {}
        self._poller = _Poller()
        self._multi = pycurl.CurlMulti()
        self._multi.setopt(pycurl.M_SOCKETFUNCTION, self._on_socket)
        self._multi.setopt(pycurl.M_MAXCONNECTS, IDLE_CONNECTIONS)
        self._woken = False
        self._others: set[int] = set()
        self._wake_in, self._wake_out = socket.socketpair()
        self._wake_in.settimeout(0)
        self._wake_out.settimeout(0)
        self._poller.register(self._wake_out.fileno(), select.POLLIN)

    @property
    def in_flight(self) -> int:
        """How many requests have been submitted whose outcomes were not polled yet."""
        return len(self._transfers) - len(self._free) + len(self._ready)

    def submit(self, request: Request) -> None:
        """Start a POST at the next ``poll``. Never raises for a bad request: that is an outcome too."""
        transfer = self._free.pop() if self._free else self._new_transfer()
        try:
            transfer.prepare(request)
        except (pycurl.error, ValueError, TypeError) as error:
            self._ready.append(refused(request, error))
            self._free.append(transfer)
        else:
            self._multi.add_handle(transfer.curl)

    def poll(self, timeout: float) -> list[Outcome]:
        """Drive the transfers until there are outcomes or a wake-up, for at most ``timeout`` seconds."""
        deadline = time.monotonic() + timeout
        while True:
            self._turn(deadline)
            if self._ready or self._woken or time.monotonic() >= deadline:
                self._woken = False
                outcomes, self._ready = self._ready, []
                return outcomes

    def wake(self) -> None:
        """Make ``poll`` return, now or when it is called next. From any thread, also after ``close``."""
        with suppress(OSError):  # full: it is woken already; closed: nobody waits
            self._wake_in.send(b"\0")

    def watch(self, fd: int) -> None:
        """Make ``poll`` return also while ``fd`` can be read, until ``unwatch``."""
        self._others.add(fd)
        self._poller.register(fd, select.POLLIN)

    def unwatch(self, fd: int) -> None:
        """Watch it no more; before it is closed."""
        self._others.discard(fd)
        self._poller.unregister(fd)

    def close(self) -> None:
        """Drop what is in flight and close every connection."""
        idle = {transfer.curl for transfer in self._free}
        for curl in self._transfers.keys() - idle:
            self._multi.remove_handle(curl)
        self._multi.close()
        for curl in self._transfers:
            curl.close()
        self._transfers.clear()
        self._free.clear()
        self._poller.close()
        self._wake_in.close()
        self._wake_out.close()

    def _new_transfer(self) -> Transfer:
        transfer = Transfer(self._policy, self._user_agent, self._ca_file)
        self._transfers[transfer.curl] = transfer
        return transfer

    def _turn(self, deadline: float) -> None:
        # Asking for the timeout once a turn is cheaper than M_TIMERFUNCTION, which calls twice a transfer.
        due = self._multi.timeout()
        if due == 0:
            self._multi.socket_action(pycurl.SOCKET_TIMEOUT, 0)
            self._collect()
            due = self._multi.timeout()
        wait = 0.0 if self._ready else max(0.0, deadline - time.monotonic())
        for fd, events in self._poller.poll(min(wait, due / 1000) if due >= 0 else wait):
            self._dispatch(fd, events)
        self._collect()

    def _dispatch(self, fd: int, events: int) -> None:
        if fd in self._watched:
            readable = pycurl.CSELECT_IN if events & ~select.POLLOUT else 0
            writable = pycurl.CSELECT_OUT if events & select.POLLOUT else 0
            self._multi.socket_action(fd, readable | writable)
        elif fd in self._others:
            self._woken = True
        elif fd == self._wake_out.fileno():
            self._woken = True
            with suppress(BlockingIOError):
                self._wake_out.recv(4096)

    def _on_socket(self, what: int, fd: int, _multi: Any, _assigned: Any) -> None:
        wanted = _WANTED.get(what, 0)
        watched = self._watched.get(fd)
        if wanted:
            self._watched[fd] = wanted
            if watched is None:
                self._poller.register(fd, wanted)
            elif watched != wanted:
                self._poller.modify(fd, wanted)
        elif watched is not None:
            del self._watched[fd]
            self._poller.unregister(fd)

    def _collect(self) -> None:
        more = 1
        while more:
            more, done, failed = self._multi.info_read(1000)
            for curl in done:
                self._finish(curl, pycurl.E_OK, "")
            for curl, code, message in failed:
                self._finish(curl, code, message)

    def _finish(self, curl: pycurl.Curl, code: int, message: str) -> None:
        transfer = self._transfers[curl]
        self._ready.append(transfer.outcome(code, message))
        self._multi.remove_handle(curl)
        self._free.append(transfer)


class _Poller:
    """epoll, or poll where there is none (macOS)."""

    def __init__(self) -> None:
        self._epoll = select.epoll() if hasattr(select, "epoll") else None
        poller = self._epoll or select.poll()
        self.register, self.modify, self.unregister = poller.register, poller.modify, poller.unregister
        self._poll = poller.poll

    def poll(self, seconds: float) -> list[tuple[int, int]]:
        """File descriptors with poll's bits."""
        return self._poll(seconds if self._epoll else seconds * 1000)

    def close(self) -> None:
        """Give the descriptor back."""
        if self._epoll:
            self._epoll.close()


def trusted_authorities() -> str:
    """The system's (or ``SSL_CERT_FILE``'s) authorities, else certifi's.

    libcurl's own default cannot be used: pycurl's wheels name a file of Red Hat's there.
    """
    return ssl.get_default_verify_paths().cafile or certifi.where()
