"""From samples of a thread to the user's line, and to the call that is written there."""

import _weakrefset
import ast
import bisect
import builtins
import dis
import linecache
import weakref
from collections.abc import Iterable, Iterator, Mapping
from types import CodeType, FrameType, ModuleType
from typing import Any, Final, NamedTuple

from pytest_truasync._detect import originals
from pytest_truasync._detect.callsite import (
    CALLBACK_RUNNERS,
    CO_ASYNC,
    FrameReader,
    Stack,
    name_of,
)
from pytest_truasync._detect.files import Role
from pytest_truasync._model import CallSite

_LONGEST_TEXT: Final = 80
_DEEPEST: Final = 400
_LONGEST_CHAIN: Final = 16

# Instructions that can take long and after which the interpreter does not hand over the GIL: a
# sampler that waited for it sees the first one behind that does.
_SILENT: Final = (
    "BINARY_",
    "COMPARE_OP",
    "CONTAINS_OP",
    "UNARY_",
    "STORE_SUBSCR",
    "DELETE_SUBSCR",
    "STORE_SLICE",
    "LIST_EXTEND",
    "SET_UPDATE",
    "DICT_UPDATE",
    "DICT_MERGE",
    "FORMAT_",
    "BUILD_STRING",
    "UNPACK_",
    "LIST_TO_TUPLE",
    "CALL_INTRINSIC",
)
_HANDING_OVER: Final = ("CALL", "RESUME", "SEND", "YIELD_VALUE", "FOR_ITER")
_BACKWARD: Final = "JUMP_BACKWARD"  # in 3.11 also POP_JUMP_BACKWARD_IF_TRUE and its like

# Calls that never take long. One that is found at the end of a long wait for the GIL is only the
# first thing behind what took long: an operator, say.
_CLOCKS: Final = ("time", "monotonic", "perf_counter", "process_time", "thread_time")
_INSTANT: Final = frozenset(
    {"len", "isinstance", "issubclass", "type", "id", "ord", "chr", "callable"}
    | {f"time.{clock}{unit}" for clock in _CLOCKS for unit in ("", "_ns")}
)


_WEAK_FILES: Final = (weakref.__file__, _weakrefset.__file__)


class Place:
    """Where a thread was seen: an instruction of the user's, with what lies below it.

    It is taken while the sampler holds the GIL. Lines of source, which may have to be read from
    files, are left for later.

    Args:
        code: of the frame.
        instruction: where it is.
        names: globals of the code.
        called: public name of the Python function that it called, if it was in one.
        users: the code is the user's.
        rows: code and line of the frames from here up to the loop, innermost first.
    """

    __slots__ = (
        "called",
        "code",
        "inside_ns",
        "instruction",
        "names",
        "origin",
        "permission",
        "rows",
        "spent_ns",
        "users",
    )

    def __init__(
        self,
        code: CodeType,
        instruction: int,
        names: Mapping[str, Any],
        called: str,
        *,
        users: bool,
        rows: tuple[tuple[CodeType, int], ...],
    ) -> None:
        self.code = code
        self.instruction = instruction
        self.names = names
        self.called = called
        self.users = users
        self.rows = rows
        self.origin: CallSite | None = None
        """The user's line that made the task, where none is on the stack."""
        self.permission = ""
        self.spent_ns = 0
        self.inside_ns = 0
        """How much of it was certainly inside of one C call: it kept the GIL, or had let go."""

    @property
    def key(self) -> tuple[int, int]:
        """Identity while it is kept."""
        return id(self.code), self.instruction

    @property
    def line(self) -> tuple[int, int]:
        """The line that it stands on."""
        return id(self.code), _positions(self.code, self.instruction)[0]


class Blame(NamedTuple):
    """The line that a thread spent its time on, and what it did there."""

    site: CallSite
    target: str
    text: str
    """The call as it is written, if it is one."""
    columns: tuple[int, int]
    """Of the text, the first and the last, counted from 1."""
    chain: tuple[CallSite, ...]
    permission: str

    @property
    def call(self) -> str:
        """The call and its columns, for people."""
        first, last = self.columns
        return f"`{self.text}` (columns {first}-{last})" if self.text else ""


def is_excused(stack: Stack) -> bool:
    """Tell whether a thread is seen in something that is not the user's to change.

    The test harness, a debugger, an import, the loop's own work.
    """
    nearest = stack.nearest
    if nearest in (Role.QUIET, Role.IMPORT) or stack.importing:
        return True
    called_by_loop = not stack.between and stack.caller.f_code.co_name in CALLBACK_RUNNERS
    return nearest is Role.LOOP and not called_by_loop


