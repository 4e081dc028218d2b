"""The senses: what runs on an event loop or was taken off it, recorded and never judged."""

from __future__ import annotations

import os
import sys
import weakref
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from pytest_truasync._detect import originals, waits
from pytest_truasync._detect.base_table import base_table
from pytest_truasync._detect.callread import CallReader
from pytest_truasync._detect.calls import CallProbe
from pytest_truasync._detect.callsite import FrameReader
from pytest_truasync._detect.drivers import DriverProbe
from pytest_truasync._detect.executors import OffloadProbe
from pytest_truasync._detect.files import FileSorter
from pytest_truasync._detect.filework import FileCalls
from pytest_truasync._detect.imports import ImportHooks
from pytest_truasync._detect.lag import LagProbe
from pytest_truasync._detect.loops import LoopProbe
from pytest_truasync._detect.patches import PatchStack, can_patch_types
from pytest_truasync._detect.recorder import Call, Noted, Recorder, Watch
from pytest_truasync._model import CallSite, Driver, Observation, Phase, PoolUse, Target

__all__ = ["Detector"]

Hear = Callable[[str, tuple[Any, ...]], None]

QUEUE_WAIT_NS = 5_000_000
"""A call that stood in a queue shorter than this was not held up by it."""

_hooked: list[Mapping[str, Hear]] = []
"""Audit event → who of the running detector hears of it; the hook itself cannot be removed."""


def _audit(event: str, args: tuple[Any, ...]) -> None:
    hear = _hooked[0].get(event)  # hundreds of events for one that matters
    if hear is not None:
        hear(event, args)


_running: weakref.WeakSet[Detector] = weakref.WeakSet()
_forks_watched: list[bool] = []


def _watch_forks() -> None:
    if not _forks_watched and hasattr(os, "register_at_fork"):
        _forks_watched.append(True)  # what is registered stays for good: once is enough
        os.register_at_fork(
            before=_before_fork, after_in_parent=_after_fork_here, after_in_child=_after_fork
        )


def _before_fork() -> None:
    for detector in list(_running):
        detector.rest()


def _after_fork_here() -> None:
    for detector in list(_running):
        detector.go_on()


def _after_fork() -> None:
    for detector in list(_running):
        detector.forget_threads()
    if _hooked:
        _hooked[0] = {}


