"""The front door: modes, phases, output, permissions, xdist, and what a plain start costs."""

from __future__ import annotations

import json
from typing import Any

import pytest
from lean import lean

pytest_plugins = ("pytester",)

REPORT = "--truasync-report=json:report.json"

TWO = """
import time

async def test_bad():
    time.sleep(0.001)

async def test_good():
    pass
"""


def run(pytester: pytest.Pytester, *options: str) -> pytest.RunResult:
    needed = ("xdist",) if "-n" in options else ()
    return pytester.runpytest_subprocess(*lean(*needed), *options, timeout=120)


def report_of(pytester: pytest.Pytester) -> Any:
    return json.loads((pytester.path / "report.json").read_text("utf-8"))


def rows(report: Any, part: str = "violations") -> list[tuple[str, int, str, int]]:
    return [(one["path"], one["line"], one["code"], one["count"]) for one in report[part]]


def timeless(value: Any) -> Any:
    """Return a report without what is measured."""
    if isinstance(value, dict):
        measured = ("_ms", "times", "peak_running", "peak_queued")
        return {k: timeless(v) for k, v in value.items() if not k.endswith(measured)}
    return [timeless(one) for one in value] if isinstance(value, list) else value


class TestModes:
    @pytest.mark.parametrize("strict", [True, False])
    def test_a_violation_may_be_expected(self, pytester: pytest.Pytester, strict: bool) -> None:
        pytester.makepyfile(
            f"""
            import time
            import pytest

            @pytest.mark.xfail(reason="known", strict={strict})
            async def test_known():
                time.sleep(0.001)

            @pytest.mark.xfail(reason="known", strict={strict}, raises=KeyError)
            async def test_another_failure():
                time.sleep(0.001)

            @pytest.mark.xfail(False, reason="elsewhere", strict={strict})
            async def test_elsewhere():
                time.sleep(0.001)
            """
        )
        result = run(pytester, "--truasync", "-rx")
        result.assert_outcomes(xfailed=1, failed=2)
        result.stdout.fnmatch_lines(["XFAIL *::test_known - known"])
        result.stdout.fnmatch_lines(["truasync: 3 violations in 3 tests"])

    def test_fail_warn_and_off(self, pytester: pytest.Pytester) -> None:
        pytester.makepyfile(TWO)
        failing = run(pytester, "--truasync")
        failing.assert_outcomes(failed=1, passed=1)
        assert failing.ret == pytest.ExitCode.TESTS_FAILED
        failing.stdout.fnmatch_lines(["*test_bad: TRU251*", "truasync: 1 violation in 1 test"])
        warned = run(pytester, "--truasync", "--truasync-mode=warn")
        warned.assert_outcomes(passed=2)
        warned.stdout.fnmatch_lines(["truasync: 1 violation in 1 test"])
        for options in ((), ("--truasync", "--no-truasync")):
            off = run(pytester, *options)
            off.assert_outcomes(passed=2)
            off.stdout.no_fnmatch_line("truasync *")

    def test_raise_is_at_the_call_itself(self, pytester: pytest.Pytester) -> None:
        pytester.makepyfile(
            """
            import time
            import pytest

            called = []

            async def test_raised():
                called.append("before")
                time.sleep(0.001)
                called.append("after")

            async def test_swallowed():
                try:
                    time.sleep(0.001)
                except RuntimeError as error:
                    assert "TRU251" in str(error)

            @pytest.mark.allow_blocking("TRU251", reason="known")
            async def test_allowed():
                time.sleep(0.001)

            def test_later():
                assert called == ["before"]
            """
        )
        result = run(pytester, "--truasync", "--truasync-mode=raise")
        result.assert_outcomes(failed=2, passed=2)
        result.stdout.fnmatch_lines(["*time.sleep(0.001)*", "*BlockingCallError*"])

    def test_each_phase_and_what_was_swallowed(self, pytester: pytest.Pytester) -> None:
        pytester.makepyfile(
            """
            import time
            import pytest

            @pytest.fixture
            async def slow_setup():
                time.sleep(0.001)

            @pytest.fixture
            async def slow_teardown():
                yield
                time.sleep(0.001)

            async def test_setup(slow_setup): pass

            async def test_teardown(slow_teardown): pass

            async def test_swallowed():
                try:
                    time.sleep(0.001)
                    raise SystemExit
                except BaseException:
                    pass

            async def test_fails_by_itself():
                time.sleep(0.001)
                assert False, "its own"

            @pytest.mark.xfail(reason="known", strict=False)
            async def test_xfail():
                time.sleep(0.001)
                assert False

            @pytest.mark.xfail(reason="known", strict=False)
            async def test_xpass():
                time.sleep(0.001)

            async def test_skips():
                time.sleep(0.001)
                pytest.skip("late")

            @pytest.mark.skip
            async def test_skipped():
                time.sleep(0.001)
            """
        )
        result = run(pytester, "--truasync", REPORT, "-rA")
        result.stdout.fnmatch_lines(["*its own*"])
        report = report_of(pytester)
        assert [(row[1], row[2], row[3]) for row in rows(report)] == [
            (6, "TRU251", 1),
            (11, "TRU251", 1),
            (19, "TRU251", 1),
            (25, "TRU251", 1),
            (30, "TRU251", 1),
            (35, "TRU251", 1),
            (38, "TRU251", 1),
        ]
        out = result.stdout.str()
        for line in (
            "FAILED *::test_setup",
            "ERROR *::test_teardown",
            "FAILED *::test_swallowed",
            "FAILED *::test_fails_by_itself",
            "XFAIL *::test_xfail",
            "SKIPPED *",
        ):
            result.stdout.fnmatch_lines([f"{line}*"], consecutive=False)
            assert out