def culprit(frame: FrameType, error: Any = None) -> tuple[FrameType, int]:
    """Return the frame and instruction that held the GIL until just now.

    The interpreter hands it over right after a call. After an operator it does so at the next
    call, jump back or function entry.

    Args:
        frame: the innermost frame, as the sampler found it when it got the GIL.
        error: the exception that the thread handles, which may tell where the call was.
    """
    at: FrameType | None = frame
    entered = False
    while at is not None:
        found = _silent_before(at.f_code, at.f_lasti, entered=entered)
        if found is None:  # a call it is, or nothing can be told
            break
        if found >= 0:
            return at, found
        if found == _RAISED and (place := _raised_at(at, error)) >= 0:
            return at, place
        if found != _AT_START:
            break
        at, entered = at.f_back, True
        if at is not None and at.f_code.co_name in CALLBACK_RUNNERS:
            break
    return frame, frame.f_lasti


_AT_START: Final = -1
_NOTHING: Final = -2
_RAISED: Final = -3


def _silent_before(code: CodeType, instruction: int, *, entered: bool) -> int | None:
    """Return the costly instruction between the last one that hands over the GIL and this one.

    Args:
        code: of the frame.
        instruction: where it is.
        entered: the call at *instruction* has only begun.
    """
    if not entered and _is_call(code, instruction):
        return None
    known = _instructions(code)
    # Since 3.12 a frame that has called another one may stand in the caches behind the call.
    index = bisect.bisect_right(known, instruction, key=lambda one: one.offset) - 1
    if index < 0:
        return None
    for place in range(index - 1, -1, -1):
        one = known[place]
        name = one.name
        if name.startswith(_SILENT):
            return one.offset
        if name == "PUSH_EXC_INFO":
            return _RAISED
        if name == "RESUME":
            return _AT_START if one.arg == 0 else _NOTHING
        if name.startswith("CALL") and known[place + 1].name == "GET_AWAITABLE":
            continue  # it only made a coroutine
        if name.startswith(_HANDING_OVER) or _BACKWARD in name:
            return _NOTHING
    return _AT_START


def _raised_at(frame: FrameType, error: Any) -> int:
    if isinstance(error, tuple):  # 3.11
        error = error[1]
    trace = getattr(error, "__traceback__", None)
    for _ in range(_DEEPEST):
        if trace is None:
            break
        if trace.tb_frame is frame:
            return int(trace.tb_lasti)
        trace = trace.tb_next
    return -1


def place_of(
    reader: FrameReader, stack: Stack, *, function: Any = None, instruction: int = -1
) -> Place:
    """Return where a thread is.

    Args:
        reader: reads stacks.
        stack: that of the thread.
        function: the loop's callback, if it is no task.
        instruction: of the user's frame, if it is another than the one it is at.
    """
    between = stack.between
    at = stack.user
    called = reader.public_name(between[-1]) if between and not _is_weak(between[-1]) else ""
    if at is None:
        library = between[stack.library] if stack.library >= 0 else None
        at = library or (between[-1] if between else stack.caller)
        called = called or (name_of(function) if function is not None else "")
    return Place(
        code=at.f_code,
        instruction=at.f_lasti if instruction < 0 else instruction,
        names=at.f_globals,
        called=called,
        users=stack.user is not None,
        rows=tuple(_rows(reader, stack.caller)),
    )


def _is_weak(frame: FrameType) -> bool:
    """Tell a callback of weak references, which nobody calls: whatever lets go of objects does."""
    code = frame.f_code
    return code.co_name in ("remove", "_remove") and code.co_filename in _WEAK_FILES


def _rows(reader: FrameReader, frame: FrameType) -> Iterator[tuple[CodeType, int]]:
    at: FrameType | None = frame
    for _ in range(_DEEPEST):
        if at is None:
            return
        code = at.f_code
        role = reader.sorter(code.co_filename).role
        if role is Role.LOOP and code.co_name in CALLBACK_RUNNERS:
            return
        if role in (Role.USER, Role.LIBRARY) or code.co_flags & CO_ASYNC:
            yield code, at.f_lineno or code.co_firstlineno
        at = at.f_back


