"""From the frame that made a call to the user's line, and to the call's public name."""

from __future__ import annotations

import functools
import linecache
import operator
import threading
from collections.abc import Callable, Mapping
from types import (
    BuiltinFunctionType,
    ClassMethodDescriptorType,
    CodeType,
    FrameType,
    FunctionType,
    MethodDescriptorType,
    MethodType,
    MethodWrapperType,
    WrapperDescriptorType,
)
from typing import Any, Final

from pytest_truasync._detect import native, originals
from pytest_truasync._detect.files import FileSorter, Role
from pytest_truasync._model import CallSite

_LONGEST_CHAIN: Final = 16
_MOST_SITES: Final = 20_000
_MOST_CHAINS: Final = 2_000
DEEPEST: Final = 400
"""Frames looked at; a recursion deeper than this names no line."""

# Functions of the loop below which a callback runs: what is above them is not part of the call.
CALLBACK_RUNNERS: Final = frozenset(
    {"_run", "_run_once", "run_forever", "run_until_complete", "unrolled_run", "run"}
)
_CALLING_BACK: Final = CALLBACK_RUNNERS - {"run_until_complete", "run"}
# Functions that run a thread's work, and are no part of it.
_THREADING: Final = threading.__file__
_THREAD_ENTRY: Final = frozenset({"_bootstrap", "_bootstrap_inner", "run"})
_WORKER_SIDE: Final = frozenset({"worker_fn", "do_release_then_return_result"})

WORKER_FRAME: Final = "run_offloaded"
"""Name of our function below which the work of an offload runs."""

# An attribute of an enumeration is looked up anew each time.
_USER: Final = Role.USER
_LIBRARY: Final = Role.LIBRARY
_STDLIB: Final = Role.STDLIB
_LOOP: Final = Role.LOOP
_QUIET: Final = Role.QUIET
_LAZY: Final = Role.LAZY
_IMPORT: Final = Role.IMPORT
_BRIDGE: Final = Role.BRIDGE
_PLUMBING: Final = Role.PLUMBING
_OURS: Final = Role.OURS

ENDS: Final = CALLBACK_RUNNERS | {WORKER_FRAME}
"""Names of what `FrameReader.is_end` tells of."""

CO_GENERATOR: Final = 0x20
CO_ASYNC: Final = 0x80 | 0x100 | 0x200  # coroutine, iterable coroutine, async generator


class Stack:
    """What stands between a call and the loop, as far as judging needs it.

    Args:
        caller: the frame that made the call.
    """

    user: FrameType | None = None
    """The innermost frame of the user's project."""
    nearest: Role = Role.USER
    """Role of the first frame that is neither stdlib nor plumbing."""
    importing: bool = False
    """An import is under way below the user's line."""
    lazy: bool = False
    """A loader of its own files is below the user's line."""
    bridge: bool = False
    """A way back into the loop is below the user's line."""
    library: int = -1
    """Place in `between` of the innermost frame of an installed package."""
    in_worker: bool = False
    """The call stands below an offload, with no user's line between."""

    def __init__(self, caller: FrameType) -> None:
        self.caller = caller
        self.between: list[FrameType] = []
        """Frames of libraries below the user's line, innermost first; empty where the user's line
        called the target itself."""