class TestOutput:
    def test_quiet_normal_and_verbose(self, pytester: pytest.Pytester) -> None:
        pytester.makepyfile(
            TWO
            + """
async def test_note():
    import asyncio
    await asyncio.to_thread(sum, [1])
"""
        )
        normal = run(pytester, "--truasync", "--truasync-mode=warn")
        normal.stdout.fnmatch_lines(
            [
                "truasync *: mode warn*",
                "*= truasync =*",
                "*> time.sleep(0.001)*",
                "truasync: *1 note",
            ]
        )
        normal.stdout.no_fnmatch_line("*py:* TRU302*")
        quiet = run(pytester, "--truasync", "--truasync-mode=warn", "-q")
        quiet.stdout.no_fnmatch_line("*> time.sleep(0.001)*")
        quiet.stdout.fnmatch_lines(["*:4: TRU251*", "truasync: *"])
        verbose = run(pytester, "--truasync", "--truasync-mode=warn", "-v")
        verbose.stdout.fnmatch_lines(["*py:* TRU302*"])

    def test_a_clean_run_is_one_line(self, pytester: pytest.Pytester) -> None:
        pytester.makepyfile("async def test_good(): pass")
        result = run(pytester, "--truasync")
        result.assert_outcomes(passed=1)
        result.stdout.no_fnmatch_line("*= truasync =*")
        result.stdout.fnmatch_lines(["truasync: *no *"])

    def test_rules_and_explain_run_no_test(self, pytester: pytest.Pytester) -> None:
        pytester.makepyfile("raise RuntimeError('collected')")
        rules = run(pytester, "--truasync-rules")
        assert rules.ret == 0
        rules.stdout.fnmatch_lines(["TRU251 *blocking-sleep*"])
        for word in ("TRU251", "blocking-sleep"):
            explained = run(pytester, "--truasync-explain", word)
            assert explained.ret == 0
            explained.stdout.fnmatch_lines(["TRU251 blocking-sleep (error)", "*time.sleep*"])

    @pytest.mark.parametrize(
        ("option", "words"),
        [
            ("--truasync-mode=fial", ["fial", "fail"]),
            ("--truasync-select=TRU999", ["TRU999"]),
            ("--truasync-report=jsn:x", ["jsn", "json"]),
            ("--truasync-explain=blocking-slep", ["blocking-slep", "blocking-sleep"]),
        ],
    )
    def test_a_typo_stops_the_run_before_any_test(
        self, pytester: pytest.Pytester, option: str, words: list[str]
    ) -> None:
        pytester.makepyfile("raise RuntimeError('collected')")
        result = run(pytester, "--truasync", option)
        assert result.ret == pytest.ExitCode.USAGE_ERROR
        said = result.stderr.str()
        assert all(word in said for word in words)
        assert "Traceback" not in said
        assert "collected" not in result.stdout.str()

    def test_a_typo_in_a_marker_stops_it_too(self, pytester: pytest.Pytester) -> None:
        pytester.makepyfile(
            """
            import pytest

            @pytest.mark.allow_blocking("TRU25O")
            async def test_it(): print("ran")
            """
        )
        result = run(pytester, "--truasync", "-s")
        assert result.ret == pytest.ExitCode.USAGE_ERROR
        assert "TRU25O" in result.stderr.str() + result.stdout.str()
        result.stdout.no_fnmatch_line("ran")


