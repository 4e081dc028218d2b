"""The pages of the wing are run: each block is a file, named by its first line."""

import re
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[2] / "docs"
BLOCK = re.compile(r"^```python\n# (\S+\.py)\n(.*?)^```$", re.MULTILINE | re.DOTALL)

INI = """
[pytest]
addopts = -p no:cacheprovider
filterwarnings = error
asyncio_default_fixture_loop_scope = function
"""


def blocks(page: str) -> dict[str, str]:
    found = BLOCK.findall((DOCS / page).read_text("utf-8"))
    assert len({name for name, _ in found}) == len(found), "two blocks of the same name"
    return dict(found)


@pytest.mark.parametrize(
    ("page", "tests", "arguments"),
    [
        ("supabase.md", 9, ["-p", "no:truasync"]),
        # The whole wing is silent under the detector.
        ("supabase.md", 9, ["--truasync"]),
        ("migrating.md", 8, ["-p", "no:truasync"]),
    ],
)
def test_the_page_runs(
    pytester: pytest.Pytester, page: str, tests: int, arguments: list[str]
) -> None:
    pytester.makeini(INI)
    for name, text in blocks(page).items():
        path = pytester.path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, "utf-8")
    pytester.runpytest_subprocess(*arguments, timeout=240).assert_outcomes(passed=tests)


@pytest.mark.parametrize("page", ["supabase.md", "migrating.md"])
def test_every_block_has_a_name(page: str) -> None:
    text = (DOCS / page).read_text("utf-8")
    assert text.count("```python\n") == len(blocks(page))


def test_the_first_test_has_ten_lines() -> None:
    lines = blocks("supabase.md")["test_contests.py"].splitlines()
    assert len([line for line in lines if line.strip()]) <= 10