class FrameReader:
    """Reads stacks.

    Args:
        sorter: tells whose a file is.
    """

    def __init__(self, sorter: FileSorter) -> None:
        self.sorter = sorter
        self._filenames: dict[str, str] = {}
        self._names: dict[tuple[CodeType, str], str] = {}
        self.sites: dict[tuple[int, int], tuple[CodeType, CallSite]] = {}
        """Number of a code and instruction → the code, which keeps its number, and the line."""
        self._sources: dict[CallSite, CallSite] = {}
        self.ends: dict[int, CodeType] = {}
        """Number of the code of a frame with which a stack ends → the code, which keeps it."""
        self._chains: dict[object, tuple[list[CodeType], tuple[CallSite, ...]]] = {}
        """Key of a stack → its codes, which keep their numbers, and its chain."""

    def forget(self) -> None:
        """Forget what was read."""
        for known in (self._names, self.sites, self._sources, self._chains, self.ends):
            known.clear()

    def key(self, frame: FrameType) -> object:
        """Return what tells a stack from others: each frame's code, by number, and instruction.

        Who keeps it has to keep the codes, as `codes` gives them.
        """
        return _stack_key(frame, self.ends)

    def codes(self, frame: FrameType) -> list[CodeType]:
        """Return the codes on a stack, as far as the frame with which it ends."""
        found: list[CodeType] = []
        at: FrameType | None = frame
        while at is not None and len(found) < DEEPEST:
            found.append(code := at.f_code)
            if code.co_name in ENDS and self.is_end(code):
                self.ends[id(code)] = code
                break
            at = at.f_back
        return found

    def read(self, frame: FrameType, *, on_loop: bool = False) -> Stack:
        """Return what stands between *frame*, which made a call, and the loop's callback.

        Args:
            frame: made the call.
            on_loop: its thread runs a loop, so that an offload on the stack has gone nowhere.
        """
        roles = self.sorter.roles
        found = Stack(frame)
        between = found.between
        nearest_known = False
        at: FrameType | None = frame
        for _ in range(DEEPEST):
            if at is None:
                break
            code = at.f_code  # asked for once: it raises an audit event
            role = roles[code.co_filename]
            if role is _LIBRARY:
                if not nearest_known:
                    nearest_known = True
                    found.nearest = role
                if found.library < 0:
                    found.library = len(between)
                between.append(at)
            elif role is _USER:
                found.user = at
                if not nearest_known:
                    found.nearest = role
                return found
            elif role is _LOOP and code.co_name in CALLBACK_RUNNERS:
                if not nearest_known:
                    found.nearest = role
                return found
            elif role is _STDLIB or role is _LAZY:
                if code.co_name in _THREAD_ENTRY and code.co_filename == _THREADING:
                    at = at.f_back
                    continue
                between.append(at)
                found.lazy = found.lazy or role is _LAZY
            elif role is _OURS:
                if code.co_name == WORKER_FRAME and not on_loop:
                    found.in_worker = True
                    return found
            elif role is not _PLUMBING and not (role is _BRIDGE and code.co_name in _WORKER_SIDE):
                if not nearest_known:
                    nearest_known = True
                    found.nearest = role
                    if role is _QUIET or role is _IMPORT:
                        found.importing = role is _IMPORT
                        return found  # nobody's, whoever is above
                if role is _IMPORT:
                    found.importing = True  # of a module, by a library
                elif role is _BRIDGE:
                    found.bridge = True
            at = at.f_back
        return found

    def site(self, frame: FrameType, line: int = 0) -> CallSite:
        """Return the line of *frame* that is running, or the given one."""
        code = frame.f_code
        if line:
            return self._site(code, line)
        key = (id(code), frame.f_lasti)
        known = self.sites.get(key)
        # A frame knows its line without reading the table of all lines.
        return known[1] if known is not None else self._know(key, code, frame.f_lineno or 0)

    def _site(self, code: CodeType, line: int) -> CallSite:
        """Return the line without its text: to read files is not for a thread that is watched."""
        file = self.sorter(code.co_filename)
        self._filenames[file.path] = code.co_filename
        return CallSite(
            file.path, line, code.co_qualname, package=file.package.partition(".")[0] or None
        )

    def with_source(self, site: CallSite) -> CallSite:
        """Return *site* with the text of its line; for a thread that runs no loop."""
        filename = self._filenames.get(site.path)
        if site.source or filename is None:
            return site
        known = self._sources.get(site)
        if known is None:
            if len(self._sources) >= _MOST_SITES:
                self._sources.clear()
            known = site._replace(source=linecache.getline(filename, site.line).strip())
            self._sources[site] = known
        return known

    def user_frame(self, frame: FrameType) -> FrameType | None:
        """Return the innermost of the user's frames, from *frame* up to the loop's callback.

        `asyncio.run`, where it makes the task itself, is nobody's callback.
        """
        landmarks = self.sorter.landmarks
        at: FrameType | None = frame
        while at is not None and landmarks[at.f_code.co_filename] is _LOOP:
            if at.f_code.co_name in _CALLING_BACK:
                return None
            at = at.f_back
        while at is not None:
            role = landmarks[at.f_code.co_filename]
            if role is not None:
                if role is _USER:
                    return at
                if role is _QUIET or at.f_code.co_name in CALLBACK_RUNNERS:
                    return None  # above the harness are only more of its frames
            at = at.f_back
        return None

    @property
    def landmarks(self) -> tuple[Any, ...]:
        """What `user_frame` goes by: roles of files, three of these, and two sets of functions."""
        return (self.sorter.landmarks, _USER, _LOOP, _QUIET, _CALLING_BACK, CALLBACK_RUNNERS)

    def site_at(self, code: CodeType, instruction: int) -> CallSite:
        """Return the line of *code* at the offset of an instruction."""
        key = (id(code), instruction)
        known = self.sites.get(key)
        return known[1] if known is not None else self._know(key, code, _line_at(code, instruction))

    def _know(self, key: tuple[int, int], code: CodeType, line: int) -> CallSite:
        if len(self.sites) >= _MOST_SITES:
            self.sites.clear()
        site = self._site(code, line or code.co_firstlineno)
        known = self.sites[key] = (code, site)
        native.set_apart((known,))
        return site

    def site_of(self, function: Any) -> CallSite | None:
        """Return where *function* is defined, if it is the user's own."""
        code = code_of(function)
        if code is None:
            return None
        key = (id(code), -1)
        known = self.sites.get(key)
        if known is not None:
            return known[1]
        if self.sorter(code.co_filename).role is not Role.USER:
            return None
        return self._know(key, code, code.co_firstlineno)

    def is_end(self, code: CodeType) -> bool:
        """Tell whether a stack ends here: with the loop that runs a callback, or in a worker."""
        role = self.sorter.roles[code.co_filename]
        if role is _LOOP:
            return code.co_name in CALLBACK_RUNNERS
        return role is _OURS and code.co_name == WORKER_FRAME

    def known_chain(self, frame: FrameType) -> tuple[CallSite, ...]:
        """Return `chain`, read once for stacks that are alike: calls come in loops."""
        known = self._chains.get(key := self.key(frame))
        if known is None:
            if len(self._chains) >= _MOST_CHAINS:
                self._chains.clear()
            known = self._chains[key] = (self.codes(frame), self.chain(frame))
            native.set_apart((known, known[0]))
        return known[1]

    def chain(self, frame: FrameType) -> tuple[CallSite, ...]:
        """Return the frames from the loop's callback down to *frame*, outermost first.

        The coroutines that a task awaits are on its stack while it runs; the harness, the loop
        and our own frames are left out, and of a long chain the middle.
        """
        roles = self.sorter.roles
        found: list[CallSite] = []
        at: FrameType | None = frame
        for _ in range(DEEPEST):
            if at is None:
                break
            code = at.f_code
            role = roles[code.co_filename]
            if code.co_name in ENDS and self.is_end(code):
                break
            if role is _USER or role is _LIBRARY or code.co_flags & CO_ASYNC:
                found.append(self.site(at))
            at = at.f_back
        found.reverse()
        if len(found) > _LONGEST_CHAIN:
            half = _LONGEST_CHAIN // 2
            found = found[:half] + found[-half:]
        return tuple(found)

    def public_name(self, frame: FrameType) -> str:
        """Return the dotted name by which a user would call the function of *frame*.

        `requests.get`, not `requests.api.get`: the shortest package that offers the same object.
        """
        code = frame.f_code
        key = (code, code.co_filename)  # equal code in two files is equal
        name = self._names.get(key)
        if name is None:
            name = self._names[key] = _public_name(code, frame.f_globals)
        return name


