"""The notes of a run: kept as they come in, and judged at its end.

A note fails no test, and a suite that works with files makes several in each. So what nothing
allows is not judged test by test.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Final, TypeAlias

from pytest_truasync._model import CallSite, Observation, Phase, PoolUse, Verdict, Violation
from pytest_truasync._verdict import Policy, judge_alone, with_violations

if TYPE_CHECKING:
    from pytest_truasync._detect.recorder import Note, Noted

_MOST_TALLIES: Final = 2_000

Held: TypeAlias = "list[tuple[Phase, list[Noted]]]"
"""Notes of one test, by phase."""

Source: TypeAlias = Callable[[CallSite], CallSite]
"""Gives a line its text."""


class _Tally:
    """How often a note was taken in all tests, and in which."""

    __slots__ = ("count", "longest_ns", "tests", "total_ns")

    def __init__(self) -> None:
        self.count = self.total_ns = self.longest_ns = 0
        self.tests: dict[str, Phase] = {}


class NoteBook:
    """Keeps the notes of all tests, and the use of pools in tests of which nothing else is said.

    Args:
        policy: what to judge by.
        source: gives a line its text.
        lasts: told of what is kept to the end of the run.
    """

    def __init__(
        self,
        policy: Policy,
        source: Source,
        lasts: Callable[[tuple[object, ...]], None] = lambda _: None,
    ) -> None:
        self._policy = policy
        self._source = source
        self._lasts = lasts
        self._judged = Verdict()
        self._tallies: dict[Note, _Tally] = {}
        self._pools: dict[str, PoolUse] = {}

    def keep(self, held: Held, test: str) -> None:
        """Take in the notes of one test."""
        tallies = self._tallies
        for when, some in held:
            for note, count, total_ns, longest_ns in some:
                tally = tallies.get(note)
                if tally is None:
                    tally = tallies[note] = _Tally()
                    self._lasts((tally,))
                tally.count += count
                tally.total_ns += total_ns
                if longest_ns > tally.longest_ns:
                    tally.longest_ns = longest_ns
                if tally.tests.setdefault(test, when) > when:
                    tally.tests[test] = when
        if len(tallies) >= _MOST_TALLIES:  # a long run stays small
            self._judge()

    def keep_pools(self, pools: Iterable[PoolUse]) -> None:
        """Take in how full pools were in one test."""
        for use in pools:
            known = self._pools.get(use.key)
            use = self._pools[use.key] = use if known is None else known.merge(use)
            self._lasts((use,))

    @property
    def pools(self) -> tuple[PoolUse, ...]:
        """The use of each pool."""
        return tuple(self._pools.values())

    def judge(self) -> tuple[Violation, ...]:
        """Return what the rules make of the notes."""
        self._judge()
        judged = self._judged
        return (*judged.violations, *judged.warnings, *judged.notes)

    def _judge(self) -> None:
        tallies, self._tallies = self._tallies, {}
        found = []
        for note, tally in tallies.items():
            test = min(tally.tests)
            noted = (note, tally.count, tally.total_ns, tally.longest_ns)
            seen = observation(noted, test, tally.tests[test], self._source)
            found.append(judge_alone(seen, tally.tests, self._policy))
        self._judged = with_violations(self._judged, filter(None, found))


def observation(noted: Noted, test: str, when: Phase, source: Source) -> Observation:
    """Return what was noted in one test, in one phase of it, as an observation."""
    note, count, total_ns, longest_ns = noted
    return note.told(source)._replace(
        test=test, when=when, count=count, total_ns=total_ns, longest_ns=longest_ns
    )
