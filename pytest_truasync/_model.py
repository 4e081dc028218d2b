"""The values that travel between the parts, and from a worker to the controller as JSON.

They are named tuples: to define a frozen dataclass takes six times as long, at each start of
pytest, and to make or change one three times as long, at each finding.
"""

from collections.abc import Callable, Iterable, Mapping
from contextvars import ContextVar
from types import MappingProxyType
from typing import Any, Final, Literal, NamedTuple, TypeAlias

Level: TypeAlias = Literal["error", "warning", "note"]
Phase: TypeAlias = Literal["setup", "call", "teardown"]
Json: TypeAlias = dict[str, Any]

NOTHING: Final[Mapping[str, Any]] = MappingProxyType({})

LATE: Final = "It went on when its test was over."
"""Said of what work did that outlived the test which had handed it over."""

PERMISSION: ContextVar[str] = ContextVar("truasync_permission", default="")
"""Keys of the `with allow(...)` blocks around the running code, outermost first, one a line."""


class Rule(NamedTuple):
    """One thing that the plugin reports, as a row of the catalogue."""

    code: str
    """`TRU` and three digits; never reused or renumbered."""
    name: str
    """The same in words, such as `blocking-sleep`; options and markers take either."""
    summary: str
    """What happened, in one clause; `{target}` stands for the call."""
    instead: str
    """What to write instead; a default for calls whose target brings no better one."""
    why: str
    """Why it hurts, in one or two sentences."""
    bad: str
    """Source that breaks the rule."""
    good: str
    """Source that does the same work and keeps it."""
    level: Level = "error"


class Target(NamedTuple):
    """A callable that is watched."""

    name: str
    """Public dotted name, such as `socket.socket.connect`."""
    code: str
    """Rule that such a call breaks on an event loop."""


class Driver(NamedTuple):
    """Calls of one type or module that wait in C, out of sight of Python."""

    module: str
    """Module that brings them; they are watched from its import on."""
    owner: str
    """Type in that module; empty for the module itself."""
    names: str
    """Attributes of the owner, with a space between."""
    code: str
    """Rule that such a call breaks on an event loop."""
    shown: str
    """Public name of the owner."""
    waits: Callable[[tuple[Any, ...], Mapping[str, Any]], bool] | None = None
    """Given the arguments of a call, tells whether it can wait; None where it always can."""
    steps: bool = False
    """The first argument is a generator, which yields where the call has to wait."""


class CallSite(NamedTuple):
    """A line of source."""

    path: str
    """Relative to rootdir with `/`, or absolute for a file elsewhere."""
    line: int
    function: str = ""
    """Qualified name of the function that holds the line."""
    source: str = ""
    """The line itself, stripped."""
    package: str | None = None
    """Installed package that the file belongs to; None for the user's own files."""

    def __str__(self) -> str:
        return f"{self.path}:{self.line}"


class Observation(NamedTuple):
    """What a probe saw at one call site in one test: one call or many alike."""

    code: str
    """Rule that speaks of it."""
    target: str
    """Outermost meaningful call by its public name, such as `requests.get`."""
    primitive: str
    """What waited below it, such as `socket.socket.connect`; may equal `target`."""
    site: CallSite
    inner: CallSite | None = None
    """Of an offload: the user's line in the worker that made the call."""
    via: str = ""
    """Of an offload: the call that took the work off the loop, such as `asyncio.to_thread`."""
    chain: tuple[CallSite, ...] = ()
    """Frames from the loop's callback down to the call, outermost first."""
    count: int = 1  # type: ignore[assignment]  # over a method of tuples
    total_ns: int = 0
    """Wall time that all the calls took, in nanoseconds; 0 where it was not measured."""
    longest_ns: int = 0
    test: str = ""
    """Node id of the test in which it happened."""
    when: Phase = "call"
    permission: str = ""
    """Key of the `with allow(...)` block around it, where there is one."""
    pool: str = ""
    """Key of the pool that ran it, where there is one."""
    detail: str = ""
    """One more sentence of evidence, where a probe has one."""

    @property
    def is_late(self) -> bool:
        """Whether its test was over, so that it could not fail for it."""
        return self.detail.endswith(LATE)

    @property
    def key(self) -> tuple[str, str, int, str, str]:
        """What makes two observations one group: rule, call site, target, function in the thread.

        A framework hands over what many functions of the user's do on one line.
        """
        inner = self.inner
        within = f"{inner.path}::{inner.function}" if inner is not None else ""
        return (self.code, self.site.path, self.site.line, self.target, within)


class Violation(NamedTuple):
    """Observations with one key, in all the tests where they were made."""

    rule: Rule
    level: Level
    observation: Observation
    """The first of them by test and phase, with the counts and times of all."""
    tests: tuple[str, ...] = ()
    instead: str = ""
    """What to write instead, for this target."""

    @property
    def sort_key(self) -> tuple[str, int, str, str, str]:
        """Order of reports: path, line, code, target, function in the thread."""
        code, path, line, target, within = self.observation.key
        return (path, line, code, target, within)


class Permission(NamedTuple):
    """What a marker, a `with` block or an ini line allows."""

    kind: Literal["marker", "with", "ini"]
    what: tuple[str, ...]
    """Codes, prefixes, rule names or dotted targets; empty allows everything."""
    reason: str
    origin: str
    """Where it stands: `path:line`, a node id, or `truasync_allow line n`."""
    path_glob: str = ""
    """Of an ini line: the files it speaks of."""
    function: str = ""
    """Of an ini line: the function it speaks of, where it names one."""
    site: CallSite | None = None
    """The line that grants it, where it is known; line 0 where only the file is."""

    @property
    def key(self) -> str:
        """Identity across processes."""
        return f"{self.kind} {self.origin} {' '.join(self.what)}".strip()