class TestPermissions:
    def test_markers_blocks_and_ini_lines(self, pytester: pytest.Pytester) -> None:
        pytester.makeini("[pytest]\ntruasync_allow =\n    TRU251 in app.py::legacy  # old\n")
        pytester.makepyfile(
            app="""
            import time

            def legacy():
                time.sleep(0.001)

            def other():
                time.sleep(0.001)
            """,
            test_module="""
            import pytest, time

            pytestmark = pytest.mark.allow_blocking("blocking-sleep", reason="module")

            async def test_it():
                time.sleep(0.001)
            """,
            test_it="""
            import asyncio, os, time
            import pytest
            import pytest_truasync
            import app

            @pytest.mark.allow_blocking(reason="all of it")
            async def test_all():
                time.sleep(0.001)
                os.stat(".")

            @pytest.mark.allow_blocking("time.sleep", reason="by target")
            async def test_target():
                time.sleep(0.001)
                os.stat(".")

            @pytest.mark.allow_blocking("TRU25", reason="by prefix")
            class TestClass:
                async def test_one(self):
                    time.sleep(0.001)

            async def test_block():
                with pytest_truasync.allow("TRU251", reason="these lines"):
                    time.sleep(0.001)
                    task = asyncio.create_task(later())
                await task
                time.sleep(0.001)

            async def later():
                time.sleep(0.001)

            async def test_ini():
                app.legacy()
                app.other()

            @pytest.mark.allow_blocking("TRU251")
            async def test_no_reason():
                time.sleep(0.001)

            @pytest.mark.allow_blocking("TRU251", reason="of no use")
            async def test_useless():
                pass
            """,
        )
        result = run(pytester, "--truasync", REPORT)
        result.assert_outcomes(passed=5, failed=3)
        report = report_of(pytester)
        assert rows(report) == [
            ("app.py", 7, "TRU251", 1),
            ("test_it.py", 14, "TRU240", 1),
            ("test_it.py", 26, "TRU251", 1),
        ]
        calls = {one["reason"]: one["calls"] for one in report["permissions"]}
        assert calls == {
            "module": 1,
            "all of it": 2,
            "by target": 1,
            "by prefix": 1,
            "these lines": 2,
            "old": 1,
            "": 1,
            "of no use": 0,
        }
        about = {(one["code"], one["line"]) for one in report["warnings"]}
        assert {code for code, _ in about} == {"TRU901", "TRU902"}
        strict = run(pytester, "--truasync", "--truasync-mode=fail", "--truasync-strict-allow")
        assert strict.ret == pytest.ExitCode.TESTS_FAILED
        strict.stdout.fnmatch_lines(["*TRU901*"])

    def test_strict_allow_fails_a_run_whose_tests_pass(self, pytester: pytest.Pytester) -> None:
        pytester.makepyfile(
            """
            import pytest

            @pytest.mark.allow_blocking("TRU251", reason="of no use")
            async def test_useless(): pass
            """
        )
        result = run(pytester, "--truasync", "--truasync-strict-allow")
        result.assert_outcomes(passed=1)
        assert result.ret == pytest.ExitCode.TESTS_FAILED
        part = run(pytester, "--truasync", "--truasync-strict-allow", "-k", "nothing")
        assert part.ret == pytest.ExitCode.NO_TESTS_COLLECTED