def blame(reader: FrameReader, places: Iterable[Place]) -> Blame | None:
    """Return the line on which most of the time was spent, and on it the costliest call."""
    lines: dict[tuple[int, int], list[Place]] = {}
    for place in places:
        if not place.called and _is_instant(place):
            before = _silent_before(place.code, place.instruction, entered=True)
            place.instruction = before if before is not None and before >= 0 else place.instruction
        lines.setdefault(place.line, []).append(place)
    if not lines:
        return None
    on_line = max(lines.values(), key=lambda found: sum(place.spent_ns for place in found))
    best = max(on_line, key=lambda place: place.spent_ns)
    text, columns = "", (0, 0)
    each_is_short = best.inside_ns * 2 < best.spent_ns and _in_loop(best.code, best.instruction)
    if not each_is_short and not _is_instant(best):
        text, columns = call_text(best.code, best.instruction)
    target = best.called or (name_call(text, best) if text else "") or _function(best.code)
    site = best.origin or _site(reader, best.code, best.line[1])
    rows = best.rows[::-1]
    if len(rows) > _LONGEST_CHAIN:
        rows = (*rows[: _LONGEST_CHAIN // 2], *rows[-_LONGEST_CHAIN // 2 :])
    chain = tuple(_site(reader, code, line) for code, line in rows)
    return Blame(site, target, shorten(text), columns, chain, best.permission)


def _is_instant(place: Place) -> bool:
    text, _ = call_text(place.code, place.instruction)
    return bool(text) and name_call(text, place) in _INSTANT


def _function(code: CodeType) -> str:
    parts = [part for part in code.co_qualname.split(".") if not part.startswith("<")]
    return parts[-1] if parts else code.co_name


def _site(reader: FrameReader, code: CodeType, line: int) -> CallSite:
    file = reader.sorter(code.co_filename)
    source = linecache.getline(code.co_filename, line).strip()
    package = file.package.partition(".")[0] or None
    return CallSite(file.path, line, code.co_qualname, source, package)


def _positions(code: CodeType, instruction: int) -> tuple[int, int, int, int]:
    """Return line, last line, column and end column of an instruction; 0 where unknown."""
    last = code.co_firstlineno  # an instruction without a line belongs to the one before it
    for number, (line, end, column, end_column) in enumerate(code.co_positions()):
        last = line or last
        if number * 2 == instruction:
            return last, end or last, column or 0, end_column or 0
    return last, last, 0, 0


def call_text(code: CodeType, instruction: int) -> tuple[str, tuple[int, int]]:
    """Return the call that is written at an instruction, and its columns; empty if it is none."""
    line, end, column, end_column = _positions(code, instruction)
    if not end_column or not _is_call(code, instruction):
        return "", (0, 0)
    rows = [linecache.getline(code.co_filename, n).encode() for n in range(line, end + 1)]
    if not rows or not rows[0]:
        return "", (0, 0)
    rows[-1] = rows[-1][:end_column]
    first = rows[0][:column].decode(errors="replace")
    rows[0] = rows[0][column:]
    text = b"".join(rows).decode(errors="replace")
    return text, (len(first) + 1, len(first) + len(text.partition("\n")[0]))


def _is_call(code: CodeType, instruction: int) -> bool:
    return dis.opname[code.co_code[instruction]].startswith("CALL")


def _in_loop(code: CodeType, instruction: int) -> bool:
    """Tell whether an instruction may run many times, so that each may be short."""
    known = _instructions(code)
    ends = [*(one.offset for one in known[1:]), len(code.co_code)]
    return any(
        _BACKWARD in one.name and end - 2 * one.arg <= instruction <= one.offset
        for one, end in zip(known, ends, strict=True)
    )


class _Instruction(NamedTuple):
    offset: int
    name: str
    arg: int


def _instructions(code: CodeType) -> list[_Instruction]:
    """Return what *code* runs, without caches; `dis` finds out ten times as much of each."""
    found, extended = [], 0
    raw = code.co_code
    for offset in range(0, len(raw), 2):
        name, arg = dis.opname[raw[offset]], raw[offset + 1] | extended
        extended = arg << 8 if name == "EXTENDED_ARG" else 0
        if name != "CACHE":
            found.append(_Instruction(offset, name, arg))
    return found


def shorten(text: str) -> str:
    """Return source on one line and not too long."""
    text = " ".join(text.split())
    return text if len(text) <= _LONGEST_TEXT else text[: _LONGEST_TEXT - 1] + "…"


def name_call(text: str, place: Place) -> str:
    """Return the dotted name of what a call calls, by its public name where it can be found."""
    try:
        node = ast.parse(f"({text})", mode="eval").body
    except (SyntaxError, ValueError):
        return ""
    if isinstance(node, ast.Await):
        node = node.value
    if not isinstance(node, ast.Call):
        return ""
    written = ast.unparse(node.func)
    parts = list(_parts(node.func))
    if not parts:
        return shorten(written)
    root, *rest = reversed(parts)
    code = place.code
    if root in (*code.co_varnames, *code.co_cellvars, *code.co_freevars):
        return written
    return _public(root, rest, place.names) or written


def _parts(node: ast.expr) -> Iterator[str]:
    """Yield the names of a dotted expression, the last one first; none if it is another."""
    found: list[str] = []
    while isinstance(node, ast.Attribute):
        found.append(node.attr)
        node = node.value
    if isinstance(node, ast.Name):
        yield from found
        yield node.id


def _public(root: str, rest: list[str], names: Mapping[str, Any]) -> str:
    found = names.get(root, vars(builtins).get(root))
    for number, name in enumerate(rest):
        if not isinstance(found, ModuleType):
            return ""
        if number == len(rest) - 1:
            return f"{found.__name__}.{name}"
        found = vars(found).get(name)
    module = getattr(found, "__module__", None)
    qualified = getattr(found, "__qualname__", None)
    if not isinstance(module, str) or not isinstance(qualified, str):
        return ""
    if module == "builtins":
        return qualified
    shown = originals.modules.get(module.lstrip("_"))
    if shown is not None and vars(shown).get(qualified) is found:
        module = module.lstrip("_")
    return f"{module}.{qualified}"
