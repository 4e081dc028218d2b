"""From a wait to the call of a user's line that it is part of: its line, public name and rule."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from types import FrameType
from typing import Any, Final

from pytest_truasync._detect import originals, waits
from pytest_truasync._detect.callsite import (
    CALLBACK_RUNNERS,
    CO_ASYNC,
    CO_GENERATOR,
    FrameReader,
    Stack,
    is_nameless,
)
from pytest_truasync._detect.files import Role
from pytest_truasync._detect.marks import mark_of
from pytest_truasync._detect.recorder import Call, Place, ThreadWatch
from pytest_truasync._model import PERMISSION, CallSite, Target

_FILE_CODES: Final = frozenset({"TRU230", "TRU231", "TRU232", "TRU240", "TRU250"})
_LOCK_CODES: Final = frozenset({"TRU260", "TRU261", "TRU262", "TRU263"})
_LAZY_LOAD: Final = "TRU290"
_START: Final = threading.Thread.start.__code__
_THREADING: Final = _START.co_filename

_RANKS: Final[Mapping[str, int]] = {
    "TRU290": 0,
    "TRU240": 1,
    "TRU230": 2,
    "TRU231": 3,
    "TRU260": 4,
    "TRU272": 5,
    "TRU271": 6,
    "TRU270": 7,
}
_TOP_RANK: Final = 9
"""Which of the waits inside one call names it: the highest."""

# Functions that wait for a moment by design of the standard library, inside calls that do not
# block: (end of the file's path, name).
_QUIET_FUNCTIONS: Final[Mapping[str, tuple[str, ...]]] = {
    "start": ("threading.py",),
    "submit": ("concurrent/futures/thread.py", "concurrent/futures/process.py"),
    "shutdown_default_executor": ("asyncio/base_events.py",),
}


class CallReader:
    """Tells which call a wait belongs to.

    Args:
        reader: reads the user's line off a stack.
        name_code: names of the functions that a call went through, outermost first, and the
            target's own rule → the rule that speaks of the call.
        quiet_functions: function name → ends of the paths of files in which it is quiet.
        bridged: tells of a worker's frame that it waits for what it sent to the loop.
        idle: tells of a frame that it ends a pool of threads which have nothing to do.
        origin: the user's line that made the running task.
        clock: nanoseconds.
    """

    def __init__(
        self,
        reader: FrameReader,
        *,
        name_code: Callable[[Iterable[str], str], str],
        quiet_functions: Mapping[str, tuple[str, ...]],
        bridged: Callable[[FrameType], bool],
        idle: Callable[[FrameType], bool],
        origin: Callable[[], CallSite | None],
        clock: Callable[[], int] = originals.clock_ns,
    ) -> None:
        self._reader = reader
        self._name_code = name_code
        self._quiet = {
            name: (*quiet_functions.get(name, ()), *_QUIET_FUNCTIONS.get(name, ()))
            for name in (*quiet_functions, *_QUIET_FUNCTIONS)
        }
        self._bridged = bridged
        self._idle = idle
        self._origin = origin
        self._clock = clock
        self._sites: dict[tuple[Any, ...], tuple[CallSite, str, str, bool]] = {}

    def read(
        self,
        watch: ThreadWatch,
        target: Target,
        code: bool | str,
        args: tuple[Any, ...],
        frame: FrameType,
    ) -> Call | None:
        """Return the call on record that a wait is part of, or None where it is nobody's to change.

        Args:
            watch: the thread.
            target: what waits.
            code: the rule that its predicate named, or True for the target's own.
            args: of the target.
            frame: what called the target.
        """
        own_code = code if isinstance(code, str) else target.code
        if own_code in _LOCK_CODES and watch.work is not None and starts_thread(frame):
            return None  # the work has waited for it, and no more is to be said
        stack = self._reader.read(frame, on_loop=watch.work is None)
        kind = self._sort(stack, own_code, args, watch.work)
        if kind is None:
            if stack.nearest is Role.LOOP:
                watch.finish()  # the loop itself: the callback that made the last call is over
            return None
        names = stack.between
        at = stack.user
        origin = self._origin() if at is None and not stack.in_worker else None
        if at is None and stack.library >= 0 and not stack.in_worker:
            at, names = names[stack.library], names[: stack.library]
        elif at is None:
            at = names[-1] if names and not stack.in_worker else frame
        first = names[-1] if names else None
        entry = mark_of(first) if first is not None else None
        # The next frame may stand in the same memory; a runner's frame is one for all callbacks.
        running = at.f_code.co_name in CALLBACK_RUNNERS and stack.nearest is Role.LOOP
        place = None if running else (id(at), at.f_code, at.f_lasti)
        known = watch.call
        rank = _RANKS.get(kind, _TOP_RANK)
        if known is not None and _same_call(known, entry, place, target):
            known.running = True
            known.brief = False
            if rank <= known.rank:
                return known
            known.rank = rank
            self._name(known, target, own_code, kind, names, at, origin)
            return known
        watch.finish()
        call = watch.call = Call(
            code=kind,
            target=target.name,
            site=_NOWHERE,
            permission=PERMISSION.get(),
            entry=entry,
            steady=first is None or not first.f_code.co_flags & (CO_ASYNC | CO_GENERATOR),
            place=place,
            rank=rank,
            started_ns=self._clock(),
        )
        self._name(call, target, own_code, kind, names, at, origin)
        return call

    def _name(
        self,
        call: Call,
        target: Target,
        own_code: str,
        kind: str,
        names: list[FrameType],
        at: FrameType,
        origin: CallSite | None,
    ) -> None:
        """Give a call its line, its public name and its rule; found once for each place."""
        code = at.f_code
        # Equal code in two files is one key of a dict, so the file's name stands beside it.
        key = (target.name, kind, code.co_filename, code, at.f_lasti, _code_key(names))
        found = self._sites.get(key)
        if found is None:
            reader = self._reader
            public = [reader.public_name(frame) for frame in reversed(names)]
            rule = named = kind
            if kind != _LAZY_LOAD:
                named = self._name_code(public, own_code)
                rule = _refine(named, own_code)
            name = next(filter(None, map(_spoken, reversed(names), public)), target.name)
            found = (reader.site(at), name, rule, named == rule)
            if len(self._sites) < 50_000:
                self._sites[key] = found
        call.site, call.target, call.code, call.settled = found
        call.primitive = target.name
        if not call.chain:
            call.chain = self._reader.known_chain(at)
            if origin is not None:
                call.chain = (origin, *call.chain)
        if origin is not None:
            call.site = origin

    def _sort(self, stack: Stack, code: str, args: tuple[Any, ...], work: Any) -> str | None:
        """Return the rule that a call breaks, or None where it is not the user's to change."""
        nearest = stack.nearest
        if nearest is Role.QUIET or nearest is Role.IMPORT:
            return None
        if nearest is Role.LOOP and (
            stack.between or stack.caller.f_code.co_name not in CALLBACK_RUNNERS
        ):
            return None  # the loop's own; a callback that is the target itself is not
        if code in _LOCK_CODES and any(map(self._idle, stack.between)):
            return None
        if work is not None and code in _LOCK_CODES and self._waits_for_loop(stack, code, work):
            return None
        for frame in stack.between:
            ends = self._quiet.get(frame.f_code.co_name)
            if ends is not None and frame.f_code.co_filename.replace("\\", "/").endswith(ends):
                return None
        if code in _FILE_CODES:
            if stack.importing:
                return None
            if stack.lazy:
                return _LAZY_LOAD
            given = args[0] if args else ""
            path = waits.path_text(given) or waits.path_text(getattr(given, "name", ""))
            sorter = self._reader.sorter
            if path and sorter.is_time_zone(path):
                return _LAZY_LOAD
            by_library = bool(path) and stack.library >= 0 and nearest is Role.LIBRARY
            if by_library and (sorter.is_installed(path) or sorter.is_settings(path)):
                return _LAZY_LOAD
        elif stack.importing:
            return _LAZY_LOAD
        return code

    def _waits_for_loop(self, stack: Stack, code: str, work: Any) -> bool:
        """Tell whether a worker waits for what it gave the loop to do, by a known way or its own.

        Its own is a callback handed over, and a future or an event that it will set.
        """
        if stack.bridge or any(map(self._bridged, stack.between)):
            return True
        return bool(work.answered) and not (code == "TRU260" and is_mutex(stack.caller))


