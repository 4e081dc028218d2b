"""Probe: sync code taken off the loop, judged by what it does in the thread."""

from __future__ import annotations

import _thread
import asyncio
import concurrent.futures.thread
import functools
import itertools
import threading
import weakref
from collections.abc import Callable, Mapping
from types import FrameType, ModuleType
from typing import Any, Final

from pytest_truasync._detect import native, originals
from pytest_truasync._detect.blame import Blame
from pytest_truasync._detect.calls import Guard
from pytest_truasync._detect.callsite import (
    CALLBACK_RUNNERS,
    CO_ASYNC,
    SPOKEN,
    FrameReader,
    Stack,
    code_of,
    name_of,
)
from pytest_truasync._detect.clocks import Clocks
from pytest_truasync._detect.files import Role
from pytest_truasync._detect.filework import FileCalls
from pytest_truasync._detect.imports import ImportHooks
from pytest_truasync._detect.offloads import (
    COMPUTATION,
    NEW_NS,
    STALE_NS,
    UNSEEN_WAIT_NS,
    FileWork,
    Handover,
    Offload,
    Offloaded,
    OffloadJudge,
    Runner,
    delays,
    is_watched,
    read_clocks,
    work_of,
)
from pytest_truasync._detect.patches import PatchStack, builtin_twin, dress
from pytest_truasync._detect.pools import Pool
from pytest_truasync._detect.recorder import MOST_NOTED, ThreadWatch, Watch
from pytest_truasync._detect.standins import can_tell_unraisable, without_us
from pytest_truasync._model import PERMISSION, CallSite, Phase, PoolUse

_MOST_POOLS: Final = 200
_FEW_POOLS: Final = 30
_MOST_HANDOVERS: Final = 20_000
_RAW_THREAD: Final = "_thread.start_new_thread"
"""A thread without a `threading.Thread`: the interpreter itself tells of its exceptions."""

# Files that hand work to threads: their frames are passed on the way to the user's line. What
# they are called is the name of the offload, by function.
_VIA: Final[Mapping[str, Mapping[str, str]]] = {
    "asyncio/threads.py": {"to_thread": "asyncio.to_thread"},
    "asyncio/base_events.py": {"run_in_executor": "loop.run_in_executor"},
    "concurrent/futures/thread.py": {"submit": "ThreadPoolExecutor.submit"},
    "concurrent/futures/_base.py": {"map": "Executor.map"},
    "anyio/to_thread.py": {"run_sync": "anyio.to_thread.run_sync"},
    "anyio/_backends/_asyncio.py": {},
    "anyio/_backends/_trio.py": {},
    "starlette/concurrency.py": {
        "run_in_threadpool": "run_in_threadpool",
        "iterate_in_threadpool": "iterate_in_threadpool",
    },
    "fastapi/concurrency.py": {"contextmanager_in_threadpool": "contextmanager_in_threadpool"},
    "asgiref/sync.py": {"__call__": "sync_to_async"},
    "trio/_threads.py": {"to_thread_run_sync": "trio.to_thread.run_sync"},
    "trio/_core/_thread_cache.py": {"start_thread_soon": "trio.lowlevel.start_thread_soon"},
    "threading.py": {"start": "threading.Thread"},
    "multiprocessing/pool.py": {
        "apply": "ThreadPool.apply",
        "apply_async": "ThreadPool.apply_async",
        "map": "ThreadPool.map",
        "map_async": "ThreadPool.map_async",
        "starmap": "ThreadPool.starmap",
        "starmap_async": "ThreadPool.starmap_async",
        "imap": "ThreadPool.imap",
        "imap_unordered": "ThreadPool.imap_unordered",
    },
}

# Functions of the loops themselves that use a thread, which nobody can write otherwise.
_LOOPS_OWN: Final = frozenset(
    {
        "getaddrinfo",
        "getnameinfo",
        "_ensure_resolved",
        "shutdown_default_executor",
        "_wait_for_process",
        "add_child_handler",
        "wait_child_exiting",
    }
)
_LOOPS_OWN_FILES: Final = ("/trio/_socket.py", "/trio/_subprocess", "/trio/_core/")
_POOL_OWNERS: Final = (
    "concurrent/futures/thread.py",
    "concurrent/futures/process.py",
    "anyio/_backends/_asyncio.py",
    "trio/_core/_thread_cache.py",
    "multiprocessing/queues.py",
    "multiprocessing/pool.py",
)


