from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterable
from io import StringIO
from pathlib import Path

import pytest
from _pytest._io import TerminalWriter
from story import DEEP, OBSERVATIONS, POOL, SLEEP, VERDICT

from pytest_truasync._model import CallSite, Observation, Permission, Verdict
from pytest_truasync._report.terminal import (
    MARKUP,
    Line,
    explain,
    failure_text,
    header,
    plain,
    rules_table,
    summary,
    total,
    write,
)
from pytest_truasync._report.text import clip, duration, fill, many
from pytest_truasync._rules import RULES
from pytest_truasync._settings import Settings
from pytest_truasync._verdict import Policy, judge, unused, with_violations

Golden = Callable[[str, str], None]
VIOLATIONS = VERDICT.violations


def test_failure_text(golden: Golden) -> None:
    golden("failure.txt", failure_text(VIOLATIONS, VERDICT.pools) + "\n")


def test_the_failure_text_is_what_the_style_guide_shows() -> None:
    (one,) = judge(OBSERVATIONS[:1], [], Policy()).violations
    assert failure_text([one._replace(instead="await asyncio.sleep(...)")]) == (
        "truasync: 1 violation, TRU251 at app/feed.py:42\n"
        "\n"
        "app/feed.py:42 in load_feed: TRU251 blocking-sleep\n"
        "  > time.sleep(0.12)\n"
        "  time.sleep held the event loop for 120.4 ms\n"
        "  instead: await asyncio.sleep(...)\n"
        '  or allow it: @pytest.mark.allow_blocking("TRU251", reason="...")'
    )


@pytest.mark.parametrize(
    ("name", "verbosity"), [("summary", 0), ("summary-v", 1), ("summary-q", -1)]
)
def test_summary(golden: Golden, name: str, verbosity: int) -> None:
    lines = [*summary(VERDICT, verbosity), total(VERDICT)]
    golden(f"{name}.txt", plain(lines) + "\n")


@pytest.mark.parametrize("width", [20, 60, 80, 200])
def test_a_place_stands_in_one_piece_at_any_width(width: int) -> None:
    text = plain(summary(VERDICT, 1, width)) + failure_text(VIOLATIONS, VERDICT.pools, width)
    for seen in OBSERVATIONS:
        for site in (seen.site, seen.inner, *seen.chain):
            if site and site.line:
                assert re.search(rf"(^|[ (]){re.escape(str(site))}($|[ :,;>])", text, re.MULTILINE)


def test_lines_fit_but_for_what_cannot_be_broken() -> None:
    for line in (*plain(summary(VERDICT, 1)).splitlines(), *failure_text(VIOLATIONS).splitlines()):
        assert len(line) <= 80 or str(DEEP) in line or line.startswith("truasync: ")


def test_nothing_to_say() -> None:
    assert summary(Verdict()) == ()
    assert plain([total(Verdict())]) == "truasync: no violations"


def test_a_stream_that_lacks_a_sign_keeps_its_lines() -> None:
    stream = io.TextIOWrapper(io.BytesIO(), "ascii", newline="\n")
    seen = OBSERVATIONS[0]._replace(site=SLEEP._replace(source="time.sleep(1)  # schläft"))
    lines = summary(judge([seen], [], Policy()), 1)
    for styled in (True, False):
        write(lines, TerminalWriter(stream).write, styled=styled)
    stream.flush()
    written = stream.buffer.getvalue().decode().splitlines()
    assert len(written) == 2 * len(lines)
    assert written[: len(lines)] == written[len(lines) :]
    assert any(line.endswith("schl\\xe4ft") for line in written)


def test_notes_alone() -> None:
    verdict = judge(OBSERVATIONS, [], Policy(frozenset({"TRU302"})))
    assert plain(summary(verdict)) == "1 note: 1 TRU302 offloaded-work (-v lists them)"
    assert summary(verdict, -1) == ()


def test_what_no_permission_covers_names_none() -> None:
    permission = Permission("ini", ("open",), "why", "truasync_allow line 1", "app")
    found = unused([permission], {}, True, strict=True)
    verdict = with_violations(Verdict(), found)
    for text in (failure_text(found), plain(summary(verdict))):
        assert "TRU901 unused-permission\n  open in app (truasync_allow line 1) let" in text
        assert "allow one" not in text
        assert "allow it" not in text


def test_many_permissions() -> None:
    permissions = [Permission("marker", ("TRU2",), "", f"t.py::test_{n:02}") for n in range(12)]
    verdict = judge(OBSERVATIONS[:1], permissions, Policy())
    text = plain(summary(verdict))
    assert text.startswith("allowed: 12 calls by 12 permissions\n  1 call by t.py::test_00: TRU2")
    assert text.endswith("\n  and 2 more (-v lists them)")
    assert "and 2 more" not in plain(summary(verdict, 1))


@pytest.mark.parametrize(
    ("codes", "style"),
    [({"TRU251", "TRU303"}, "error"), ({"TRU303", "TRU302"}, "warning"), ({"TRU302"}, "good")],
)
def test_the_colour_of_the_total(codes: set[str], style: str) -> None:
    assert total(judge(OBSERVATIONS, [], Policy(frozenset(codes))))[0].style == style


