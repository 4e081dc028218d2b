"""Knows which threads run an event loop: asyncio and what speaks its protocol, and trio."""

from __future__ import annotations

import asyncio.base_events
import asyncio.events
import threading
from collections.abc import Callable, Generator
from types import CodeType, ModuleType
from typing import Any, Final
from weakref import ref

from pytest_truasync._detect import native, originals
from pytest_truasync._detect.callsite import FrameReader
from pytest_truasync._detect.clocks import YOUNG_NS, Begun, debugging_tool
from pytest_truasync._detect.files import Role
from pytest_truasync._detect.imports import ImportHooks
from pytest_truasync._detect.patches import PatchStack, builtin_twin, dress
from pytest_truasync._detect.recorder import ThreadWatch, Watch
from pytest_truasync._detect.standins import without_us
from pytest_truasync._detect.steps import ROUND
from pytest_truasync._model import CallSite

Origin = tuple[ref[Any], CodeType, int]
"""A task, and the user's line that made it: code and instruction."""

_FEW_TASKS: Final = 200
_loop_type: Final[Any] = asyncio.base_events.BaseEventLoop
_ENDINGS: Final[tuple[CodeType, ...]] = (
    _loop_type.shutdown_asyncgens.__code__,
    _loop_type.shutdown_default_executor.__code__,
)
_USER: Final = Role.USER  # an attribute of an enumeration is looked up anew each time


class _Here(threading.local):
    """What is known of the calling thread, between its loops: most run one for each test."""

    watch: ThreadWatch | None = None