_NOWHERE: Final = CallSite("", 0)


def _code_key(names: list[FrameType]) -> tuple[str, Any] | None:
    return (names[-1].f_code.co_filename, names[-1].f_code) if names else None


def _same_call(known: Call, entry: object, place: Place | None, target: Target) -> bool:
    if entry is not None or known.entry is not None:
        return known.entry == entry
    # The line calls C code that waits in two ways, such as `input()`: one call. The same wait
    # again is a loop around it.
    return place is not None and known.place == place and known.primitive != target.name


def _refine(named: str, own: str) -> str:
    """A library's rule speaks of its network; a file that it reads is a file."""
    if own in _FILE_CODES and named not in _FILE_CODES and named[:5] not in ("TRU22", "TRU25"):
        return own
    if own == "TRU281" and named == "TRU280":
        return own
    return named


def _spoken(frame: FrameType, name: str) -> str:
    """Return *name*, or nothing where it is that of a decorator's wrapper, not of the call."""
    return "" if is_nameless(frame.f_code, name) else name


def starts_thread(frame: FrameType) -> bool:
    """Tell whether *frame* waits for a new thread to begin, which takes a moment."""
    at: FrameType | None = frame
    while at is not None and at.f_code.co_filename == _THREADING:
        if at.f_code is _START:
            return True
        at = at.f_back
    return False


def is_mutex(frame: FrameType) -> bool:
    """Tell a lock that guards something from one that is waited on for an event."""
    return not (
        frame.f_code.co_filename.endswith("threading.py")
        and frame.f_code.co_name in ("wait", "_wait_for_tstate_lock", "join", "acquire")
    )