def stack_key_in_python(frame: FrameType, ends: dict[int, CodeType]) -> object:
    """Return the numbers of codes, and the instructions, of a stack, up to one of the *ends*."""
    key: list[int] = []
    for _ in range(DEEPEST):
        number = id(frame.f_code)
        key += (number, frame.f_lasti)
        if number in ends or (above := frame.f_back) is None:
            break
        frame = above
    return tuple(key)


_stack_key: Final = native.stack_key or stack_key_in_python


def _line_at(code: CodeType, instruction: int) -> int:
    for start, end, line in code.co_lines():
        if start <= instruction < end:
            return line or code.co_firstlineno
    return code.co_firstlineno


def code_of(function: Any) -> CodeType | None:
    """Return the code of a function, method, partial or callable object, if it has any."""
    for _ in range(10):
        kind = type(function)
        if kind is FunctionType:
            code: CodeType = function.__code__
            return code
        inner = _inner_of(function, kind)
        if inner is None:
            inner = attributes_of(function).get("__wrapped__")
        if inner is None:
            call = next(
                (vars(one)["__call__"] for one in kind.__mro__ if "__call__" in vars(one)), None
            )
            return call.__code__ if type(call) is FunctionType else None
        function = inner
    return None


_BOUND: Final = frozenset({MethodType, classmethod, staticmethod})
_func_of: Final[Callable[[Any], Any]] = operator.attrgetter("func")


