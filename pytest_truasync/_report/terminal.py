"""What the terminal shows of a run: lines of styled text, made by pure functions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING

from pytest_truasync._model import CallSite, Permission, PoolUse, Verdict, Violation
from pytest_truasync._report.catalogue import explain, how_to_allow, rules_table
from pytest_truasync._report.text import (
    MARKUP,
    NARROWEST,
    Line,
    Segment,
    Style,
    clip,
    duration,
    hard,
    in_function,
    location,
    many,
    place_of,
    plain,
    wrapped,
    write,
)
from pytest_truasync._rules import RULES, is_health

if TYPE_CHECKING:
    from pytest_truasync._settings import Settings

__all__ = [
    "MARKUP",
    "Line",
    "Segment",
    "explain",
    "failure_text",
    "header",
    "plain",
    "rules_table",
    "summary",
    "total",
    "write",
]

_TESTS_SHOWN = 3
_CHAIN_SHOWN = 4
_PERMISSIONS_SHOWN = 10


def header(settings: Settings, version: str) -> str:
    """Return the line for the head of a run: what it is judged by."""
    parts = [f"mode {settings.mode}"]
    if len(settings.selected) < len(RULES):
        parts.append(f"{len(settings.selected)} of {len(RULES)} rules")
    if settings.strict_offload:
        parts.append("offload strict")
    if settings.allow:
        parts.append(f"{many(len(settings.allow), 'ini permission')}")
    parts.append(f"stalls over {duration(round(settings.stall_threshold_s * 1e9))}")
    parts += [f"{name}:{path.name}" for name, path in settings.reports]
    return f"truasync {version}: {', '.join(parts)}"


def failure_text(
    violations: Iterable[Violation], pools: Iterable[PoolUse] = (), width: int = 80
) -> str:
    """Return what a failed test shows, without a newline at the end.

    Args:
        violations: those of that test.
        pools: the pools that they name.
        width: columns; a place that is longer stays in one piece.
    """
    by_key = {pool.key: pool for pool in pools}
    found = list(violations)
    lines: list[Line] = [(Segment(_title(found)),)]
    for one in found:
        lines += _block(one, by_key, max(width, NARROWEST))
        if how := _how_to_allow(one):
            lines += wrapped(f"or allow it: {how}", max(width, NARROWEST))
    return plain(lines)


def summary(verdict: Verdict, verbosity: int = 0, width: int = 80) -> tuple[Line, ...]:
    """Return the section after the failures; empty when there is nothing to say.

    Args:
        verdict: what the run found, all tests merged.
        verbosity: as pytest counts it: below 0 one line for each violation, above 0 all of it.
        width: columns of the terminal.
    """
    width = max(width, NARROWEST)
    found = (*verdict.violations, *verdict.warnings)
    if verbosity < 0:
        return tuple(map(_compact, found))
    pools = {pool.key: pool for pool in verdict.pools}
    lines: list[Line] = []
    for one in found:
        lines += _block(one, pools, width)
        if verbosity > 0:
            lines += _chain(one, width)
        lines += _tests(one, verbosity, width)
    if ways := list(filter(None, map(_how_to_allow, verdict.violations))):
        lines += ((), *wrapped(f"to allow one: {ways[0]}", width, indent=0))
    lines += _pools(verdict, verbosity, width)
    lines += _permissions(verdict, verbosity, width)
    lines += _notes(verdict, verbosity, width)
    return tuple(lines[1:])  # each part begins with an empty line


def total(verdict: Verdict) -> Line:
    """Return the line that ends a run."""
    tests = {test for one in verdict.violations for test in one.tests}
    errors = many(len(verdict.violations), "violation") if verdict.violations else "no violations"
    if tests:
        errors += f" in {many(len(tests), 'test')}"
    parts = [errors]
    if verdict.warnings:
        parts.append(many(len(verdict.warnings), "warning"))
    if verdict.notes:
        parts.append(many(len(verdict.notes), "note"))
    if calls := sum(verdict.allowed.values()):
        parts.append(f"{many(calls, 'call')} allowed")
    style: Style = "error" if verdict.violations else "warning" if verdict.warnings else "good"
    return (Segment(f"truasync: {', '.join(parts)}", style),)


def _title(found: list[Violation]) -> str:
    """Return the first line, the one that pytest repeats in its short summary."""
    title = f"truasync: {many(len(found), 'violation')}"
    if not found:
        return title
    first = found[0]
    place = location(first.observation.site)
    at = f" at {place}" if place else ""
    return f"{title}, {'first ' if len(found) > 1 else ''}{first.rule.code}{at}"


# -- one violation ----------------------------------------------------------------------


def _block(one: Violation, pools: Mapping[str, PoolUse], width: int) -> Iterator[Line]:
    """Yield the lines on *one*: where, what, inside of what, what to write instead."""
    seen = one.observation
    yield ()
    yield from _head(one, width)
    yield from _source(seen.site, width)
    yield from wrapped(_sentence(one), width)
    sent = f"sent there by {seen.via}" if seen.via not in {"", seen.target} else ""
    inside = f"inside: {place_of(seen.inner)}" if seen.inner else ""
    if sent or inside:
        yield from wrapped("; ".join(filter(None, (sent, inside))), width)
    if seen.inner:
        yield from _source(seen.inner, width)
    if pool := pools.get(seen.pool):
        yield from wrapped(f"pool: {_pool(pool)}", width)
    if seen.site.package:
        yield from wrapped(_reached(one), width)
    if seen.detail:
        yield from wrapped(seen.detail, width)
    yield from wrapped(f"instead: {one.instead}", width, "advice")


def _head(one: Violation, width: int) -> Iterator[Line]:
    site = one.observation.site
    place = Segment(location(site), "place")
    function = in_function(site)
    rule = Segment(f"{one.rule.code} {one.rule.name}", one.level)
    level = Segment("" if one.level == "error" else f" ({one.level})")
    if not place.text:
        yield (rule, level)
    elif len(f"{place.text}{function}: {rule.text}{level.text}") <= width:
        yield (place, Segment(f"{function}: "), rule, level)
    else:
        yield (place,)
        yield (Segment(f" {function}: " if function else "  "), rule, level)


def _compact(one: Violation) -> Line:
    seen = one.observation
    place = location(seen.site)
    took = f", {duration(seen.total_ns)}" if seen.total_ns else ""
    count = f"{seen.target}, {many(seen.count, 'call')}{took}"
    where = f", {many(len(one.tests), 'test')}" if one.tests else ""
    if seen.inner:
        where += f", inside {location(seen.inner)}"
    return (
        Segment(place, "place"),
        Segment(": " if place else ""),
        Segment(f"{one.rule.code} {one.rule.name}", one.level),
        Segment(f": {seen.target if is_health(one.rule.code) else count + where}"),
    )


def _sentence(one: Violation) -> str:
    """Return what happened, how often, for how long, and in which call below."""
    seen = one.observation
    text = one.rule.summary.format(target=seen.target)
    if seen.count > 1 and not is_health(one.rule.code):
        text += f" {seen.count:,} times"
        if seen.total_ns:
            longest = f" ({duration(seen.longest_ns)} the longest)" if seen.longest_ns else ""
            text += f", for {duration(seen.total_ns)} in all{longest}"
    elif seen.total_ns:
        text += f" for {duration(seen.total_ns)}"
    if seen.primitive not in {"", seen.target}:
        text += f", in {seen.primitive}"
    return text


def _reached(one: Violation) -> str:
    seen = one.observation
    text = f"in package {seen.site.package!r}"
    if callers := [site for site in seen.chain if site != seen.site]:
        links = [hard(location(site)) for site in callers[-_CHAIN_SHOWN:]]
        text += f", reached by {' > '.join(links)}"
    return text


def _chain(one: Violation, width: int) -> Iterator[Line]:
    """Yield how the code got there: from the loop's callback, or the line that made the task."""
    seen = one.observation
    chain = [site for site in seen.chain if site.line]
    if len(chain) > 1:
        yield from wrapped("by way of:", width)
        for site in chain:
            yield (Segment(f"    {place_of(site)}"),)


