"""Sample projects, run under the plugin in one process each; their comments say what is expected.

`# expect: CODE TARGET [xCOUNT] [via WAY]` speaks of errors and warnings on its line, `# note:`
of notes; several are parted by `;`. A count that is not given is 1. Nothing else may be reported.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, TypeAlias

import pytest
from lean import lean

SAMPLES: Final = Path(__file__).parent / "samples"
Seen: TypeAlias = tuple[str, int, str, str, str, int]
"""File, line, code, target, way, count."""

_COMMENT: Final = re.compile(r"#\s*(expect|note):\s*(.+)$")
_ITEM: Final = re.compile(
    r"(?P<code>TRU\d+) (?P<target>\S+)(?: via (?P<via>\S+))?(?: x(?P<n>\d+))?$"
)


def expected(folder: Path, kind: str) -> set[Seen]:
    """Return what the comments of the files of a sample ask for."""
    return set(_expected(folder, kind))


def _expected(folder: Path, kind: str) -> Iterator[Seen]:
    for path in folder.glob("*.py"):
        for number, line in enumerate(path.read_text("utf-8").splitlines(), 1):
            found = _COMMENT.search(line)
            if not found or found[1] != kind:
                continue
            for item in found[2].split(";"):
                read = _ITEM.fullmatch(item.strip())
                assert read, f"{path.name}:{number}: {item!r}"
                count = int(read["n"] or 1)
                yield path.name, number, read["code"], read["target"], read["via"] or "", count


def run(pytester: pytest.Pytester, sample: str, *options: str) -> Any:
    """Run a sample and return its report; all its tests must pass."""
    shutil.copytree(SAMPLES / sample, pytester.path, dirs_exist_ok=True)
    result = pytester.runpytest_subprocess(
        *lean(*(("anyio",) if sample == "loops" else ())),
        *("--truasync", "--truasync-mode=warn", "--truasync-report=json:report.json"),
        *options,
        timeout=120,
    )
    assert result.ret == 0, result.stdout.str()
    return json.loads((pytester.path / "report.json").read_text("utf-8"))


def reported(report: Any, *parts: str) -> set[Seen]:
    """Return what a report lists in *parts*."""
    return {
        (
            Path(one["path"]).name,
            one["line"],
            one["code"],
            one["target"],
            one["via"],
            one["count"],
        )
        for part in parts
        for one in report[part]
    }


def check(pytester: pytest.Pytester, sample: str, *options: str) -> Any:
    """Run a sample and compare it with its comments."""
    report = run(pytester, sample, *options)
    folder = SAMPLES / sample
    errors = reported(report, "violations", "warnings")
    notes = reported(report, "notes")
    wanted, noted = expected(folder, "expect"), expected(folder, "note")
    wrong = {
        "reported, but not expected": errors - wanted,
        "expected, but not reported": wanted - errors,
        "noted, but not expected": notes - noted,
        "expected, but not noted": noted - notes,
    }
    text = "".join(f"\n{title}:\n{_lines(seen)}" for title, seen in wrong.items() if seen)
    if text:
        pytest.fail(text, pytrace=False)
    return report


def _lines(seen: set[Seen]) -> str:
    return "\n".join(" ".join(map(str, one)) for one in sorted(seen))
