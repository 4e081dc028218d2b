"""Front door: the hooks of pytest. It wires the parts and decides nothing."""

from __future__ import annotations

import os
from collections.abc import Generator
from typing import TYPE_CHECKING, Any, NoReturn

import pytest

from pytest_truasync._plain import for_good, plain_imports

with plain_imports():
    from pytest_truasync import _options

if TYPE_CHECKING:
    from pytest_truasync._session import Session
    from pytest_truasync._settings import Settings

_SESSION: pytest.StashKey[Session] = pytest.StashKey()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Declare the options."""
    _options.add_options(parser)


@pytest.hookimpl(tryfirst=True)
def pytest_load_initial_conftests(early_config: pytest.Config) -> None:
    """Open the probes before any code of the user's is imported."""
    known: Any = _EarlyConfig(early_config)
    if not _options.is_asked(known):
        return
    with for_good() as keep:
        settings = _read_settings(known)
        if not settings.enabled or settings.show_rules or settings.explain:
            return
        given = early_config.known_args_namespace
        here = bool(os.environ.get("PYTEST_XDIST_WORKER")) or not getattr(
            given, "numprocesses", None
        )
        with plain_imports():  # the heavy part, only when it is asked for
            from pytest_truasync._session import Session
        session = Session(settings, early_config.rootpath, watch=here)
        early_config.stash[_SESSION] = session
        early_config.add_cleanup(session.close)
        session.open()
        keep()


def pytest_configure(config: pytest.Config) -> None:
    """Declare the marker; the other hooks are only there when the plugin is on."""
    config.addinivalue_line("markers", _options.MARKER_LINE)
    session = config.stash.get(_SESSION, None)
    if session is not None:
        if getattr(config.option, "dist", "no") == "no":  # -n auto is none under --pdb
            session.watch_here()
        config.pluginmanager.register(Hooks(config, session), "truasync_session")


def pytest_cmdline_main(config: pytest.Config) -> int | None:
    """Answer `--truasync-rules` and `--truasync-explain`."""
    settings = _settings_of(config)
    if not settings or not (settings.show_rules or settings.explain):
        return None
    from _pytest.config import create_terminal_writer  # the reporter's does not exist yet

    from pytest_truasync._report import terminal

    out = create_terminal_writer(config)
    lines = (
        terminal.explain(settings.explain, out.fullwidth)
        if settings.explain
        else terminal.rules_table(out.fullwidth)
    )
    terminal.write(lines, out.write)
    return 0


def _settings_of(config: Any) -> Settings | None:
    """Return the settings, or None where nothing is set, without the cost of reading them."""
    return _read_settings(config) if _options.is_asked(config) else None


def _read_settings(config: Any) -> Settings:
    with plain_imports():
        from pytest_truasync._settings import settings_from
    return settings_from(config)


