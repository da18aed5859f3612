"""The plain loop that archiving is compared with: ``python -m benchmarks.fetching DIRECTORY URL...``.

One download after another with `requests`, streamed into a file each. Prints the seconds as JSON.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from time import perf_counter

import requests

BLOCK = 1 << 16


def main(directory: Path, urls: list[str]) -> None:
    """Download all of them."""
    with requests.Session() as session:
        session.trust_env = False
        begun = perf_counter()
        for number, url in enumerate(urls):
            with (
                session.get(url, stream=True, timeout=60) as answer,
                (directory / str(number)).open("wb") as file,
            ):
                answer.raise_for_status()
                for block in answer.iter_content(BLOCK):
                    file.write(block)
        print(json.dumps({"seconds": perf_counter() - begun}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