def _source(site: CallSite, width: int) -> Iterator[Line]:
    if site.source:
        yield (Segment(clip(f"  > {site.source}", width), "source"),)


def _tests(one: Violation, verbosity: int, width: int) -> Iterator[Line]:
    """Yield the tests of *one*: all of them with -v, else the first few."""
    if not one.tests:
        return
    shown = one.tests if verbosity > 0 else one.tests[:_TESTS_SHOWN]
    text = f"in {many(len(one.tests), 'test')}: {', '.join(map(hard, shown))}"
    if more := len(one.tests) - len(shown):
        text += f", and {more} more (-v names them)"
    yield from wrapped(text, width)


def _how_to_allow(one: Violation) -> str:
    if is_health(one.rule.code):
        return ""
    return how_to_allow(one.rule.code).splitlines()[0]


# -- the rest of the summary ------------------------------------------------------------


def _pools(verdict: Verdict, verbosity: int, width: int) -> Iterator[Line]:
    """Yield the pools that no violation spoke of: with -v all of them, else the full ones."""
    told = {one.observation.pool for one in (*verdict.violations, *verdict.warnings)}
    pools = [
        pool
        for pool in verdict.pools
        if verbosity > 0 or (pool.peak_queued and pool.key not in told)
    ]
    if pools:
        yield ()
        yield (Segment("pools:"),)
    for pool in pools:
        place = f" at {hard(location(pool.site))}" if pool.site else ""
        yield from wrapped(f"{_pool(pool, place)}", width)


