from __future__ import annotations

from rules_page import PAGE, page


def test_the_page_says_what_the_catalogue_says() -> None:
    """When it fails: `python tests/rules/rules_page.py`."""
    assert PAGE.read_text(encoding="utf-8") == page()