class TestXdist:
    SUITE = """
    import asyncio, os, time
    import pytest
    import pytest_truasync

    @pytest.mark.parametrize("number", range(6))
    async def test_many(number):
        time.sleep(0.001)
        with pytest_truasync.allow("TRU240", reason="once"):
            os.stat(".")

    async def test_offload():
        await asyncio.to_thread(time.sleep, 0.001)

    @pytest.mark.allow_blocking("TRU251", reason="of no use")
    async def test_useless():
        pass

    async def test_note():
        await asyncio.to_thread(sum, [1])
    """

    def test_two_workers_report_as_none_does(self, pytester: pytest.Pytester) -> None:
        pytest.importorskip("xdist")
        pytester.makepyfile(self.SUITE)
        reports = []
        for workers in ("0", "2"):
            result = run(pytester, "--truasync", REPORT, "-n", workers)
            result.assert_outcomes(failed=7, passed=2)
            result.stdout.fnmatch_lines(["truasync: 2 violations in 7 tests*"])
            reports.append(timeless(report_of(pytester)))
        assert reports[0] == reports[1]
        assert reports[0]["run"]["tests"] == 9

    @pytest.mark.parametrize("workers", ["0", "2"])
    def test_wrong_markers_stop_the_run_by_name(
        self, pytester: pytest.Pytester, workers: str
    ) -> None:
        pytest.importorskip("xdist")
        pytester.makepyfile(
            """
            import pytest

            @pytest.mark.allow_blocking("TRU999")
            async def test_rule():
                pass

            @pytest.mark.allow_blocking(raeson="a typo")
            async def test_argument():
                pass

            def test_fine():
                pass
            """
        )
        result = run(pytester, "--truasync", "-n", workers)
        assert result.ret == pytest.ExitCode.USAGE_ERROR
        result.stderr.fnmatch_lines(
            ["ERROR: *::test_rule: *TRU999*", "ERROR: *::test_argument: *raeson*"]
        )
        assert len([line for line in result.errlines if "ERROR" in line]) == 2
        result.stdout.no_fnmatch_line("*INTERNALERROR*")
        result.stdout.no_fnmatch_line("truasync: no violations")

    def test_a_crashed_worker_loses_its_running_test_alone(self, pytester: pytest.Pytester) -> None:
        pytest.importorskip("xdist")
        pytester.makepyfile(
            """
            import os, time

            async def test_before():
                time.sleep(0.001)

            async def test_crash():
                time.sleep(0.001)
                os._exit(3)

            async def test_after():
                time.sleep(0.001)
            """
        )
        run(pytester, "--truasync", REPORT, "-n", "1")
        assert [line for _, line, _, _ in rows(report_of(pytester))] == [4, 11]


class TestWithoutIt:
    MODULES = """
    import sys

    def pytest_sessionfinish():
        print("MODULES", *sorted(sys.modules))
    """

    def modules(self, pytester: pytest.Pytester, *options: str) -> set[str]:
        result = pytester.runpytest_subprocess(*lean()[:-4], "-p", "no:asyncio", "-s", *options)
        (line,) = (line for line in result.outlines if "MODULES" in line)
        return set(line.partition("MODULES ")[2].split())

    def test_a_plain_start_imports_next_to_nothing(self, pytester: pytest.Pytester) -> None:
        pytester.makeconftest(self.MODULES)
        pytester.makepyfile("def test_it(): pass")
        without = self.modules(pytester, "-p", "no:truasync", "-p", "no:truasync_supabase")
        plain = self.modules(pytester)
        more = {name for name in plain - without if not name.startswith("pytest_truasync")}
        heavy = ("asyncio", "blockbuster", "forbiddenfruit", "httpx", "respx", "ctypes", "sqlite3")
        assert not [name for name in more if name.partition(".")[0] in heavy], more
        assert len(more) < 10, more
        assert "pytest_truasync._detect" not in plain
        assert "pytest_truasync._session" not in plain
        own = {name for name in plain - without if name.startswith("pytest_truasync")}
        assert not {name for name in own if name.endswith(("_model", "_settings", "_rules"))}
        on = self.modules(pytester, "--truasync")
        assert "pytest_truasync._detect" in on
        assert "httpx" not in on

    def test_it_can_be_left_out(self, pytester: pytest.Pytester) -> None:
        pytester.makepyfile("def test_it(): pass")
        result = run(pytester, "-p", "no:truasync")
        result.assert_outcomes(passed=1)
        refused = run(pytester, "-p", "no:truasync", "--truasync")
        assert refused.ret == pytest.ExitCode.USAGE_ERROR

    def test_its_marker_and_block_do_nothing_then(self, pytester: pytest.Pytester) -> None:
        pytester.makepyfile(
            """
            import pytest, pytest_truasync, time

            @pytest.mark.allow_blocking("TRU251", reason="known")
            async def test_it():
                with pytest_truasync.allow(reason="all"):
                    time.sleep(0.001)
            """
        )
        run(pytester, "--strict-markers").assert_outcomes(passed=1)

    def test_the_first_import_of_a_conftest_is_watched(self, pytester: pytest.Pytester) -> None:
        pytester.makeconftest("from time import sleep as early")
        pytester.makepyfile("from conftest import early\nasync def test_it(): early(0.001)")
        run(pytester, "--truasync").assert_outcomes(failed=1)