class PoolUse(NamedTuple):
    """How full one pool of threads was."""

    key: str
    """Identity of the pool within the run, such as `ThreadPoolExecutor at app/db.py:12`."""
    name: str
    """For people: `ThreadPoolExecutor(max_workers=3)`, `asyncio default executor`."""
    capacity: int
    """Workers it may have; 0 where it is unlimited."""
    calls: int = 0
    peak_running: int = 0
    peak_queued: int = 0
    longest_wait_ns: int = 0
    """Longest time that one call stood in the queue, in nanoseconds."""
    total_wait_ns: int = 0
    site: CallSite | None = None
    """The user's line that sent work first."""
    permission: str = ""
    """Keys of the `with` blocks that this line stood in."""

    def merge(self, other: "PoolUse") -> "PoolUse":
        """Return the use of the same pool in two tests as one, in whichever order they come."""
        first = min((self, other), key=_first_used)
        return PoolUse(
            self.key,
            min(self.name, other.name),
            max(self.capacity, other.capacity),
            self.calls + other.calls,
            max(self.peak_running, other.peak_running),
            max(self.peak_queued, other.peak_queued),
            max(self.longest_wait_ns, other.longest_wait_ns),
            self.total_wait_ns + other.total_wait_ns,
            first.site,
            first.permission,
        )


class Verdict(NamedTuple):
    """What judging made of the observations of one test, or of all tests merged."""

    violations: tuple[Violation, ...] = ()
    """Level error."""
    warnings: tuple[Violation, ...] = ()
    notes: tuple[Violation, ...] = ()
    allowed: Mapping[str, int] = NOTHING
    """Key of a permission → calls that it let through."""
    permissions: tuple[Permission, ...] = ()
    """The permissions that were in force."""
    pools: tuple[PoolUse, ...] = ()


class RunInfo(NamedTuple):
    """What a report says of the run that it is about."""

    plugin: str
    """Version of pytest-truasync."""
    python: str
    platform: str
    mode: str
    tests: int = 0
    """Tests that were watched."""
    times: Mapping[str, float] = NOTHING
    """Measured times, the unit in the name; nothing here is the same in two runs."""


def observation_to_json(seen: Observation) -> Json:
    """Return *seen* as plain JSON data."""
    data = seen._asdict()
    data["site"] = site_to_json(seen.site)
    data["inner"] = site_to_json(seen.inner) if seen.inner is not None else None
    data["chain"] = tuple(map(site_to_json, seen.chain))
    return data


def site_to_json(site: CallSite) -> Json:
    """Return *site* as plain JSON data."""
    return site._asdict()


def sited_to_json(one: Permission | PoolUse) -> Json:
    """Return what has a site, or none, as plain JSON data."""
    return {**one._asdict(), "site": site_to_json(one.site) if one.site is not None else None}


def observation_from_json(data: Json) -> Observation:
    """Return the observation that `observation_to_json` wrote."""
    inner = data["inner"]
    return Observation(
        **{
            **data,
            "site": CallSite(**data["site"]),
            "inner": CallSite(**inner) if inner else None,
            "chain": tuple(CallSite(**site) for site in data["chain"]),
        }
    )


def permission_from_json(data: Json) -> Permission:
    """Return the permission that `sited_to_json` wrote."""
    site = data["site"]
    return Permission(
        **{**data, "what": tuple(data["what"]), "site": CallSite(**site) if site else None}
    )


def pool_from_json(data: Json) -> PoolUse:
    """Return the pool use that `sited_to_json` wrote."""
    site = data["site"]
    return PoolUse(**{**data, "site": CallSite(**site) if site else None})


def merge_observations(seen: Iterable[Observation]) -> tuple[Observation, tuple[str, ...]]:
    """Return one group as its first observation with all counts and times, and its tests.

    Which one is first does not depend on the times, nor on the order of *seen*: the same run
    makes the same report with any number of workers.

    Args:
        seen: observations with one `key`, at least one.
    """
    group = list(seen)
    if len(group) == 1:
        return group[0], (group[0].test,) if group[0].test else ()
    test = min(one.test for one in group)
    first = [one for one in group if one.test == test]
    merged = (first[0] if len(first) == 1 else min(first, key=_evidence))._replace(
        count=sum(one.count for one in group),
        total_ns=sum(one.total_ns for one in group),
        longest_ns=max(one.longest_ns for one in group),
    )
    return merged, tuple(sorted({one.test for one in group if one.test}))


def _evidence(one: Observation) -> tuple[object, ...]:
    """Order the observations of a group by all that they hold but counts and times."""
    return (
        one.test,
        one.when,
        one.primitive,
        one.via,
        one.pool,
        one.detail,
        one.permission,
        _words(one.site),
        _words(one.inner),
        tuple(map(_words, one.chain)),
    )


def _first_used(use: PoolUse) -> tuple[object, ...]:
    """Order the uses of a pool: those with a site first."""
    return (use.site is None, _words(use.site), use.permission)


def _words(site: CallSite | None) -> tuple[str, int, str, str, str]:
    """Order sites, also a missing one, or one without a package."""
    if site is None:
        return ("", 0, "", "", "")
    return (site.path, site.line, site.function, site.source, site.package or "")