_ThreadPool: Final = concurrent.futures.thread.ThreadPoolExecutor
_FUTURES: Final = concurrent.futures.Future.result.__code__.co_filename
_POOL_FILE: Final = concurrent.futures.thread.__file__
_THREADING: Final = threading.Thread.start.__code__.co_filename


PoolOf = Callable[[Any, CallSite], Pool | None]
"""Given what runs the work and the user's line, returns its pool."""


class OffloadProbe:
    """Sees every way off the loop, and what is done there.

    Args:
        watch: the threads that run a loop; workers are put on watch here.
        reader: reads the user's line off a stack.
        offload_codes: rule of a blocking call → rule of the same inside an offload.
        origin: the user's line that made the running task.
        waited_at: the line in a worker on which it was seen to wait for longest.
        files: knows which work is one call on files.
        noter: the part in C that notes what made a task, if there is one.
        guard: hears of faults.
        clock: nanoseconds.
    """

    def __init__(
        self,
        watch: Watch,
        reader: FrameReader,
        *,
        offload_codes: Mapping[str, str],
        origin: Callable[[], CallSite | None],
        waited_at: Callable[[ThreadWatch], Blame | None] = lambda _: None,
        files: FileCalls | None = None,
        noter: Any = None,
        guard: Guard,
        clock: Callable[[], int] = originals.clock_ns,
    ) -> None:
        self._watch = watch
        self._origin = origin
        self._reader = reader
        self._judge = judge = OffloadJudge(reader, watch.recorder, offload_codes, waited_at)
        self._judged, self._note = judge.judge, judge.note
        self._take_note = watch.recorder.note
        self._files = files or FileCalls()
        self._guard = guard
        self._clock = clock
        self.used_pools: dict[Pool, None] = {}
        """Those that were given work since the last time."""
        self._pool_of: dict[int, tuple[weakref.ref[Any], Pool]] = {}
        """Number of an executor or limiter → itself and its pool. A WeakKeyDictionary would make a
        reference for each question."""
        self._many_pools = _FEW_POOLS
        """So many may not all be of executors that are still there."""
        self._handovers: dict[tuple[Any, ...], Handover] = {}
        self._bridged: weakref.WeakSet[Any] = weakref.WeakSet()
        self._numbers = itertools.count()
        self._ways: dict[str, Mapping[str, str] | None] = {}
        self._owners: dict[str, bool] = {}
        """File of code → whether it is a pool's, which starts its own threads."""
        self._off = False
        self._runner: Runner = self
        self._take_off: Callable[[Any, FrameType, str, PoolOf | None, Any], Any] = self._track
        if native.Offloader is not None and noter is not None:
            self._runner = fast = native.Offloader(self._asks(noter))
            self._take_off = fast.track

    def _asks(self, noter: Any) -> tuple[Any, ...]:
        """Return what `native.Offloader` asks."""
        watch, reader, judge = self._watch, self._reader, self._judge
        work = Offload(0, None, Handover([]), None, "", None, 0, bare=False)
        return (
            *(self, judge, watch, watch.threads, watch.recorder, watch.recorder.noted, MOST_NOTED),
            *(self._handovers, reader.ends, reader.sites, reader.sorter.roles, Role.USER),
            *(self._numbers, PERMISSION, self.used_pools, _MOST_POOLS, self._files.stand_ins),
            *(noter, asyncio.current_task, self._clock),
            *(work, Offloaded(self, work, raw=False, many=False), ThreadWatch(work, work=work)),
            *(Clocks, NEW_NS, delays, STALE_NS, UNSEEN_WAIT_NS, work_of, name_of),
            *(reader.site_of, SPOKEN, functools.partial, threading.Thread, COMPUTATION),
        )

    # Installing.

    def install(self, patches: PatchStack, imports: ImportHooks) -> None:
        """Watch the ways off the loop."""
        pool = concurrent.futures.thread.ThreadPoolExecutor
        patches.replace(pool, "submit", dress(pool.submit, self._submit(pool.submit)))
        for module, name in (
            (threading, "_start_new_thread"),
            (threading, "_start_joinable_thread"),
            (_thread, "start_new_thread"),
            (_thread, "start_new"),
            (_thread, "start_joinable_thread"),
        ):
            if (original := vars(module).get(name)) is not None:
                patches.replace(module, name, builtin_twin(original, self._start_thread(original)))
        import asyncio.base_events
        import asyncio.tasks

        loop = asyncio.base_events.BaseEventLoop
        self._watch_answers(patches, loop, "call_soon_threadsafe")
        original_safe = asyncio.tasks.run_coroutine_threadsafe
        self._watch_executors(patches, loop)
        safe = dress(original_safe, self._run_threadsafe(original_safe))
        for module in (asyncio.tasks, asyncio):
            patches.replace(module, "run_coroutine_threadsafe", safe)
        imports.when("multiprocessing.pool", lambda m: self._watch_thread_pool(patches, m))
        imports.when("uvloop", lambda m: self._watch_uvloop(patches, m))
        imports.when(
            "trio._core._entry_queue",
            lambda m: self._watch_answers(patches, m.TrioToken, "run_sync_soon"),
        )
        imports.when("trio._core._thread_cache", lambda m: self._watch_trio(patches, m))
        imports.when("trio._sync", lambda m: self._watch_limiters(patches, m))
        imports.when("anyio._backends._asyncio", lambda m: self._watch_anyio(patches, m))

    def _submit(self, original: Callable[..., Any]) -> Callable[..., Any]:
        threads, track, pool_of = self._watch.threads, self._take_off, self._executor_pool
        get_ident, getframe = originals.get_ident, originals.getframe

        def submit(self: Any, fn: Any, /, *args: Any, **kwargs: Any) -> Any:
            if get_ident() not in threads:
                return original(self, fn, *args, **kwargs)
            fn = track(fn, getframe(1), f"{type(self).__name__}.submit", pool_of, self)
            if not is_watched(fn):
                return original(self, fn, *args, **kwargs)
            try:
                future = original(self, fn, *args, **kwargs)
            except BaseException:
                fn.withdraw()
                raise
            fn.is_awaited_by(future)
            return future

        return submit

    def _watch_executors(self, patches: PatchStack, loop: type) -> None:
        """Executors of other makes, whose threads may be older than the loop."""
        original = loop.run_in_executor  # type: ignore[attr-defined]
        threads, track = self._watch.threads, self._take_off
        get_ident, getframe = originals.get_ident, originals.getframe

        def run_in_executor(self: Any, executor: Any, func: Any, *args: Any) -> Any:
            # Also to be on the stack: that of uvloop is in C, and the offload is named by it.
            __tracebackhide__ = True
            if (
                executor is not None
                and get_ident() in threads
                and _is_of_other_make(type(executor))
                and not _makes_coroutines(func)
            ):
                func = track(func, getframe(1), "loop.run_in_executor", None, None)
            return original(self, executor, func, *args)

        patches.replace(loop, "run_in_executor", dress(original, run_in_executor))

    def _watch_thread_pool(self, patches: PatchStack, module: ModuleType) -> None:
        """The pool of multiprocessing that has threads; its base has processes."""
        for name, many in (
            ("apply_async", False),
            ("_map_async", True),
            ("imap", True),
            ("imap_unordered", True),
        ):
            original = getattr(module.Pool, name)
            wrapped = self._hand_over(original, module.ThreadPool, many=many)
            patches.replace(module.Pool, name, dress(original, wrapped))

    def _hand_over(
        self, original: Callable[..., Any], kind: type, *, many: bool
    ) -> Callable[..., Any]:
        threads = self._watch.threads
        get_ident = originals.get_ident
        via = f"ThreadPool.{original.__name__.lstrip('_')}"

        def hand_over(self: Any, func: Any, *args: Any, **kwargs: Any) -> Any:
            if get_ident() in threads and isinstance(self, kind):
                func = track(func)
            return original(self, func, *args, **kwargs)

        def track(func: Any) -> Any:
            return self._track(func, originals.getframe(2), via, many=many)

        return hand_over

    def _start_thread(self, original: Callable[..., Any]) -> Callable[..., Any]:
        threads, starts_worker = self._watch.threads, self._starts_worker
        get_ident = originals.get_ident

        def start(*args: Any, **kwargs: Any) -> Any:
            if get_ident() not in threads or not args:
                return original(*args, **kwargs)
            frame = originals.getframe(1)
            if starts_worker(frame):  # the pool will hand it work later
                return original(*args, **kwargs)
            function = self._track(args[0], frame, _RAW_THREAD, bare=True)
            return original(function, *args[1:], **kwargs)

        return start

    def _watch_answers(self, patches: PatchStack, owner: type, name: str) -> None:
        original = getattr(owner, name)
        threads = self._watch.threads
        get_ident = originals.get_ident

        def answer(self: Any, *args: Any, **kwargs: Any) -> Any:
            watch = threads.get(get_ident())
            if watch is not None and watch.work is not None:
                watch.answer()
            handle = original(self, *args, **kwargs)
            if getattr(handle, "_source_traceback", None):
                without_us(handle)
            return handle

        native.laned("answer", answer, original, threads, without_us)
        patches.replace(owner, name, dress(original, answer))

    def _starts_worker(self, frame: FrameType) -> bool:
        """Tell whether a thread is started for a pool, by the file that asks `threading` for it."""
        at: FrameType | None = frame
        while at is not None:
            filename = at.f_code.co_filename
            if filename != _THREADING:
                owns = self._owners.get(filename)
                if owns is None:
                    owns = filename.replace("\\", "/").endswith(_POOL_OWNERS)
                    self._owners[filename] = owns
                return owns
            at = at.f_back
        return False

    def _run_threadsafe(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def run_coroutine_threadsafe(*args: Any, **kwargs: Any) -> Any:
            future = original(*args, **kwargs)
            if self._watch.threads:
                self._bridged.add(future)
            return future

        return run_coroutine_threadsafe

    def _watch_uvloop(self, patches: PatchStack, module: ModuleType) -> None:
        self._watch_answers(patches, module.Loop, "call_soon_threadsafe")
        self._watch_executors(patches, module.Loop)

    def _watch_trio(self, patches: PatchStack, module: ModuleType) -> None:
        original = module.ThreadCache.start_thread_soon
        threads, track, pool_of = self._watch.threads, self._take_off, self._trio_pool
        get_ident, getframe = originals.get_ident, originals.getframe
        via = "trio.lowlevel.start_thread_soon"

        def start_thread_soon(self: Any, fn: Any, deliver: Any, *args: Any, **kwargs: Any) -> Any:
            if get_ident() in threads:
                fn = track(fn, getframe(1), via, pool_of, getframe(1))
            return original(self, fn, deliver, *args, **kwargs)

        patches.replace(module.ThreadCache, "start_thread_soon", dress(original, start_thread_soon))

    def _trio_pool(self, frame: FrameType, _: CallSite) -> Pool | None:
        """Return the pool of `trio.to_thread.run_sync`, which has its token already."""
        at: FrameType | None = frame
        while at is not None and at.f_code.co_name != "to_thread_run_sync":
            at = at.f_back
        limiter = at.f_locals.get("limiter") if at is not None else None
        return self._pool_of_trio(limiter) if hasattr(limiter, "total_tokens") else None

    def _watch_limiters(self, patches: PatchStack, module: ModuleType) -> None:
        """The queue of trio's threads is their limiter, which they wait for before a thread is."""
        original = module.CapacityLimiter.acquire_on_behalf_of
        enter, leave = self._enter_queue, self._leave_queue

        async def acquire_on_behalf_of(self: Any, borrower: Any) -> Any:
            queued = enter(self)
            try:
                return await original(self, borrower)
            finally:
                if queued is not None:
                    leave(*queued)

        new = dress(original, acquire_on_behalf_of)
        patches.replace(module.CapacityLimiter, "acquire_on_behalf_of", new)

    def _enter_queue(self, limiter: Any) -> tuple[Pool, int, int] | None:
        """Take note of a call that stands before a full limiter, for a thread."""
        try:
            asker = originals.getframe(2)
            if (
                limiter.available_tokens > 0
                or originals.get_ident() not in self._watch.threads
                or asker.f_code.co_name != "to_thread_run_sync"
                or self._off
            ):
                return None
            pool, number = self._pool_of_trio(limiter), next(self._numbers)
            pool.queued(number)
            return pool, number, self._clock()
        except Exception as error:  # noqa: BLE001 - never the user's problem
            self._off = True
            self._guard.broken("offloads", error)
            return None

    def _leave_queue(self, pool: Pool, number: int, began_ns: int) -> None:
        pool.left(number, self._clock() - began_ns)

    def _pool_of_trio(self, limiter: Any) -> Pool:
        threads = originals.modules.get("trio._threads")
        try:
            default = threads.current_default_thread_limiter() if threads else None
        except Exception:  # noqa: BLE001 - no limiter outside of a run
            default = None
        return self._limiter_pool(limiter, "trio's default limiter" if limiter is default else "")

    def _watch_anyio(self, patches: PatchStack, module: ModuleType) -> None:
        backend = getattr(module, "AsyncIOBackend", None)
        if backend is None:  # anyio 3
            return
        original = vars(backend)["run_sync_in_worker_thread"].__func__
        threads, track = self._watch.threads, self._take_off
        get_ident, getframe = originals.get_ident, originals.getframe
        via = "anyio.to_thread.run_sync"

        def run_sync_in_worker_thread(
            cls: Any, func: Any, args: Any, *more: Any, **named: Any
        ) -> Any:
            if get_ident() not in threads:
                return original(cls, func, args, *more, **named)
            limiter = named.get("limiter") or (more[1] if len(more) > 1 else None)
            func = track(func, getframe(1), via, pool_of, (cls, limiter))
            answer = original(cls, func, args, *more, **named)
            if is_watched(func):
                func.is_awaited_by(answer)
            return answer

        def pool_of(given: tuple[Any, Any], _: CallSite) -> Pool:
            cls, limiter = given
            if limiter is None:
                limiter = cls.current_default_thread_limiter()
                return self._limiter_pool(limiter, "anyio's default limiter")
            return self._limiter_pool(limiter)

        patches.replace(
            backend,
            "run_sync_in_worker_thread",
            classmethod(dress(original, run_sync_in_worker_thread)),
        )

    def forget(self) -> None:
        """Forget the pools and lines that work was handed over by."""
        self._pool_of.clear()
        self._handovers.clear()

    # Pools.

    def _known_pool(self, owner: Any) -> Pool | None:
        known = self._pool_of.get(id(owner))
        return known[1] if known is not None and known[0]() is owner else None

    def _new_pool(self, owner: Any, key: str, name: str, capacity: int) -> Pool:
        if len(self._pool_of) >= self._many_pools:
            self._pool_of = {n: one for n, one in self._pool_of.items() if one[0]() is not None}
            self._many_pools = max(_FEW_POOLS, 2 * len(self._pool_of))
        pool = Pool(key, name, capacity)
        self._pool_of[id(owner)] = (weakref.ref(owner), pool)
        return pool

    def _executor_pool(self, executor: Any, site: CallSite) -> Pool:
        if (pool := self._known_pool(executor)) is not None:
            return pool
        most = executor._max_workers
        name = type(executor).__name__
        default = executor._thread_name_prefix == "asyncio"
        shown = "asyncio's default executor" if default else f"{name}(max_workers={most})"
        key = shown if default else f"{shown} used at {site}"
        return self._new_pool(executor, key, shown, most or 0)  # a class of the user's has none

    def _limiter_pool(self, limiter: Any, name: str = "") -> Pool:
        """Return the pool of a limiter of anyio or trio, whose threads have no other bound."""
        pool = self._known_pool(limiter)
        if pool is None:
            tokens = limiter.total_tokens
            shown = name or f"CapacityLimiter({tokens})"
            capacity = 0 if tokens == float("inf") else int(tokens)
            pool = self._new_pool(limiter, shown, shown, capacity)
        return pool

    # Tracking.

    def _track(
        self,
        function: Any,
        frame: FrameType,
        via: str,
        pool_of: PoolOf | None = None,
        owner: Any = None,
        *,
        bare: bool = False,
        many: bool = False,
    ) -> Any:
        """Return *function*, watched while it runs, or as it is where it is the loop's own.

        Args:
            function: what is handed over.
            frame: that does so.
            via: name of the way, unless a way above it is known.
            pool_of: given *owner* and the user's line, returns the pool that runs it.
            owner: see *pool_of*.
            bare: it has a thread of its own.
            many: it is called for each of many items.
        """
        if self._off or is_watched(function):
            return function
        try:
            handover = self._handover(frame, via, bare)
            if handover.loops_own:
                return function
            site = handover.site or self._origin()
            pool = None
            if pool_of is not None:
                try:
                    pool = pool_of(owner, site or handover.fallback)
                except Exception:  # noqa: BLE001 - of a class of the user's: not to be asked
                    pool = None
            number, permission = next(self._numbers), PERMISSION.get()
            if pool is not None:
                pool.submitted(number, site, permission)
                used = self.used_pools
                if pool not in used and len(used) < _MOST_POOLS:
                    used[pool] = None
            now, test = self._clock(), self._watch.recorder.test
            if not (bare or many) and (name := self._files.name_of(function)):
                how = (handover, site, permission, pool, number, now, test)
                return FileWork(self, function, name, *how)
            work = Offload(number, function, handover, site, permission, pool, now, bare, test)
        except Exception as error:  # noqa: BLE001 - never the user's problem
            self._off = True
            self._guard.broken("offloads", error)
            return function
        raw = work.via == _RAW_THREAD and can_tell_unraisable()
        once = pool_of is not None and not many
        return Offloaded(self._runner, work, raw=raw, many=many, once=once)

    def _handover(self, frame: FrameType, via: str, bare: bool) -> Handover:
        """Return what is the same each time that the lines on the stack hand over some work."""
        place = (via, bare, self._reader.key(frame))
        known = self._handovers.get(place)
        if known is None:
            if len(self._handovers) >= _MOST_HANDOVERS:
                self._handovers.clear()
            known = self._handovers[place] = self._new_handover(frame, via, bare=bare)
        return known

    def _new_handover(self, frame: FrameType, via: str, *, bare: bool) -> Handover:
        codes = self._reader.codes(frame)  # they keep their numbers
        via, at = self._way(frame, via)
        if at is None:
            return Handover(codes, loops_own=True)
        stack = self._reader.read(at)
        if self._is_loops_own(at, stack, bare=bare):
            return Handover(codes, loops_own=True)
        return Handover(
            codes,
            via=via,
            site=self._reader.site(stack.user) if stack.user is not None else None,
            fallback=self._reader.site(_library_frame(stack) or at),
            chain=self._reader.chain(at),
        )

    def _way(self, frame: FrameType, via: str) -> tuple[str, FrameType | None]:
        """Return the name of the offload, and the frame that asked for it.

        The outermost function that is known to hand work to threads names it.
        """
        at: FrameType | None = frame
        while at is not None:
            code = at.f_code
            known = self._known_way(code.co_filename)
            if known is None:
                role = self._reader.sorter(code.co_filename).role
                if role is Role.OURS and code.co_name == "run_in_executor":
                    via = "loop.run_in_executor"
                elif role is not Role.PLUMBING and role is not Role.OURS:
                    break
            else:
                if code.co_name in _LOOPS_OWN:
                    break
                via = known.get(code.co_name, via)
            at = at.f_back
        return via, at

    def _known_way(self, filename: str) -> Mapping[str, str] | None:
        if filename not in self._ways:
            name = filename.replace("\\", "/")
            found = next((names for end, names in _VIA.items() if name.endswith("/" + end)), None)
            users = self._reader.sorter(filename).role is Role.USER
            self._ways[filename] = None if users else found
        return self._ways[filename]

    def _is_loops_own(self, at: FrameType, stack: Stack, *, bare: bool) -> bool:
        code = at.f_code
        path = code.co_filename.replace("\\", "/")
        role = self._reader.sorter(code.co_filename).role
        if code.co_name in _LOOPS_OWN and role in (Role.LOOP, Role.LIBRARY):
            return True
        if any(part in path for part in _LOOPS_OWN_FILES) and code.co_name not in CALLBACK_RUNNERS:
            return True
        if bare:
            return role in (Role.LOOP, Role.QUIET)
        return role is Role.QUIET

    def begin(self, work: Offload) -> ThreadWatch | None:
        """Watch the calling thread, which begins with *work*, unless it runs a loop.

        Then nothing was taken off: an executor that runs its work at once, as tests have.
        """
        try:
            known = self._watch.threads.get(originals.get_ident())
            if known is not None and known.loop is not None:
                if work.pool is not None:
                    work.pool.withdrawn(work.number)
                return None
            before = read_clocks()  # reads a file, which is not the user's doing
            if work.pool is not None:
                now = before.wall_ns if before is not None else self._clock()
                work.pool.started(work.number, now - work.submitted_ns)
            on = ThreadWatch(work, work=work)
            on.began = before
            self._watch.push(on)
            return on
        except Exception as error:  # noqa: BLE001 - never the user's problem
            self._off = True
            self._guard.broken("offloads", error)
            return None

    def end(self, work: Offload, on: ThreadWatch) -> None:
        """Watch the calling thread for it no longer, and judge what was done."""
        before: Clocks | None = on.began
        try:
            self._watch.pop(on)
            if work.pool is not None:
                work.pool.ended()
            for seen in self._judged(work, before, on):
                self._watch.recorder.add(seen)
        except Exception as error:  # noqa: BLE001 - never the user's problem
            self._off = True
            self._guard.broken("offloads", error)

    def begin_file_work(self, work: FileWork) -> int:
        """Take note that *work* begins, which needs no watching; return the time."""
        now = self._clock()
        try:
            if work.pool is not None:
                work.pool.started(work.number, now - work.submitted_ns)
        except Exception as error:  # noqa: BLE001 - never the user's problem
            self._off = True
            self._guard.broken("offloads", error)
        return now

    def end_file_work(self, work: FileWork, began_ns: int) -> None:
        """Take note that it was done, which began at that time."""
        try:
            taken_ns = self._clock() - began_ns
            if work.pool is not None:
                work.pool.ended()
            note = self._note(work, work.site, work.called, work.called)
            self._take_note(note, taken_ns)
        except Exception as error:  # noqa: BLE001 - never the user's problem
            self._off = True
            self._guard.broken("offloads", error)

    def is_bridged(self, frame: FrameType) -> bool:
        """Tell whether *frame* waits for coroutines that its worker sent to the loop, and no more.

        It is in `Future.result` or `Future.exception`, or in `wait` or `as_completed`.
        """
        name = frame.f_code.co_name
        if name in ("result", "exception"):
            return frame.f_locals.get("self") in self._bridged
        if name in ("wait", "as_completed") and frame.f_code.co_filename == _FUTURES:
            awaited = frame.f_locals.get("fs") or ()
            return bool(awaited) and all(future in self._bridged for future in awaited)
        return False

    def is_idle_pool(self, frame: FrameType) -> bool:
        """Tell whether *frame* shuts a pool down whose work is done: its threads end at once."""
        if not _is_shutdown(frame):
            return False
        pool = self._known_pool(frame.f_locals.get("self"))
        return self._off or (pool is not None and pool.idle)

    def ends_other_pool(self, frame: FrameType) -> bool:
        """Tell whether *frame* waits for the threads of a pool that was given no work on a loop.

        They may be about to note that they are idle.
        """
        at: FrameType | None = frame
        while at is not None and at.f_code.co_filename == _THREADING:
            at = at.f_back
        return (
            at is not None
            and _is_shutdown(at)
            and self._known_pool(at.f_locals.get("self")) is None
        )

    def settle(self, when: Phase) -> None:
        """Report what the work that is still running has done so far.

        After its set-up, a test is told of all work that it began, or the next test would be: which
        of the two would be a matter of luck. A thread that was begun in the set-up may become the
        host of a loop yet.
        """
        for watch in list(self._watch.threads.values()):
            at: ThreadWatch | None = watch
            while at is not None:
                work: Any = at.work
                if isinstance(work, Offload):
                    self._settle(work, at, when)
                at = at.below

    def _settle(self, work: Offload, on: ThreadWatch, when: Phase) -> None:
        if work.groups:
            groups, work.groups = work.groups, {}
            done = work.with_groups(groups)
            done.told = False
            for seen in self._judged(done, None):
                work.told = True
                self._watch.recorder.add(seen)
        if when != "setup" and not (work.told or work.noted or work.hosted):
            self._judge.tell(work, on.began)

    def pools(self) -> list[PoolUse]:
        """Return the use of each pool since the last time."""
        pools = list(self.used_pools)
        for pool in pools:  # one that is used from here on comes back
            self.used_pools.pop(pool, None)
        return [use for pool in pools if (use := pool.take()) is not None]


def _is_of_other_make(kind: type) -> bool:
    """Tell whether executors of this type are no pool of threads or processes that is known."""
    if not issubclass(kind, concurrent.futures.Executor) or issubclass(kind, _ThreadPool):
        return False
    return all(one.__module__ != "concurrent.futures.process" for one in kind.__mro__)


def _makes_coroutines(function: Any) -> bool:
    """Tell a coroutine function, which a loop in debug mode refuses."""
    code = code_of(function)
    return code is not None and bool(code.co_flags & CO_ASYNC)


def _is_shutdown(frame: FrameType) -> bool:
    return frame.f_code.co_name == "shutdown" and frame.f_code.co_filename == _POOL_FILE


def _library_frame(stack: Stack) -> FrameType | None:
    if stack.library >= 0:
        return stack.between[stack.library]
    return None
