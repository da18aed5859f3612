"""``python -m service.cli.firstkey PATH``: a key for ``default``, unless PATH holds a good one."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from service.apikeys import ApiKeys
from service.bootstrap import build
from service.cli.up import keep
from service.errors import HookreelError, Unauthorized
from service.settings import Settings


def make(path: Path) -> None:
    """Make the key if need be. Raises ``SettingsError`` and ``Unavailable``."""
    keys = build(Settings.from_env(os.environ), "up").apikeys
    if not (path.exists() and _is_good(keys, path.read_text(encoding="utf-8").strip())):
        _, text = keys.create("default", name="up", operator=True)
        keep(path, text)


def _is_good(keys: ApiKeys, text: str) -> bool:
    try:
        keys.check(text)
    except Unauthorized:
        return False
    return True


def main(path: str) -> int:
    """Make the key; what is in the way is told on stderr."""
    try:
        make(Path(path))
    except (HookreelError, OSError) as error:
        print(f"Error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
