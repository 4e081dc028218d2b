"""One watched run: from the probes through the judging to the reports."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_truasync import __version__, _allow
from pytest_truasync._detect import Detector, native
from pytest_truasync._detect.recorder import merge_notes
from pytest_truasync._model import (
    CallSite,
    Json,
    Observation,
    Permission,
    Phase,
    PoolUse,
    RunInfo,
    Verdict,
)
from pytest_truasync._notes import Held, NoteBook, observation
from pytest_truasync._report import ReportError, terminal, write_reports
from pytest_truasync._rules import is_health
from pytest_truasync._rules.drivers import DRIVERS
from pytest_truasync._rules.targets import AUDITED, OFFLOAD_CODES, TARGETS, code_for
from pytest_truasync._verdict import (
    Policy,
    judge,
    merge,
    unused,
    verdict_from_json,
    verdict_to_json,
    with_violations,
)

if TYPE_CHECKING:
    from pytest_truasync._settings import Settings


_NOTHING = Verdict()
STALL_CODES = frozenset({"TRU401", "TRU402"})


class BlockingCallError(RuntimeError):
    """Raised at a blocking call itself under `--truasync-mode raise`."""

    __module__ = "pytest_truasync"  # where it is offered


class Session:
    """What one pytest process knows of its run.

    Args:
        settings: of the run.
        root: the user's project.
        watch: whether tests run in this process; the controller of pytest-xdist runs none.
    """

    def __init__(self, settings: Settings, root: Path, *, watch: bool) -> None:
        self.settings = settings
        self._root = root
        self._policy = Policy(settings.selected, settings.strict_offload)
        self._detector: Detector | None = self._make_detector() if watch else None
        self._outer_root, self._opened = "", False
        self.travels = False
        """Whether another process reports: this one is a worker of pytest-xdist."""
        self._process = os.getpid()
        self.forked: Callable[[], None] | None = None
        """Called when this process has forked."""
        self._test = ""
        self._permissions: tuple[Permission, ...] = ()
        self._past: dict[str, tuple[Permission, ...]] = {}
        """Permissions of tests, which may have handed over work that outlives them."""
        self._late = _NOTHING
        """What such work did, until it can travel."""
        self._failed_late = False
        """It was a violation, which its test could not fail for any more."""
        self.expected: set[str] = set()
        """Tests that are marked as expected to fail."""
        self._held: list[Observation] = []
        self._held_notes: Held = []
        self._held_pools: list[PoolUse] = []
        self._verdicts: list[Verdict] = []
        self._book = NoteBook(self._policy, self._source, native.set_apart)
        self._tests: set[str] = set()
        self._total = Verdict()
        self._errors: list[str] = []
        self._started = time.perf_counter()

    def _make_detector(self) -> Detector:
        settings = self.settings
        return Detector(
            root=self._root,
            packages=settings.packages,
            targets=TARGETS,
            audited=AUDITED,
            drivers=DRIVERS,
            name_code=code_for,
            offload_codes=OFFLOAD_CODES,
            refuse=self._refuse if settings.mode == "raise" else None,
            stall_threshold_s=(
                settings.stall_threshold_s if settings.selected & STALL_CODES else None
            ),
            sample_workers="TRU301" in settings.selected,
            forked=self._note_fork,
        )

    def _note_fork(self) -> None:
        if self.forked is not None:
            self.forked()

    # The run.

    def open(self) -> None:
        """Open the probes."""
        self._outer_root, self._opened = _allow.root, True
        _allow.root = self._root.as_posix().rstrip("/") + "/"
        if self._detector is not None:
            self._detector.install()

    def watch_here(self) -> None:
        """Watch this process after all: pytest-xdist was asked for workers, and starts none."""
        if self._detector is None:
            self._detector = self._make_detector()
            self._detector.install()

    def close(self) -> None:
        """Put everything back; may be called again."""
        detector, self._detector = self._detector, None
        if detector is not None:
            detector.uninstall()
        if self._opened:
            self._opened = False
            _allow.root = self._outer_root
            native.give_back()

    def header(self) -> str:
        """Return the line for the head of the run."""
        lines = [terminal.header(self.settings, __version__)]
        if lacking := self._detector.unavailable if self._detector is not None else ():
            lines.append(f"truasync: not watched here: {', '.join(lacking)}")
        if native.unusable:
            lines.append(f"truasync: slower than it could be: its part in C: {native.unusable}")
        return "\n".join(lines)

    # One test.

    def begin(self, test: str, permissions: tuple[Permission, ...]) -> None:
        """Begin a test; what was seen since the last one was nobody's.

        What standard output and error are now is noted: writing there is not watched.
        """
        detector = self._detector
        if detector is None:
            return
        detector.note_consoles()
        self._held = [] if detector.idle else self._news("setup")
        self._held_notes, self._held_pools = [], []
        self._test, self._permissions = test, permissions
        detector.begin(test)
        if permissions:
            self._past[test] = permissions
        _allow.take_entered()

    def _news(self, when: Phase) -> list[Observation]:
        """Return what the plugin says of itself; what else was seen since is nobody's."""
        if self._detector is None:
            return []
        seen = self._in_time(self._detector.drain("", when))
        self._detector.notes()
        self._detector.pools()
        return [one for one in seen if is_health(one.code)]

    def _in_time(self, seen: list[Observation]) -> list[Observation]:
        """Return what was done for the test that runs; judge what an earlier one had handed over.

        That one can fail no more: the run does.
        """
        found = []
        for one in seen:
            if one.is_late and one.test != self._test:
                held = _allow.held(one.permission.split("\n"))
                in_force = (*self._past.get(one.test, ()), *held, *self.settings.allow)
                verdict = judge([one], in_force, self._policy)
                self._late = merge([self._late, verdict])
                if verdict.violations and one.test not in self.expected:
                    self._failed_late = True
            else:
                found.append(one)
        if self._late != _NOTHING and not self._is_away:
            self._add(self._late)
            self._late = _NOTHING
        return found

    @property
    def _is_away(self) -> bool:
        """Whether another process reports what this one finds."""
        return self.travels or os.getpid() != self._process

    def leave(self) -> Json | None:
        """Return what is to travel with a worker's last word, if there is anything."""
        self._news("teardown")
        return self._to_travel(self._late) if self._late != _NOTHING else None

    def _to_travel(self, verdict: Verdict) -> Json:
        return {**verdict_to_json(verdict), "failed_late": self._failed_late}

    def end(self) -> None:
        """End the test."""
        self._test, self._permissions = "", ()
        if self._detector is not None:
            self._detector.begin("")

    def hold(self, when: Phase) -> None:
        """Keep what a phase has brought until the test has run."""
        detector = self._detector
        if detector is None or detector.idle:
            return
        self._held += self._in_time(detector.drain(self._test, when))
        if notes := detector.notes():
            self._held_notes.append((when, notes))
        self._held_pools += detector.pools()

    def judge(self, when: Phase, *, ran: bool) -> tuple[Json | None, str]:
        """Judge what was seen of this test up to now.

        Args:
            when: the phase that has ended.
            ran: whether the test itself ran, so that a permission could have been of use.

        Returns:
            What is to travel with the report, if this process does not report itself, and the text
            for a test that is to fail.
        """
        detector = self._detector
        if detector is None:
            return None, ""
        self.hold(when)
        heard = self._held or self._held_notes or self._held_pools or self._late != _NOTHING
        if not (ran or heard):
            return None, ""
        entered = _allow.take_entered()
        if not (heard or entered or self._permissions or self.settings.allow):  # as in most tests
            return None, ""
        seen, self._held = self._held, []
        notes, self._held_notes = self._held_notes, []
        pools, self._held_pools = self._held_pools, []
        if pools:
            seen += detector.full_pools(pools, self._test, when)
        held = self._held_permissions(seen, notes)
        in_force = (*self._permissions, *entered, *held, *self.settings.allow)
        away = self._is_away
        if in_force or away or self._policy.strict_offload:
            seen += self._told(notes)
        else:
            self._book.keep(notes, self._test)
            if not seen:
                self._book.keep_pools(pools)
                return None, ""
        verdict = judge(seen, in_force, self._policy, pools)
        text = ""
        if verdict.violations and self.settings.mode != "warn":
            text = terminal.failure_text(verdict.violations, verdict.pools)
        if away:
            late, self._late = self._late, _NOTHING
            return self._to_travel(merge([verdict, late]) if late != _NOTHING else verdict), text
        self._add(verdict)
        return None, text

    @staticmethod
    def _held_permissions(seen: list[Observation], notes: Held) -> tuple[Permission, ...]:
        """Return those whose blocks stood around what was seen."""
        keys = {one.permission for one in seen}
        keys.update(one[0].seen.permission for _, some in notes for one in some)
        keys.discard("")
        return _allow.held(keys) if keys else ()

    def _told(self, notes: Held) -> list[Observation]:
        """Return the notes of this test as observations."""
        return [
            observation(one, self._test, when, self._source)
            for when, some in notes
            for one in merge_notes(some)
        ]

    def _source(self, site: CallSite) -> CallSite:
        return self._detector.reader.with_source(site) if self._detector is not None else site

    def _refuse(self, seen: Observation) -> BaseException | None:
        held = _allow.held([seen.permission])
        in_force = (*self._permissions, *held, *self.settings.allow)
        verdict = judge([seen], in_force, self._policy)
        if not verdict.violations:
            return None
        return BlockingCallError(terminal.failure_text(verdict.violations))

    # All tests.

    def take(self, travel: Json) -> None:
        """Take in what came with the report of a test, from a worker or a fork."""
        self._failed_late = self._failed_late or travel.get("failed_late", False)
        self._add(verdict_from_json(travel))

    def _add(self, verdict: Verdict) -> None:
        self._verdicts.append(verdict)
        native.set_apart((verdict,))
        if len(self._verdicts) >= 256:  # merged as they come, a long run stays small
            self._verdicts = [merge(self._verdicts)]

    def count(self, test: str) -> None:
        """Count a test that ran: once, though it may have subtests or be run again."""
        self._tests.add(test)

    def conclude(self, *, whole: bool, everywhere: bool) -> bool:
        """Merge all verdicts, write the reports and return whether the run is to fail for it.

        Args:
            whole: every test that was collected ran to its end.
            everywhere: no path was named, so that the ini lines spoke of what was run.
        """
        self._verdicts.append(judge(self._news("teardown"), (), self._policy))
        verdicts, self._verdicts = self._verdicts, []
        book, self._book = self._book, NoteBook(self._policy, self._source, native.set_apart)
        total = merge([*verdicts, Verdict(pools=book.pools)])
        permissions = (*total.permissions, *(self.settings.allow if everywhere else ()))
        if not everywhere:
            permissions = tuple(one for one in permissions if one.kind != "ini")
        said = unused(
            permissions,
            total.allowed,
            whole,
            strict=self.settings.strict_allow,
            require_reason=self.settings.require_reason,
            policy=self._policy,
        )
        self._total = with_violations(total, (*said, *book.judge()))
        run = RunInfo(
            plugin=__version__,
            python=platform.python_version(),
            platform=platform.system(),
            mode=self.settings.mode,
            tests=len(self._tests),
            times={"total_s": round(time.perf_counter() - self._started, 3)},
        )
        try:
            write_reports(self.settings.reports, self._total, run)
        except ReportError as wrong:
            self._errors.append(str(wrong))
        strict = any(one.level == "error" for one in said)
        late = self._failed_late and self.settings.mode != "warn"
        if late:
            self._errors.append("what its tests left behind fails the run")
        return bool(self._errors) or (strict and self.settings.mode != "warn")

    def speak(self, out: Any, verbosity: int) -> None:
        """Write the section after the failures."""
        lines = terminal.summary(self._total, verbosity, out._tw.fullwidth)
        if lines:
            out.section("truasync", sep="=", blue=True)
            terminal.write(lines, out._tw.write, styled=out.hasmarkup)
        if lines or verbosity >= 0:
            terminal.write((terminal.total(self._total),), out._tw.write)
        self._total = Verdict()
        for error in self._errors:
            out.write_line(f"truasync: {error}", red=True)