class Detector:
    """Opens the probes, and hands back what they saw.

    Args:
        root: the user's project.
        packages: import names of installed packages that are the user's own as well.
        targets: callables to watch.
        audited: audit event → target.
        drivers: calls of drivers that wait in C.
        name_code: see `CallProbe`.
        offload_codes: see `OffloadProbe`.
        refuse: given an observation, what to raise at the call itself, if anything.
        stall_threshold_s: how long a step may hold its loop; None looks for no stalls.
        sample_workers: look for the line on which offloaded work waits.
        forked: called when this process has forked.
        clock: nanoseconds.
    """

    def __init__(
        self,
        *,
        root: Path,
        packages: Iterable[str],
        targets: Iterable[Target],
        audited: Mapping[str, Target],
        drivers: Iterable[Driver] = (),
        name_code: Callable[[Iterable[str], str], str],
        offload_codes: Mapping[str, str],
        refuse: Callable[[Observation], BaseException | None] | None = None,
        stall_threshold_s: float | None = 0.1,
        sample_workers: bool = True,
        forked: Callable[[], None] = lambda: None,
        clock: Callable[[], int] = originals.clock_ns,
    ) -> None:
        self._recorder = Recorder()
        self._watch = Watch(self._recorder)
        self._refuse = refuse
        self._forked = forked
        self._patches = PatchStack()
        self._imports = ImportHooks(self.broken)
        self._faults: dict[str, BaseException] = {}
        self._untold: list[str] = []
        reader = self.reader = FrameReader(FileSorter(root, packages))
        own = tuple(targets)
        base = base_table([target.name for target in own])
        self._loops = LoopProbe(self._watch, reader)
        self._lag = LagProbe(
            self._watch,
            reader,
            threshold_s=stall_threshold_s,
            workers=sample_workers,
            origin=self._loops.origin_of,
            guard=self,
            clock=clock,
        )
        files = FileCalls()
        self._offloads = OffloadProbe(
            self._watch,
            reader,
            offload_codes=offload_codes,
            origin=self._loops.origin,
            waited_at=self._lag.waited_at,
            files=files,
            noter=self._loops.noter,
            guard=self,
            clock=clock,
        )
        calls = CallReader(
            reader,
            name_code=name_code,
            quiet_functions=base.quiet_functions,
            bridged=self._offloads.is_bridged,
            idle=self._offloads.is_idle_pool,
            origin=self._loops.origin,
            clock=clock,
        )
        self._calls = CallProbe(
            self._watch,
            reader.sorter,
            calls.read,
            targets=(*own, *base.targets),
            audited=audited,
            harmless=base.harmless,
            heavy=offload_codes,
            files=files,
            is_soon_over=self._offloads.ends_other_pool,
            guard=self,
            clock=clock,
        )
        seen = self._recorder
        self._news = (
            *(seen.noted, seen.groups, seen.ready),
            *(self._offloads.used_pools, self._lag.over, self._faults, self._untold),
        )
        """What is there to drain, each of them the same for good."""
        self._drivers = DriverProbe(self._calls, self._watch, reader, drivers)

    def install(self) -> None:
        """Open all probes; what one replaced is put back if a later one cannot be opened."""
        patches = self._patches
        try:
            self._imports.install()
            patches.callback(self._imports.uninstall)
            self._loops.install(patches, self._imports)
            self._calls.install(patches, self._imports)
            self._drivers.install(patches, self._imports)
            self._offloads.install(patches, self._imports)
            self._lag.install(patches)
            if self._calls.needs_audit:
                self._listen(patches)
            _watch_forks()
            self._untold.extend(self.unavailable)
            _running.add(self)
        except BaseException:
            patches.close()
            raise

    def _listen(self, patches: PatchStack) -> None:
        """Hear the audit events of the interpreter."""
        if not _hooked:
            _hooked.append({})
            sys.addaudithook(_audit)
        patches.callback(_hooked.__setitem__, 0, _hooked[0])
        _hooked[0] = dict.fromkeys(self._calls.audited, self._calls.audit)

    def uninstall(self) -> None:
        """Put everything back."""
        self._patches.close()
        self._watch.close()
        _running.discard(self)
        for keeps in (self.reader, self._loops, self._offloads):
            keeps.forget()  # some of ours may live on under other names, and hold on to them

    def forget_threads(self) -> None:
        """Watch none of the threads: the process is a fork, and they stayed behind."""
        self._lag.after_fork()
        self._watch.clear()

    def rest(self) -> None:
        """End the threads of our own, before the process forks."""
        self._lag.before_fork()

    def go_on(self) -> None:
        """Begin them again."""
        self._lag.after_fork_here()
        self._forked()

    def begin(self, test: str) -> None:
        """Take note of the test that runs from now on; empty for none."""
        self._recorder.test = test

    note_consoles = staticmethod(waits.note_consoles)
    """Take note of what standard output and error are now: writing there is not watched."""

    @property
    def idle(self) -> bool:
        """Whether there is nothing to drain and no pool to tell of, as after most tests."""
        # Asked four times for each test.
        return not (any(self._news) or (self._watch.threads and self._watch.any_open()))

    def drain(self, test: str, when: Phase) -> list[Observation]:
        """Return what was seen since the last time, of one phase of one test, but for notes."""
        if self._watch.threads:
            self._watch.settle()
            self._offloads.settle(when)
            self._lag.settle()
        seen = list(self._recorder.drain(test, when, self.reader.with_source))
        seen.extend(self._health(test, when))
        return seen

    def notes(self) -> list[Noted]:
        """Return the notes since the last time; ask for them after `drain`."""
        return self._recorder.notes()

    def pools(self) -> list[PoolUse]:
        """Return how full each pool was since the last time."""
        return self._offloads.pools()

    def full_pools(self, pools: Iterable[PoolUse], test: str, when: Phase) -> list[Observation]:
        """Return an observation for each pool that made calls wait."""
        return [
            Observation(
                code="TRU303",
                target=use.name,
                primitive=use.name,
                site=self.reader.with_source(use.site) if use.site else CallSite("", 0),
                count=use.calls,
                total_ns=use.total_wait_ns,
                longest_ns=use.longest_wait_ns,
                test=test,
                when=when,
                permission=use.permission,
                pool=use.key,
            )
            for use in pools
            if use.capacity and use.peak_queued > 0 and use.longest_wait_ns >= QUEUE_WAIT_NS
        ]

    @property
    def unavailable(self) -> tuple[str, ...]:
        """What cannot be watched on this platform, in words."""
        lacking = []
        if not can_patch_types():
            lacking.append("methods of C types (files, sockets, locks, sqlite3)")
        if originals.thread_time_ns is None:
            lacking.append("waits of C drivers in threads")
        lacking.extend(self._lag.unavailable)
        return tuple(lacking)

    # The guard of the probes.

    def broken(self, probe: str, error: BaseException) -> None:
        """Take note of a fault of ours; reported once for each probe."""
        self._faults.setdefault(probe, error)

    def refuse(self, call: Call) -> BaseException | None:
        """Return what to raise at the call itself, if anything."""
        if self._refuse is None:
            return None
        return self._refuse(
            Observation(
                code=call.code,
                target=call.target,
                primitive=call.primitive,
                site=call.site,
                permission=call.permission,
                chain=call.chain,
            )
        )

    def _health(self, test: str, when: Phase) -> list[Observation]:
        if not (self._faults or self._untold or self._recorder.dropped):
            return []
        faults = {probe: self._faults.pop(probe) for probe in list(self._faults)}
        seen = [
            Observation(
                code="TRU903",
                target=probe,
                primitive=probe,
                site=_where(error),
                test=test,
                when=when,
                detail=f"{type(error).__name__}: {error}",
            )
            for probe, error in faults.items()
        ]
        lacking = list(self._untold)
        self._untold.clear()
        seen += [
            Observation(
                code="TRU904",
                target=what,
                primitive=what,
                site=CallSite("", 0),
                test=test,
                when=when,
            )
            for what in lacking
        ]
        if self._recorder.dropped:
            dropped, self._recorder.dropped = self._recorder.dropped, 0
            seen.append(
                Observation(
                    code="TRU905",
                    target="findings",
                    primitive="findings",
                    site=CallSite("", 0),
                    count=dropped,
                    test=test,
                    when=when,
                )
            )
        return seen


def _where(error: BaseException) -> CallSite:
    at = error.__traceback__
    while at is not None and at.tb_next is not None:
        at = at.tb_next
    if at is None:
        return CallSite("", 0)
    code = at.tb_frame.f_code
    return CallSite(code.co_filename, at.tb_lineno or 0, code.co_qualname, "", "pytest_truasync")