def _permissions(verdict: Verdict, verbosity: int, width: int) -> Iterator[Line]:
    """Yield what each permission let through."""
    used = [one for one in verdict.permissions if verbosity > 0 or verdict.allowed.get(one.key)]
    if not used:
        return
    yield ()
    calls = sum(verdict.allowed.values())
    yield (Segment(f"allowed: {many(calls, 'call')} by {many(len(used), 'permission')}"),)
    shown = used if verbosity > 0 else used[:_PERMISSIONS_SHOWN]
    for one in shown:
        yield from wrapped(_permission(one, verdict.allowed.get(one.key, 0)), width)
    if more := len(used) - len(shown):
        yield (Segment(f"  and {more} more (-v lists them)"),)


def _permission(one: Permission, calls: int) -> str:
    words = ", ".join(one.what) or "everything"
    where = f"{one.path_glob}{'::' if one.function else ''}{one.function}"
    granted = f"{one.origin}: {words} in {where}" if where else f"{hard(one.origin)}: {words}"
    reason = f" - {one.reason}" if one.reason else ""
    return f"{many(calls, 'call')} by {granted}{reason}"


def _notes(verdict: Verdict, verbosity: int, width: int) -> Iterator[Line]:
    """Yield one line in all, or with -v one for each note."""
    if not verdict.notes:
        return
    yield ()
    if verbosity > 0:
        yield (Segment("notes:", "note"),)
        for one in verdict.notes:
            head, *rest = _compact(one)
            text = hard(head.text) + "".join(segment.text for segment in rest)
            yield from wrapped(text, width)
        return
    by_rule = Counter(f"{one.rule.code} {one.rule.name}" for one in verdict.notes)
    kinds = ", ".join(f"{number} {rule}" for rule, number in sorted(by_rule.items()))
    text = f"{many(len(verdict.notes), 'note')}: {kinds} (-v lists them)"
    yield (Segment(clip(text, width), "note"),)


def _pool(pool: PoolUse, place: str = "") -> str:
    """Return how full *pool* was: `100 calls through 3 workers: 3 at a time, 97 queued, ...`."""
    through = f"through {many(pool.capacity, 'worker')}" if pool.capacity else "without a limit"
    text = f"{pool.name}{place}: {many(pool.calls, 'call')} {through}"
    text += f": {pool.peak_running} at a time"
    if pool.peak_queued:
        text += f", {pool.peak_queued:,} queued, {duration(pool.longest_wait_ns)} waited at most"
    return text