class _EarlyConfig:
    """The part of a Config that is known before the conftest files are loaded."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self.option = config.known_args_namespace

    def getoption(self, name: str, default: Any = None) -> Any:
        return getattr(self.option, name.lstrip("-").replace("-", "_"), default)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._config, name)


class Hooks:
    """The hooks of a run that is watched.

    Args:
        config: of the run.
        session: does the work.
    """

    def __init__(self, config: pytest.Config, session: Session) -> None:
        from pytest_truasync._settings import permissions_of  # there is a session: it is imported

        self._permissions_of = permissions_of
        self._config = config
        self._session = session
        self._settings = session.settings
        self._stopped = False
        self._judged = True
        """The run is not one that ended before it began."""
        self.failed: set[str] = set()
        """Tests that may not have come to what their permissions are for."""
        session.travels = hasattr(config, "workerinput")
        if getattr(config.option, "dist", "no") != "no" and not session.travels:
            self._expect_reports()
        else:
            session.forked = self._expect_reports

    def _expect_reports(self) -> None:
        """Look at each report from now on: it may have been made in another process."""
        self._session.forked = None
        self._config.pluginmanager.register(Arrivals(self, self._session), "truasync_arrivals")

    def pytest_report_header(self) -> str:
        """Say by what the run is judged."""
        return self._session.header()

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Read the markers of what will run: wrong ones stop the run before any test."""
        wrong = []
        for item in items:
            try:
                self._permissions_of(item, require_reason=self._settings.require_reason)
            except pytest.UsageError as error:
                wrong.append(str(error))
        if wrong and self._session.travels:  # a worker cannot stop the run
            self._config.workeroutput["truasync_wrong"] = wrong  # type: ignore[attr-defined]
            items.clear()
        elif wrong:
            self._stop(wrong)

    def _stop(self, wrong: list[str]) -> NoReturn:
        """Stop the run, for markers that nobody can judge by."""
        self._judged = False
        raise pytest.UsageError(*dict.fromkeys(wrong))

    def pytest_deselected(self) -> None:
        """Note that not every test will run."""
        self._stopped = True

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """Note that tests of a file will not run."""
        self._stopped = self._stopped or report.failed

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> None:
        """Begin a test.

        pytest captures the standard streams, and no test has replaced them yet.
        """
        self._session.begin(item.nodeid, self._permissions_of(item))

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Judge what was seen, and attach it to the report; setup is judged with the test."""
        report = yield
        when, outcome = report.when, report.outcome
        if outcome == "failed":
            self.failed.add(item.nodeid)
        if when == "setup" and outcome == "passed":
            self._session.hold("setup")
            return report
        if hasattr(report, "wasxfail"):
            self._session.expected.add(item.nodeid)
        travel, text = self._session.judge(when, ran=when == "call" and outcome != "skipped")
        if travel is not None:
            report.truasync = travel  # type: ignore[attr-defined]
        if text:
            _fail(report, text, item)
        if when == "call":
            self._session.count(item.nodeid)
            if self.failed and outcome == "passed":
                self.failed.discard(item.nodeid)  # it was run again
        elif when == "teardown":
            self._session.end()
        return report

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Merge all, write the reports, and fail the run where a permission is useless."""
        config = self._config
        if self._session.travels:
            stopped = self._stopped or bool(self.failed)
            config.workeroutput["truasync_stopped"] = stopped  # type: ignore[attr-defined]
            config.workeroutput["truasync_late"] = self._session.leave()  # type: ignore[attr-defined]
            return
        left_out = ("collectonly", "setuponly", "setupplan", "ignore", "ignore_glob")
        whole = not (
            self._stopped
            or self.failed
            or session.shouldfail
            or session.shouldstop
            or session.exitstatus not in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED)
            or any(getattr(config.option, name, None) for name in left_out)
        )
        named = config.args_source is pytest.Config.ArgsSource.ARGS
        parts = named and any("::" in arg for arg in config.args)
        everywhere = not named and config.invocation_params.dir == config.rootpath
        failed = self._session.conclude(whole=whole and not parts, everywhere=everywhere)
        if failed and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        """Note what a worker of pytest-xdist has left out, and what it could not begin for."""
        told = getattr(node, "workeroutput", None) or {}
        if wrong := told.get("truasync_wrong"):
            self._stop(wrong)
        self._stopped = self._stopped or told.get("truasync_stopped", True)
        if late := told.get("truasync_late"):
            self._session.take(late)

    @pytest.hookimpl(trylast=True)
    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Write the section after the failures."""
        if self._judged:
            self._session.speak(terminalreporter, self._config.get_verbosity())

    def pytest_unconfigure(self) -> None:
        """Put everything back."""
        self._session.close()


class Arrivals:
    """Hears of reports that other processes made: workers of pytest-xdist, forks.

    Args:
        hooks: of the run.
        session: of the run.
    """

    def __init__(self, hooks: Hooks, session: Session) -> None:
        self._hooks = hooks
        self._session = session

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Take in what travelled with the report."""
        travel = getattr(report, "truasync", None)
        if travel is not None and not self._session.travels:
            self._session.take(travel)
        if report.when == "call":
            self._session.count(report.nodeid)
        if report.failed and not hasattr(report, "truasync_failed"):
            self._hooks.failed.add(report.nodeid)


def _is_expected(report: pytest.TestReport, item: pytest.Item) -> bool:
    """Tell whether a test that is marked `xfail` has passed, and takes any failure."""
    marks = list(item.iter_markers(name="xfail"))
    if not marks or any("raises" in mark.kwargs for mark in marks):
        return False
    if report.outcome == "passed":
        return hasattr(report, "wasxfail")
    if not str(report.longrepr).startswith("[XPASS(strict)]"):
        return False
    report.wasxfail = str(report.longrepr).partition(" ")[2]
    return True


def _fail(report: pytest.TestReport, text: str, item: pytest.Item) -> None:
    """Fail a test that passed; a report that failed by itself gets the text as a section.

    One that is marked as expected to fail has done so.
    """
    if _is_expected(report, item):
        report.outcome = "skipped"
        report.longrepr = text
    elif report.outcome == "passed" or (
        report.outcome == "skipped" and not hasattr(report, "wasxfail")
    ):
        report.outcome = "failed"
        report.longrepr = text
        report.truasync_failed = True  # type: ignore[attr-defined]
    else:
        report.sections.append(("truasync", text))
