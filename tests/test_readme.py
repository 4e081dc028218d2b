"""README is run: its story, its examples, its table of options."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text("utf-8")


def blocks(language: str) -> list[str]:
    """Return the code of README in one language."""
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def words(text: str) -> list[str]:
    """Return the words of an output, with measured times and counts made alike."""
    timed = re.sub(r"\d+(\.\d+)? (ms|s|us)\b", "<time>", text)
    return re.sub(r"\b\d+ queued", "<n> queued", timed).split()


def test_the_story_is_told_as_readme_shows_it() -> None:
    pytest.importorskip("uvloop", reason="the story runs on uvloop as well")
    shown = re.search(
        r"<!-- story -->\n```text\n(.*?)```\n<!-- end of story -->", README, re.DOTALL
    )
    assert shown is not None
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-p", "no:randomly"]
    done = subprocess.run(
        [*command, "--truasync", "examples/contest_agent"],
        cwd=ROOT,
        env={**os.environ, "COLUMNS": "80", "PYTEST_ADDOPTS": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1, done.stdout + done.stderr
    said = words(done.stdout)
    expected = words(shown.group(1))
    places = [n for n in range(len(said)) if said[n : n + len(expected)] == expected]
    assert places, done.stdout[-6000:]
    failed = re.findall(r"^FAILED (\S+)", done.stdout, re.MULTILINE)
    assert failed
    assert all("test_fake_client.py" in test for test in failed)


def test_the_examples_of_permissions_run(pytester: pytest.Pytester) -> None:
    code = next(block for block in blocks("python") if "allow_blocking" in block)
    ini = blocks("ini")[0]
    pytester.makeini(ini + "asyncio_mode = auto\nasyncio_default_fixture_loop_scope = function\n")
    pytester.makepyfile(
        test_readme_examples=code
        + "\n\n@pytest.fixture\ndef client(): ...\n"
        + "\n\nasync def test_load(): assert await load_settings() == 'a = 1'\n"
    )
    pytester.path.joinpath("settings.toml").write_text("a = 1")
    result = pytester.runpytest_subprocess("-p", "no:cacheprovider", "-p", "no:randomly")
    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines(["*truasync: no violations*"])
    assert "TRU902" not in result.stdout.str()


def test_the_example_of_supabase_runs(pytester: pytest.Pytester) -> None:
    code = next(block for block in blocks("python") if "supabase_mock" in block)
    pytester.makeini("[pytest]\nasyncio_default_fixture_loop_scope = function\n")
    pytester.makepyfile(test_contests=code)
    pytester.runpytest_subprocess("-p", "no:cacheprovider", "--truasync").assert_outcomes(passed=1)


def test_the_table_names_every_option(pytestconfig: pytest.Config) -> None:
    parser = pytestconfig._parser
    options = {
        name
        for action in parser.optparser._actions
        for name in action.option_strings
        if "truasync" in name
    }
    assert options
    table = "\n".join(line for line in README.splitlines() if line.startswith("| `--"))
    missing = {name for name in options if f"`{name}" not in table}
    assert not missing


def test_its_links_lead_somewhere() -> None:
    links = re.findall(r"\]\((?!https?:)([^)#]+)", README)
    assert links
    missing = [link for link in links if not (ROOT / link).exists()]
    assert not missing
