"""Fixtures of all tests; it also makes the helpers beside it importable from the folders below."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

GOLDEN = Path(__file__).parent / "report" / "golden"


@pytest.fixture
def golden() -> Callable[[str, str], None]:
    """Compare a text with a file; `TRUASYNC_GOLDEN=write pytest tests/report` writes it anew."""

    def compare(name: str, text: str) -> None:
        file = GOLDEN / name
        if os.environ.get("TRUASYNC_GOLDEN") == "write":
            file.write_text(text, encoding="utf-8")
        assert text == file.read_text(encoding="utf-8")

    return compare
