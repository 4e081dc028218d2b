"""Probe: blocking calls in watched threads, by wrapped callables and by audit events."""

from __future__ import annotations

import select
from collections.abc import Callable, Container, Iterable, Mapping
from functools import partial
from types import (
    BuiltinFunctionType,
    FrameType,
    FunctionType,
    MethodDescriptorType,
    ModuleType,
    WrapperDescriptorType,
)
from typing import Any, Final, Protocol

from pytest_truasync._detect import native, originals, waits
from pytest_truasync._detect.attempts import ACQUIRES, ATTEMPTS, FOREVER, LOCKS, Attempt
from pytest_truasync._detect.callread import is_mutex, starts_thread
from pytest_truasync._detect.files import FileSorter, Role
from pytest_truasync._detect.filework import FileCalls
from pytest_truasync._detect.imports import ImportHooks, Then
from pytest_truasync._detect.patches import PatchStack, builtin_twin, can_patch_types, dress
from pytest_truasync._detect.recorder import Call, ThreadWatch, Timed, Watch
from pytest_truasync._detect.standins import stand_in
from pytest_truasync._detect.steps import asks_for_events
from pytest_truasync._model import Target

LOCK_GRACE_NS: Final = 10_000_000
"""A lock that was got sooner than this was only passed on between threads: the holder may have
lost the GIL for a moment. Two switch intervals."""

_QUIET: Final = Role.QUIET  # an attribute of an enumeration is looked up anew each time
_IMPORT: Final = Role.IMPORT

_NATIVE: Final = frozenset({BuiltinFunctionType, MethodDescriptorType, WrapperDescriptorType})
_MADE: Final[Mapping[str, str]] = {"io.FileIO.__init__": "open", "mmap.mmap.__init__": "mmap.mmap"}
"""Constructors, below every way to the call that people know."""
_DEFAULTS: Final = (
    "tempfile._TemporaryFileCloser.cleanup",
    "tempfile._TemporaryFileCloser.close",
    "sched.scheduler.__init__",
    "multiprocessing.connection.Connection._send",
    "multiprocessing.connection.Connection._recv",
)
"""Functions of the standard library that hold a target as the default of an argument."""
_ATTRIBUTES: Final = (
    "glob._StringGlobber.lstat",
    "glob._StringGlobber.scandir",
    "selectors.SelectSelector._select",
)
"""Classes of the standard library that hold a target as an attribute."""

_WARNING: Final = ("sqlite3.",)
"""Targets, by how their names start, that warn of how they are called."""
_OWNERS: Final[Mapping[str, tuple[str, ...]]] = {
    # where the callables of a target's owner stand: modules or types
    "os": ("os", "posix"),  # pickle looks for a function in the module that it names
    "threading.Lock": ("_thread.LockType",),
    "threading.RLock": ("_thread.RLock",),
    "queue.SimpleQueue": ("_queue.SimpleQueue",),
    "io.FileIO": ("_io.FileIO",),
    "socket.socket": ("_socket.socket",),
    "ssl.SSLSocket": ("_ssl._SSLSocket",),
    "socket": ("_socket", "socket"),
    "signal": ("_signal", "signal"),
    "sqlite3": ("sqlite3", "sqlite3.dbapi2"),
}


Observe = Callable[
    [Target, Callable[..., Any], waits.Predicate | None, tuple[Any, ...], dict[str, Any]], Any
]


class Guard(Protocol):
    """What the probe tells and asks while a call is made."""

    def broken(self, probe: str, error: BaseException) -> None:
        """Report a fault of ours; the probe is off from now on."""

    def refuse(self, call: Call) -> BaseException | None:
        """Return what to raise at the call itself, if anything."""