class LoopProbe:
    """Puts a thread on watch while it runs a loop.

    Every loop that asyncio can work with calls `_set_running_loop`, uvloop and others included;
    trio runs in `unrolled_run`.

    Args:
        watch: where threads are put.
        reader: reads the user's line off a stack.
    """

    def __init__(self, watch: Watch, reader: FrameReader) -> None:
        self._watch = watch
        self._reader = reader
        self._landmarks = reader.sorter.landmarks
        self._tasks: dict[int, Origin] = {}
        """Hash of a task, which is its place in memory, so that the next one there takes it over.
        A WeakKeyDictionary would run Python code at the end of each task. It is one dict for good:
        the part in C holds it."""
        self._most_tasks = _FEW_TASKS
        self._note: Callable[[Any, Any, Any], None] = self._note_task
        self.noter: Any = None
        if native.TaskNoter is not None:
            self.noter = native.TaskNoter(self._tasks, _ENDINGS, *reader.landmarks)
            self._note = self.noter.note
        self._here = _Here()
        self._trio_context: Any = None
        self._trio_poller: CodeType | None = None

    def install(self, patches: PatchStack, imports: ImportHooks) -> None:
        """Watch the loops that start from now on."""
        original = asyncio.events._set_running_loop
        twin = builtin_twin(original, self._running_loop_setter(original))
        for module in (asyncio.events, asyncio):
            if vars(module).get("_set_running_loop") is original:
                patches.replace(module, "_set_running_loop", twin)
        if (uvloop := originals.modules.get("uvloop")) is not None:
            self._watch_uvloop(patches, uvloop)  # it took the function from asyncio at its import
        imports.when("trio._core._run", lambda module: self._watch_trio(patches, module))
        imports.when("trio._core._io_epoll", self._note_trio_poller)
        self._watch_tasks(patches, asyncio.base_events.BaseEventLoop)
        imports.when("uvloop", lambda module: self._watch_tasks(patches, module.Loop))

    def _note_trio_poller(self, module: ModuleType) -> None:
        self._trio_poller = module.EpollIOManager.get_events.__code__

    def _running_loop_setter(self, original: Callable[[Any], None]) -> Callable[..., None]:
        enter, leave = self._enter, self._leave

        def set_running_loop(*args: Any, **kwargs: Any) -> None:
            original(*args, **kwargs)
            if args[0] is None:
                leave()
            else:
                enter(args[0])

        watch = self._watch
        asks = (
            *(enter, leave, self._here, watch, watch.threads, self._tasks, _FEW_TASKS),
            *(_loop_type, ROUND, ThreadWatch(watch.recorder), debugging_tool, Begun, YOUNG_NS),
        )
        return native.laned("loop", set_running_loop, original, *asks)

    def _enter(self, loop: Any) -> bool:
        """Put the calling thread on watch; False where it is for this loop already."""
        self._sweep()
        known = self._watch.threads.get(originals.get_ident())
        if known is not None and known.loop is loop:
            return False
        self._put_on_watch(known, loop, _poller_of(loop))
        return True

    def _put_on_watch(
        self, known: ThreadWatch | None, loop: Any, poller: CodeType | None
    ) -> ThreadWatch:
        """Put the calling thread on watch for *loop*, on top of what it is *known* for."""
        watch = self._here.watch if known is None else None
        if watch is not None:
            watch.loop, watch.poller = loop, poller
            self._watch.push_again(watch)
            return watch
        watch = ThreadWatch(self._watch.recorder, loop=loop)
        watch.poller = poller
        if known is None:
            self._here.watch = watch
        elif known.work is not None:
            known.work.hosted = True
        self._watch.push(watch)
        return watch

    def _leave(self) -> None:
        ident = originals.get_ident()
        known = self._watch.threads.get(ident)
        if known is None or known.loop is None:
            return
        self._watch.pop(known)
        known.loop = None  # it is not ours to keep

    def _watch_uvloop(self, patches: PatchStack, uvloop: ModuleType) -> None:
        original = uvloop.Loop.run_forever
        probe = self

        def run_forever(loop: Any) -> Any:
            entered = probe._enter(loop)
            try:
                return original(loop)
            finally:
                if entered:
                    probe._leave()

        patches.replace(uvloop.Loop, "run_forever", run_forever)

    def _watch_trio(self, patches: PatchStack, module: ModuleType) -> None:
        original = module.unrolled_run
        watch, probe = self._watch, self

        def unrolled_run(*args: Any, **kwargs: Any) -> Generator[Any, Any, Any]:
            steps = original(*args, **kwargs)
            probe._sweep()
            runner = args[0] if args else module
            if not getattr(runner, "is_guest", True):
                known = watch.threads.get(originals.get_ident())
                on = probe._put_on_watch(known, runner, probe._trio_poller)
                try:
                    return (yield from steps)
                finally:
                    watch.pop(on)
                    on.loop = None
            on = ThreadWatch(watch.recorder, loop=runner)
            on.poller = probe._trio_poller
            # Only while it runs: of a guest another loop, or none, has the thread in between.
            step, value = steps.send, None
            watch.push(on)
            try:
                while True:
                    try:
                        out = step(value)
                    except StopIteration as end:
                        return end.value
                    finally:
                        watch.rest(on)
                    try:
                        step, value = steps.send, (yield out)
                    except GeneratorExit:
                        raise
                    except BaseException as error:  # noqa: BLE001 - thrown in: handed on
                        step, value = steps.throw, error
                    watch.resume(on)
            finally:
                watch.end(on)
                steps.close()

        patches.replace(module, "unrolled_run", unrolled_run)
        spawn = module.Runner.spawn_impl
        context = self._trio_context = module.GLOBAL_RUN_CONTEXT
        note = self._note

        def spawn_impl(*args: Any, **kwargs: Any) -> Any:
            task = spawn(*args, **kwargs)
            note(task, task.coro, getattr(context, "task", None))
            return task

        if self.noter is not None:
            self.noter.guest = context
            native.laned("spawn", spawn_impl, spawn, self.noter)
        patches.replace(module.Runner, "spawn_impl", dress(spawn, spawn_impl))

    # Where tasks come from.

    def _watch_tasks(self, patches: PatchStack, loop: type) -> None:
        original = loop.create_task  # type: ignore[attr-defined]
        note, current_task, probe = self._note, asyncio.current_task, self

        def create_task(self: Any, *args: Any, **kwargs: Any) -> Any:
            task = original(self, *args, **kwargs)
            try:
                maker = current_task(self)
                if maker is None and (guest := probe._trio_context) is not None:
                    maker = getattr(guest, "task", None)
            except Exception:  # noqa: BLE001 - a loop of a kind that has no tasks of its own
                maker = None
            note(task, args[0] if args else None, maker)
            if getattr(task, "_source_traceback", None):
                without_us(task)
            return task

        if self.noter is not None:
            native.laned("task", create_task, original, self.noter, current_task, without_us)
        patches.replace(loop, "create_task", dress(original, create_task))

    def _note_task(self, task: Any, coroutine: Any, maker: Any) -> None:
        """Note the user's line that made *task*, or that made its *maker*.

        Called by what makes tasks. A coroutine of the user's own is on the stack wherever its task
        runs: there is no need. Nor is there for how a loop ends.
        """
        try:
            code = getattr(coroutine, "cr_code", None)
            if any(code is ending for ending in _ENDINGS):
                return
            if code is not None and self._landmarks[code.co_filename] is _USER:
                return
            user = self._reader.user_frame(originals.getframe(2))
            if user is not None:
                self._tasks[hash(task)] = (ref(task), user.f_code, user.f_lasti)
            elif (found := self._origin_of(maker)) is not None:
                self._tasks[hash(task)] = (ref(task), *found[1:])
        except Exception:  # noqa: BLE001 - a task of a kind that cannot be noted; lines are lost
            return

    def forget(self) -> None:
        """Forget the tasks."""
        self._tasks.clear()

    def _sweep(self) -> None:
        """Forget the tasks that are gone, where there are many."""
        if len(self._tasks) <= self._most_tasks:
            return
        for key, found in list(self._tasks.items()):
            if found[0]() is None:
                self._tasks.pop(key, None)
        self._most_tasks = max(_FEW_TASKS, 2 * len(self._tasks))

    def _running(self) -> Any:
        watch = self._watch.threads.get(originals.get_ident())
        if watch is None or watch.loop is None:
            return None
        if (
            self._trio_context is not None
            and (task := getattr(self._trio_context, "task", None)) is not None
        ):
            return task
        try:
            return asyncio.current_task(watch.loop)
        except RuntimeError:
            return None

    def origin(self) -> CallSite | None:
        """Return the user's line that made the running task, if it is known."""
        return self.origin_of(self._running())

    def origin_of(self, task: Any) -> CallSite | None:
        """Return the user's line that made *task*, if it is known."""
        found = self._origin_of(task)
        return self._reader.site_at(*found[1:]) if found is not None else None

    def _origin_of(self, task: Any) -> Origin | None:
        if task is None:
            return None
        found = self._tasks.get(hash(task))
        return found if found is not None and found[0]() is task else None


def _poller_of(loop: Any) -> CodeType | None:
    return ROUND if isinstance(loop, _loop_type) else None