def _inner_of(function: Any, kind: type) -> Any:
    """Return what a method, a partial or an object with a `func` of its own calls, or None."""
    if kind in _BOUND:
        return function.__func__
    if issubclass(kind, functools.partial):
        return _func_of(function)
    inner = attributes_of(function).get("func")
    return inner if callable(inner) else None


def attributes_of(thing: Any) -> Mapping[str, Any]:
    """Return the attributes that are an object's own, without running any code of its class.

    To ask a proxy or a mock for an attribute runs the user's code, which may raise, or make one.
    """
    try:
        found = object.__getattribute__(thing, "__dict__")
    except Exception:  # noqa: BLE001 - it has none, or a class gives its own
        return {}
    return found if type(found) is dict else {}


_NAMED: Final = frozenset(
    {
        *(FunctionType, BuiltinFunctionType, MethodWrapperType),
        *(MethodDescriptorType, WrapperDescriptorType, ClassMethodDescriptorType),
    }
)
"""What has a name and no code of the user's that would be run to ask for it."""


def name_of(function: Any) -> str:
    """Return a readable dotted name of a callable that is handed to a thread."""
    for _ in range(10):
        inner = _inner_of(function, type(function))
        if inner is None:
            break
        function = inner
    kind = type(function)
    if kind in _NAMED:
        module = getattr(function, "__module__", None)
        name = function.__qualname__
        if not isinstance(module, str):
            own = getattr(function, "__self__", None)
            module = type(own).__module__ if own is not None else ""
    elif issubclass(kind, type):
        name = type.__getattribute__(function, "__qualname__")
        module = type.__getattribute__(function, "__module__")
    else:  # an object that can be called: by its class, unless it says otherwise itself
        own = attributes_of(function)
        name = own.get("__qualname__") or kind.__qualname__
        module = own.get("__module__") or kind.__module__
    module = SPOKEN.get(module, module) if isinstance(module, str) else ""
    return f"{module}.{name}" if module and module != "builtins" else str(name)


SPOKEN: Final = {
    "genericpath": "os.path",
    "posixpath": "os.path",
    "ntpath": "os.path",
    "pathlib._local": "pathlib",
    "pathlib._abc": "pathlib",
    "_io": "io",
    "_pyio": "io",
}


def _public_name(code: CodeType, names: Mapping[str, Any]) -> str:
    module = names.get("__name__", "")
    if not isinstance(module, str) or not module:
        return code.co_qualname
    module = SPOKEN.get(module, module)
    qualname, generator = code.co_qualname, bool(code.co_flags & CO_GENERATOR)
    if generator:  # what a function hands out to be iterated is the function's own work
        qualname = qualname.partition(".<locals>")[0]
    path = _without_locals(qualname)
    if module == "glob" and "Globber" in path[0]:  # works for pathlib, since 3.13
        return "pathlib.Path.glob"
    parts = module.split(".")
    for length in range(1, len(parts)):
        package = originals.modules.get(".".join(parts[:length]))
        found = _find(package, path) if package is not None else None
        if found is not None and (_same(found, code) or qualname != code.co_qualname):
            return f"{'.'.join(parts[:length])}.{'.'.join(_shown(path))}"
        if len(path) > 1 and package is not None and _same(_find(package, path[-1:]), code):
            return f"{'.'.join(parts[:length])}.{path[-1]}"  # made by another function
    return f"{module}.{'.'.join(_shown(path))}"


_SPOKEN_CLASSES: Final = {"PathBase": "Path", "PurePathBase": "PurePath", "_CRLock": "RLock"}


def is_nameless(code: CodeType, name: str) -> bool:
    """Tell whether *name* is that of a function inside another, which nobody can call by it."""
    path = code.co_qualname
    return "<locals>" in path and name.endswith(".".join(_shown(_without_locals(path))))


def _without_locals(qualname: str) -> list[str]:
    parts = [part for part in qualname.split(".") if part != "<locals>"]
    return [_SPOKEN_CLASSES.get(part, part) for part in parts]


def _shown(path: list[str]) -> list[str]:
    """A class that is made, entered or left is named by itself."""
    hidden = ("__init__", "__new__", "__enter__", "__exit__", "__aenter__", "__aexit__", "__call__")
    return path[:-1] if len(path) > 1 and path[-1] in hidden else path


def _find(owner: Any, path: list[str]) -> Any:
    for part in path:
        owner = vars(owner).get(part) if hasattr(owner, "__dict__") else None
        if owner is None:
            return None
    return owner


def _same(found: Any, code: CodeType) -> bool:
    return found is not None and code_of(found) is code