class CallProbe:
    """Watches the targets in the threads of *watch*.

    Args:
        watch: the threads that run a loop or offloaded work.
        sorter: tells whose module may hold a target by a name of its own.
        read: see `CallReader.read`.
        targets: rows of callables to wrap.
        audited: audit event → target.
        harmless: target → what tells of the arguments of a call that it cannot block.
        heavy: rules of calls that are at fault in an offload, too.
        files: hears of what stands in for the others.
        is_soon_over: whether what a frame waits for is over in a moment, or else is a wait.
        guard: hears of faults.
        clock: nanoseconds.
    """

    def __init__(
        self,
        watch: Watch,
        sorter: FileSorter,
        read: Callable[..., Call | None],
        *,
        targets: Iterable[Target],
        audited: Mapping[str, Target],
        harmless: Mapping[str, Callable[..., bool]],
        heavy: Container[str],
        files: FileCalls,
        is_soon_over: Callable[[FrameType], bool] = lambda _: False,
        guard: Guard,
        clock: Callable[[], int] = originals.clock_ns,
    ) -> None:
        self._heavy = heavy
        self._files = files
        self._is_soon_over = is_soon_over
        self._watch = watch
        self._sorter = sorter
        self._read = read
        self._targets = tuple(targets)
        self._audited = dict(audited)
        self._harmless = dict(harmless)
        self._guard = guard
        self._clock = clock
        self._off: set[str] = set()
        self._twins: dict[int, Any] = {}
        self._ours: set[int] = set()
        self._aliased = False

    # Installing.

    def install(self, patches: PatchStack, imports: ImportHooks) -> None:
        """Wrap every target that this interpreter has; those of a module not yet imported, then."""
        for target in self._targets:
            owner, _, _ = target.name.rpartition(".")
            for place in _OWNERS.get(owner, (owner,)):
                module = _module_of(place)
                if module is not None:
                    imports.when(module, self._replacing(patches, target, place))
        self._rebind(patches)

    def _replacing(self, patches: PatchStack, target: Target, place: str) -> Then:
        return lambda _: self._replace(patches, target, place)

    def _replace(self, patches: PatchStack, target: Target, place: str) -> None:
        owner = _locate(place)
        name = target.name.rpartition(".")[2]
        original = vars(owner).get(name) if owner is not None else None
        if original is None and owner is not None and target.name in _MADE:
            original = _make_no_more
        if owner is None or original is None or id(original) in self._ours:
            return
        if isinstance(owner, type):
            if can_patch_types():
                self._replace_method(patches, owner, name, original, target)
            return
        if not isinstance(original, BuiltinFunctionType):
            return  # Python code, seen by what it calls
        twin = self._twins.get(id(original))
        if twin is None:
            twin = builtin_twin(original, self._wrap(target, original))
            self._twins[id(original)] = twin
            if self._is_file_call(target):
                self._files.add(twin, target.name)
            self._join_sets(patches, original, twin)
        self._put(patches, owner, name, twin)

    def _replace_method(
        self, patches: PatchStack, owner: type, name: str, original: Any, target: Target
    ) -> None:
        """Replace a method, also where a class below has it by itself, as pytest-socket does."""
        new = dress(original, self._wrap(target, original))
        self._twins[id(original)] = new
        if self._is_file_call(target):
            self._files.add(new, target.name)
        patches.callback(_let_go, owner, name, new, original)
        self._put(patches, owner, name, new)
        for below in _subclasses(owner):
            if vars(below).get(name) is original:
                self._put(patches, below, name, new)

    def _put(self, patches: PatchStack, owner: type | ModuleType, name: str, new: Any) -> None:
        self._ours.add(id(new))
        patches.replace(owner, name, new)

    @staticmethod
    def _join_sets(patches: PatchStack, original: Any, twin: Any) -> None:
        """`os.stat in os.supports_fd` and the like stay true."""
        import os

        for name in ("supports_fd", "supports_dir_fd", "supports_follow_symlinks"):
            known = getattr(os, name, None)
            if isinstance(known, set) and original in known:
                known.add(twin)
                patches.callback(known.discard, twin)

    def _rebind(self, patches: PatchStack) -> None:
        """Replace targets that a module of the user's or a library's has by name already."""
        twins = self._twins
        modules = []
        for module in list(originals.modules.values()):
            names = getattr(module, "__dict__", None)
            file = getattr(module, "__file__", None)
            if type(names) is dict and isinstance(file, str):
                modules.append((module, names, file))
                if self._sorter.is_below_root(file) and any(map(self._holds, [*names.values()])):
                    self._aliased = True
        for index in _holders([names for _, names, _ in modules], twins):
            module, names, file = modules[index]
            if self._sorter.roles[file] in (Role.USER, Role.LIBRARY):
                for alias, value in list(names.items()):
                    if type(value) in _NATIVE and (twin := twins.get(id(value))) is not None:
                        self._put(patches, module, alias, twin)
        for name in _DEFAULTS:
            self._rebind_defaults(patches, name)
        for name in _ATTRIBUTES:
            self._rebind_attribute(patches, name)

    def _rebind_defaults(self, patches: PatchStack, name: str) -> None:
        owner, _, method = name.rpartition(".")
        function = getattr(_locate(owner), method, None)
        given = getattr(function, "__defaults__", None)
        if isinstance(function, FunctionType) and given is not None:
            function.__defaults__ = tuple(self._twins.get(id(one), one) for one in given)
            patches.callback(setattr, function, "__defaults__", given)

    def _rebind_attribute(self, patches: PatchStack, name: str) -> None:
        place, _, attribute = name.rpartition(".")
        owner = _locate(place)
        value = vars(owner).get(attribute) if owner is not None else None
        twin = self._twins.get(id(getattr(value, "__func__", value)))
        if owner is not None and twin is not None:
            new = staticmethod(twin) if isinstance(value, staticmethod) else twin
            patches.replace(owner, attribute, new)

    def _holds(self, value: object) -> bool:
        """Tell whether a class or function has a target where it cannot be replaced."""
        if isinstance(value, FunctionType):
            given = (*(value.__defaults__ or ()), *(value.__kwdefaults__ or {}).values())
            return any(type(one) in _NATIVE and id(one) in self._twins for one in given)
        if isinstance(value, type):
            return any(
                id(one) in self._twins if type(one) in _NATIVE else self._holds(one)
                for one in list(vars(value).values())
                if type(one) in _NATIVE or type(one) is FunctionType
            )
        return False

    @property
    def needs_audit(self) -> bool:
        """Whether calls can go round what was replaced; an audit hook slows the interpreter down.

        Hundreds of events are raised in a test, for one that matters.
        """
        return self._aliased or not can_patch_types()

    def _wrap(self, target: Target, original: Callable[..., Any]) -> Callable[..., Any]:
        """Return what stands in for *original*: one frame more, on a watched thread and off it."""
        name = target.name
        if name in _MADE:
            return self._wrap_making(target._replace(name=_MADE[name]), original)
        if name == "select.epoll.poll":
            return self._wrap_polling(target, original)
        if name.startswith(_WARNING):
            return self._wrap_warning(target, original)
        if name in waits.ON_SOCKETS:
            return self._wrap_socket(target, original)
        attempt = ATTEMPTS.get(name)
        if attempt is None:
            return self._wrap_call(target, original)
        kind = LOCKS.get(name.rpartition(".")[0])
        if kind is None:
            return self._wrap_trying(target, original, attempt(original))
        return self._wrap_lock(target, original, attempt(original), ACQUIRES[kind])

    # A gate of `_native.c` may stand before each, and repeats how its first lines let calls pass.
    #
    # Each of these lets go of what was only passed on when the call raises: the traceback keeps its
    # frame, and with it all that the frame holds. To hand on no names makes one dictionary less.

    def _wrap_call(self, target: Target, original: Callable[..., Any]) -> Callable[..., Any]:
        threads = self._watch.threads
        get_ident, getframe = originals.get_ident, originals.getframe
        name, clock, enter = target.name, self._clock, self._enter
        predicate, light = self._predicate(target), self._is_light(target)
        role_of = self._sorter.roles.get  # of files that were sorted before

        def wrapper(*args: Any, **kwargs: Any) -> Any:
            try:
                if not threads or (watch := threads.get(get_ident())) is None or watch.busy:
                    return original(*args, **kwargs) if kwargs else original(*args)
                if watch.work is None:
                    role = role_of(getframe(1).f_code.co_filename)
                    if role is _QUIET or role is _IMPORT:  # asyncio's debug mode reads each line
                        return original(*args, **kwargs) if kwargs else original(*args)
                watch.busy = True
                call, started = None, 0
                try:
                    try:
                        code = predicate is None or predicate(args, kwargs)
                    except Exception:  # noqa: BLE001 - wrong arguments: the call itself says so
                        code = False
                    if not code:
                        watch.busy = False  # what it calls of the user's is watched
                    else:
                        work = watch.work if light else None
                        if work is not None and (code is True or waits.is_there(args)):
                            call = work
                            work.touch(name)
                            watch.busy = False  # what it calls of the user's is watched
                        else:
                            call = enter(watch, target, code, args, getframe(1)) or watch.work
                        started = clock()
                    return original(*args, **kwargs)
                finally:
                    if call is not None:
                        call.add(name, started, clock())
                    watch.busy = False
            except BaseException:
                __tracebackhide__ = True
                del args, kwargs
                raise

        roles = (self._sorter.roles, _QUIET, _IMPORT)
        if light and (predicate is None or predicate is waits.path_waits):
            asks = (name, clock, predicate is not None)
            return native.gated("light", threads, original, wrapper, *roles, *asks)
        return native.gated("call", threads, original, wrapper, *roles)

    def _wrap_warning(self, target: Target, original: Callable[..., Any]) -> Callable[..., Any]:
        """The call warns, and names the line that called it."""
        threads, observe = self._watch.threads, self._observe
        get_ident, getframe = originals.get_ident, originals.getframe
        predicate = self._predicate(target)

        def wrapper(*args: Any, **kwargs: Any) -> Any:
            try:
                run = partial(stand_in(getframe(1)), original)
                if not threads or get_ident() not in threads:
                    return run(*args, **kwargs)
                return observe(target, run, predicate, args, kwargs)
            except BaseException:
                __tracebackhide__ = True
                del args, kwargs
                raise

        return wrapper

    def _wrap_polling(self, target: Target, original: Callable[..., Any]) -> Callable[..., Any]:
        """What asyncio and trio call in each round: the loop's own calls are let through."""
        threads, observe = self._watch.threads, self._observe
        clock, come_round = self._clock, self._watch.come_round
        get_ident, getframe = originals.get_ident, originals.getframe
        predicate = self._predicate(target)

        def wrapper(poller: Any, /, timeout: Any = None, maxevents: Any = -1) -> Any:
            try:
                if not threads or (watch := threads.get(get_ident())) is None:
                    return original(poller, timeout, maxevents)
                if timeout == 0:  # as each round of a busy loop asks
                    now = clock()
                    if now >= watch.renew_ns and asks_for_events(getframe(1), watch.poller):
                        come_round(watch, now)
                    return original(poller, timeout, maxevents)
                if not asks_for_events(getframe(1), watch.poller):
                    return observe(target, original, predicate, (poller, timeout, maxevents), {})
                if watch.call is not None:
                    watch.finish()  # the callback that made it is over
                watch.parked = True
                try:
                    return original(poller, timeout, maxevents)
                finally:
                    watch.parked = False
                    if (now := clock()) >= watch.renew_ns:
                        come_round(watch, now)
            except BaseException:
                __tracebackhide__ = True
                del poller, timeout, maxevents
                raise

        return native.gated("poll", threads, original, wrapper, clock, come_round)

    def _wrap_making(self, target: Target, original: Callable[..., Any]) -> Callable[..., Any]:
        """The call is `__init__` of a type."""
        threads, observe = self._watch.threads, self._observe
        get_ident, getframe = originals.get_ident, originals.getframe
        predicate = self._predicate(target)

        def wrapper(self: Any, *args: Any, **kwargs: Any) -> Any:
            try:
                make = original
                if args and type(args[0]) is bool:  # of a bool as a descriptor it warns
                    make = partial(stand_in(getframe(1)), original)
                if not threads or get_ident() not in threads:
                    return make(self, *args, **kwargs)
                return observe(target, partial(make, self), predicate, args, kwargs)
            except BaseException:
                __tracebackhide__ = True
                del self, args, kwargs
                raise

        return wrapper

    def _wrap_trying(
        self, target: Target, original: Callable[..., Any], attempt: Attempt
    ) -> Callable[..., Any]:
        """What can be had at once is not waited for."""
        threads, get_ident = self._watch.threads, originals.get_ident
        observe_attempt = self._observe_attempt

        def wrapper(*args: Any, **kwargs: Any) -> Any:
            try:
                if not threads or get_ident() not in threads:
                    return original(*args, **kwargs)
                return observe_attempt(target, original, attempt, args, kwargs)
            except BaseException:
                __tracebackhide__ = True
                del args, kwargs
                raise

        return native.gated("plain", threads, original, wrapper)

    # Locks come first in number, and most are free: that is tried at once, on any thread.

    def _wrap_lock(
        self,
        target: Target,
        original: Callable[..., Any],
        attempt: Attempt,
        acquire: Callable[..., bool],
    ) -> Callable[..., Any]:
        threads, get_ident = self._watch.threads, originals.get_ident
        observe_attempt = self._observe_attempt

        def enter(lock: Any, /, *args: Any, **kwargs: Any) -> Any:
            try:
                if not (args or kwargs) and acquire(lock, False):
                    return True
                if not threads or get_ident() not in threads:
                    return original(lock, *args, **kwargs)
                return observe_attempt(target, original, attempt, (lock, *args), kwargs)
            except BaseException:
                __tracebackhide__ = True
                del lock, args, kwargs
                raise

        def wrapper(lock: Any, /, blocking: Any = True, timeout: Any = FOREVER) -> Any:
            try:
                if timeout is FOREVER:
                    if blocking is True:
                        if acquire(lock, False):
                            return True
                    elif blocking is False:
                        return acquire(lock, False)
                if not threads or get_ident() not in threads:
                    return original(lock, blocking, timeout)
                return observe_attempt(target, original, attempt, (lock, blocking, timeout), {})
            except BaseException:
                __tracebackhide__ = True
                del lock, blocking, timeout
                raise

        chosen = enter if target.name.endswith("__enter__") else wrapper
        return native.gated("lock", threads, original, chosen, acquire)

    def _wrap_socket(self, target: Target, original: Callable[..., Any]) -> Callable[..., Any]:
        """What the loop itself calls most, on sockets that never wait."""
        threads, observe = self._watch.threads, self._observe
        get_ident, gettimeout = originals.get_ident, waits.gettimeout
        predicate = self._predicate(target)

        def wrapper(*args: Any, **kwargs: Any) -> Any:
            try:
                if not threads or get_ident() not in threads:
                    return original(*args, **kwargs) if kwargs else original(*args)
                try:
                    at_once = gettimeout(args[0]) == 0
                except (TypeError, IndexError):  # no socket: the call itself says so
                    at_once = True
                if at_once:
                    return original(*args, **kwargs) if kwargs else original(*args)
                return observe(target, original, predicate, args, kwargs)
            except BaseException:
                __tracebackhide__ = True
                del args, kwargs
                raise

        return native.gated("socket", threads, original, wrapper, gettimeout)

    def _is_light(self, target: Target) -> bool:
        """Tell whether a call is what threads are for, so that in a worker only its name counts."""
        return target.code not in self._heavy

    def _is_file_call(self, target: Target) -> bool:
        """Tell whether a call has no other end to wait for, such as that of a pipe."""
        reads = waits.PREDICATES.get(target.name)
        return self._is_light(target) and reads not in (waits.os_reads, waits.raw_reads)

    def _predicate(self, target: Target) -> waits.Predicate | None:
        harmless = self._harmless.get(target.name)
        if harmless is None:
            return waits.PREDICATES.get(target.name)
        return lambda args, kwargs: not harmless(*args, **kwargs)

    # Watching.

    @property
    def audited(self) -> Iterable[str]:
        """Audit events that tell of a call."""
        return self._audited

    @property
    def observe(self) -> Observe:
        """What makes a call and records it, for a function that stands in for the callable."""
        return self._observe

    def _observe(
        self,
        target: Target,
        original: Callable[..., Any],
        predicate: waits.Predicate | None,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> Any:
        __tracebackhide__ = True
        watch = self._watch.threads.get(originals.get_ident())
        if watch is None or watch.busy:
            return original(*args, **kwargs)
        watch.busy = True
        call: Timed | None = None
        started = 0
        try:
            try:
                code = predicate is None or predicate(args, kwargs)
            except Exception:  # noqa: BLE001 - wrong arguments: the call itself says so
                code = False
            if not code:
                watch.busy = False  # what it calls of the user's is watched
            else:
                light = watch.work is not None and self._is_light(target)
                if light and (code is True or waits.is_there(args)):
                    call = watch.work
                    watch.work.touch(target.name)
                    watch.busy = False  # what it calls of the user's is watched
                else:
                    frame = originals.getframe(2)
                    call = self._enter(watch, target, code, args, frame) or watch.work
                started = self._clock()
            return original(*args, **kwargs)
        except BaseException:
            del args, kwargs
            raise
        finally:
            if call is not None:
                call.add(target.name, started, self._clock())
            watch.busy = False

    def _observe_attempt(
        self,
        target: Target,
        original: Callable[..., Any],
        attempt: Attempt,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> Any:
        """Try without waiting first; only what could not be had at once is a wait."""
        __tracebackhide__ = True
        watch = self._watch.threads.get(originals.get_ident())
        if watch is None or watch.busy:
            return original(*args, **kwargs)
        frame = originals.getframe(2)
        watch.busy = True
        try:
            if watch.work is None and starts_thread(frame):  # as a pool does with its first work
                return original(*args, **kwargs)
            done, result = attempt(args, kwargs)
            if done:
                return result
            call = self._enter(watch, target, True, args, frame)
            timed: Timed | None = call or watch.work
            first_wait = call is not None and call.waited_ns == 0
            started = self._clock()
            try:
                result = original(*args, **kwargs)
            finally:
                if timed is not None:
                    timed.add(target.name, started, self._clock())
            if (
                call is not None
                and call.waited_ns < LOCK_GRACE_NS
                and ((first_wait and result and is_mutex(frame)) or self._is_soon_over(frame))
            ):
                call.brief = True
            return result
        except BaseException:
            del args, kwargs
            raise
        finally:
            watch.busy = False

    def audit(self, event: str, args: tuple[Any, ...]) -> None:
        """Take in one of the events `audited`."""
        watch = self._watch.threads.get(originals.get_ident())
        if watch is None or watch.busy:
            return
        watch.busy = True
        try:
            target = self._audited[event]
            waits_now = waits.PREDICATES.get(target.name)
            try:
                if waits_now is not None and not waits_now(args, {}):
                    return
            except Exception:  # noqa: BLE001 - an event of a shape that we do not know
                return
            call = self._enter(watch, target, True, args, originals.getframe(2))
            if call is not None:
                now = self._clock()
                call.add(target.name, now, now)
        finally:
            watch.busy = False

    def _enter(
        self,
        watch: ThreadWatch,
        target: Target,
        code: bool | str,
        args: tuple[Any, ...],
        frame: FrameType,
    ) -> Call | None:
        __tracebackhide__ = True
        if target.name in self._off:
            return None
        try:
            call = self._read(watch, target, code, args, frame)
        except RecursionError:
            return None  # the user's stack is nearly full; the call itself may still fit
        except Exception as error:  # noqa: BLE001 - never the user's problem
            self._off.add(target.name)
            self._guard.broken(target.name, error)
            return None
        if call is None or watch.work is not None:  # what an offload is, is known at its end
            return call
        if call.settled and (refusal := self._guard.refuse(call)) is not None:
            call.running = False
            raise refusal
        return call


# Finding the callables.


def holders_in_python(dicts: list[dict[str, Any]], numbers: dict[int, Any]) -> list[int]:
    """Return those of *dicts*, by index, that have as a value an object whose `id` is known."""
    return [
        index
        for index, names in enumerate(dicts)
        if not numbers.keys().isdisjoint(map(id, list(names.values())))
    ]


_holders: Final = native.holders or holders_in_python


def _make_no_more(*_: object, **__: object) -> None:
    """`object.__init__` of a type whose `__new__` takes the arguments."""


def _subclasses(owner: type) -> list[type]:
    return type.__subclasses__(owner)


def _let_go(owner: type, name: str, new: object, original: object) -> None:
    """Put *original* where somebody has put *new* into a class below meanwhile."""
    for below in _subclasses(owner):
        if vars(below).get(name) is new:
            setattr(below, name, original)


def _module_of(dotted: str) -> str | None:
    """Return the module that a dotted name of a module or type starts with."""
    while dotted:
        if dotted in originals.modules:
            return dotted
        head, _, name = dotted.rpartition(".")
        if not head:
            return dotted  # if there is none, then nobody imports it
        if (module := originals.modules.get(head)) is not None:
            return dotted if hasattr(module, "__path__") and not hasattr(module, name) else head
        dotted = head
    return None


def _locate(dotted: str) -> type | ModuleType | None:
    """Return the module or type of a dotted name, or None where this interpreter has none."""
    module = originals.modules.get(dotted)
    if module is not None:
        return module
    head, _, name = dotted.rpartition(".")
    if dotted == "select.poll":  # the name is that of a function
        return type(select.poll()) if hasattr(select, "poll") else None
    found = getattr(originals.modules.get(head), name, None)
    return found if isinstance(found, type) else None
