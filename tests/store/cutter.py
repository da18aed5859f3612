"""A proxy in front of the store that can lose an answer: the command is applied, nobody is told."""

from __future__ import annotations

import contextlib
import select
import socket
import threading


class Cutter:
    """Listens on ``url``; passes everything on to the store's Unix socket."""

    def __init__(self, store_path: str) -> None:
        self._store_path = store_path
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"redis://127.0.0.1:{self._listener.getsockname()[1]}/0"
        self._lose = 0
        self._marker = b""
        self._then_close = False
        self.lost = 0
        self._hold = self._until = b""
        self._held = b""
        self._silent_about = b""
        self.applied_late = threading.Event()
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def lose_answers(self, count: int, marker: bytes, *, then_close: bool = False) -> None:
        """Cut the connection instead of passing on the answers to the next commands that contain ``marker``.

        ``then_close``: after the last of them the store is away for good.
        """
        self._lose, self._marker, self._then_close = count, marker, then_close

    def hold_back(self, marker: bytes, until: bytes) -> None:
        """Cut the connection that sends ``marker``; what it sent is applied after the next ``until``."""
        self._hold, self._until = marker, until

    def be_silent(self, marker: bytes) -> None:
        """Keep the connection that sends ``marker`` next and pass nothing on: a network that is gone."""
        self._silent_about = marker

    def close(self) -> None:
        """Take no more connections: the store is away from now on."""
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            thread = threading.Thread(target=self._serve, args=(client,), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _serve(self, client: socket.socket) -> None:
        with client, socket.socket(socket.AF_UNIX) as store, contextlib.suppress(OSError):
            store.connect(self._store_path)
            question, answered = b"", True
            while True:
                ready, _, _ = select.select([client, store], [], [])
                if client in ready:
                    part = client.recv(1 << 20)
                    if not part or self._keeps(client, part):
                        return
                    # A long question comes in parts, and so may its answer.
                    question, answered = (part if answered else question + part), False
                    store.sendall(part)
                if store in ready:
                    answer, answered = store.recv(1 << 20), True
                    if not answer:
                        return
                    self._apply_held(store, question)
                    if self._marker and self._marker in question and self._lose > 0:
                        self._lose -= 1
                        self.lost += 1
                        if self._lose == 0 and self._then_close:
                            self.close()
                        return
                    client.sendall(answer)

    def _keeps(self, client: socket.socket, question: bytes) -> bool:
        if self._silent_about and self._silent_about in question:
            self._silent_about = b""
            client.recv(1)
            return True
        if self._hold and self._hold in question:
            self._hold, self._held = b"", question
            return True
        return False

    def _apply_held(self, store: socket.socket, question: bytes) -> None:
        if self._held and self._until in question:
            held, self._held = self._held, b""
            store.sendall(held)
            store.recv(1 << 20)
            self.applied_late.set()
