"""What the documentation names is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
TESTS = "\n".join(path.read_text("utf-8") for path in (ROOT / "tests").rglob("test_*.py"))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_test_that_a_page_names_exists(page: Path):
    text = page.read_text("utf-8")
    files = [name for name in re.findall(r"`(tests/[\w./]+)`", text) if not (ROOT / name).exists()]
    named = [name for name in re.findall(r"`(test_\w+)`", text) if f"def {name}" not in TESTS]
    assert files + named == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_page_that_a_page_links_to_exists(page: Path):
    linked = re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text("utf-8"))
    assert [name for name in linked if not (page.parent / name).exists()] == []
