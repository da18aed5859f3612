"""What a test needs and not every machine has: without it the test is skipped, but fails where CI=true."""

from __future__ import annotations

import os
import shutil
from typing import NoReturn

import pytest


def program(name: str) -> str:
    """The program's path."""
    return shutil.which(name) or lacking(name)


def lacking(what: str) -> NoReturn:
    """End the test that cannot do without."""
    if os.environ.get("CI") == "true":
        pytest.fail(f"{what} is not installed")
    pytest.skip(f"{what} is not installed")
