"""``python -m service.sandbox [--host 127.0.0.1] [--port 8090] [--allow NETWORK]...``."""

from __future__ import annotations

import argparse

from service.sandbox import serve


def main() -> None:
    """Read the command line and serve."""
    parser = argparse.ArgumentParser(prog="python -m service.sandbox", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8090, help="0 takes a free one")
    parser.add_argument(
        "--allow",
        action="append",
        default=[],
        help="a network to fetch pictures from, besides the public ones",
    )
    options = parser.parse_args()
    serve(options.host, options.port, tuple(options.allow))


if __name__ == "__main__":
    main()
