"""A stand-in for the vendor: its API, real films without AI, signed webhooks, and a switch for every fault.

A process of its own. It knows the rest of the service only by ``signing``, ``addresses`` and ``errors``.
"""

from __future__ import annotations


def serve(host: str = "127.0.0.1", port: int = 8090, allow: tuple[str, ...] = ()) -> None:
    """Serve until SIGTERM or SIGINT, then exit with status 0; see ``service.sandbox.server.serve``."""
    # Here and not above: every render is a process that imports this package, and has no use for a server.
    from service.sandbox.server import serve as serve_here  # noqa: PLC0415

    serve_here(host, port, allow)