def test_a_sentence_without_times() -> None:
    seen = Observation("TRU251", "time.sleep", "time.sleep", CallSite("a.py", 1), count=2)
    once = seen._replace(count=1)
    assert "held the event loop 2 times\n" in failure_text(judge([seen], [], Policy()).violations)
    assert "held the event loop\n" in failure_text(judge([once], [], Policy()).violations)


@pytest.mark.parametrize(
    ("function", "shown"),
    [
        ("load.<locals>.<genexpr>", " in load: "),
        ("load.<locals>.inner", " in load.inner: "),
        ("<module>", " in <module>: "),
        ("", ": "),
    ],
)
def test_functions_are_named_as_in_the_source(function: str, shown: str) -> None:
    seen = OBSERVATIONS[0]._replace(site=SLEEP._replace(function=function))
    text = failure_text(judge([seen], [], Policy()).violations)
    assert f"\napp/feed.py:42{shown}TRU251" in text


def test_no_failure() -> None:
    assert failure_text([]) == "truasync: 0 violations"
    nowhere = OBSERVATIONS[0]._replace(site=CallSite("", 0))
    text = failure_text(judge([nowhere], [], Policy()).violations)
    assert text.startswith("truasync: 1 violation, TRU251\n\nTRU251 blocking-sleep\n")


def test_times_of_many_calls_without_the_longest() -> None:
    seen = OBSERVATIONS[0]._replace(count=2, longest_ns=0)
    text = failure_text(judge([seen], [], Policy()).violations)
    assert "held the event loop 2 times, for 120.4 ms in all\n" in text


def test_a_library_without_a_chain() -> None:
    site = SLEEP._replace(package="backoff")
    text = failure_text(judge([OBSERVATIONS[0]._replace(site=site)], [], Policy()).violations)
    assert "\n  in package 'backoff'\n" in text


def test_an_offload_of_which_the_line_is_not_known() -> None:
    seen = OBSERVATIONS[6]._replace(inner=None, pool="unknown")
    text = failure_text(judge([seen], [], Policy()).violations, [POOL])
    assert "\n  sent there by loop.run_in_executor\n" in text
    assert "pool:" not in text


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        (Settings(), "truasync 0.1: mode fail, stalls over 100 ms"),
        (
            Settings(
                mode="warn",
                selected=frozenset({"TRU251"}),
                strict_offload=True,
                allow=(Permission("ini", (), "", "line 1", "**"),),
                stall_threshold_s=1.5,
                reports=(("json", Path("/tmp/out.json")),),
            ),
            (
                f"truasync 0.1: mode warn, 1 of {len(RULES)} rules, offload strict, "
                "1 ini permission, stalls over 1.5 s, json:out.json"
            ),
        ),
    ],
)
def test_header(settings: Settings, expected: str) -> None:
    assert header(settings, "0.1") == expected


def test_rules_table(golden: Golden) -> None:
    golden("rules.txt", plain(rules_table()) + "\n")


@pytest.mark.parametrize("code", ["TRU251", "TRU302", "TRU901"])
def test_explain(golden: Golden, code: str) -> None:
    golden(f"explain-{code}.txt", plain(explain(code)) + "\n")


@pytest.mark.parametrize("code", RULES)
def test_all_is_readable_at_80_columns(code: str) -> None:
    assert max(len(line) for line in plain(explain(code)).splitlines()) <= 80


def test_writing_with_colours_and_without() -> None:
    lines: Iterable[Line] = summary(VERDICT, 1)
    for coloured in (True, False):
        out = StringIO()
        writer = TerminalWriter(out)
        writer.hasmarkup = coloured
        write(lines, writer.write)
        without = re.sub(r"\x1b\[\d+m", "", out.getvalue())
        assert [line.rstrip() for line in without.splitlines()] == plain(lines).splitlines()
        assert ("\x1b[" in out.getvalue()) is coloured
    styles = {segment.style for line in (*lines, total(VERDICT)) for segment in line}
    assert styles <= set(MARKUP)


@pytest.mark.parametrize(
    ("ns", "text"),
    [
        (800, "0.0008 ms"),
        (123_456, "0.12 ms"),
        (999_999, "1 ms"),
        (12_000_000, "12 ms"),
        (120_400_000, "120.4 ms"),
        (999_949_999, "999.9 ms"),
        (999_950_000, "1 s"),
        (14_200_000_000, "14.2 s"),
    ],
)
def test_duration(ns: int, text: str) -> None:
    assert duration(ns) == text


def test_words() -> None:
    assert (many(1, "call"), many(0, "call"), many(1_000, "call")) == (
        "1 call",
        "0 calls",
        "1,000 calls",
    )
    assert clip("abcdefghij", 10) == "abcdefghij"
    assert clip("abcdefghijk", 10) == "abcdef ..."
    assert fill("a b", 80, 2) == ["  a b"]
