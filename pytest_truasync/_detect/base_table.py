"""What blockbuster knows, in our terms; the only module that knows blockbuster.

Its table of functions, the predicates that tell which calls cannot block, and the places where
the interpreter and the test tools may block are the base that our own rows stand on. What the
release `RELEASE` has beyond our rows is written down here, since to import it, with forbiddenfruit
and sqlite3, is a tenth of a start; any other release is asked itself. One whose insides have
changed adds nothing.
"""

from __future__ import annotations

import builtins
import importlib.util
import os
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, NamedTuple

from pytest_truasync._model import Target

RELEASE: Final = "1.5.29"
QUIET_FUNCTIONS: Final[Mapping[str, tuple[str, ...]]] = {
    "<module>": ("aiofile/version.py",),
    "_do_wait_suspend": ("/pydevd.py",),
    "_read_pyc": ("_pytest/assertion/rewrite.py",),
    "_rewrite_test": ("_pytest/assertion/rewrite.py",),
    "_should_rewrite": ("_pytest/assertion/rewrite.py",),
    "_should_trace": ("coverage/control.py",),
    "_sock_sendfile_native_impl": ("asyncio/unix_events.py",),
    "_stop_serving": ("asyncio/unix_events.py",),
    "_write_pyc": ("_pytest/assertion/rewrite.py",),
    "checkcache": ("linecache.py", "<frozen linecache>"),
    "create_unix_server": ("asyncio/unix_events.py",),
    "get_abs_path_real_path_and_base_from_file": ("/pydevd_file_utils.py",),
    "get_python_source": ("coverage/python.py",),
    "read_python_source": ("coverage/python.py",),
    "sendfile": ("asyncio/base_events.py",),
    "shutdown_default_executor": ("asyncio/base_events.py",),
    "start": ("threading.py",),
    "submit": ("concurrent/futures/thread.py",),
    "subprocess_exec": ("asyncio/base_events.py",),
    "subprocess_shell": ("asyncio/base_events.py",),
    "try_makedirs": ("_pytest/assertion/rewrite.py",),
    "updatecache": ("linecache.py", "<frozen linecache>"),
}
"""Function → ends of the paths of the files in which it may block, as `RELEASE` has them."""

LEFT_OUT: Final = frozenset(
    {
        "os.getcwd",  # one system call that touches no disk
        "os.path.abspath",  # text
        "os.path.samestat",  # compares two results
    }
)
"""Functions of the table that do no I/O worth the name."""

SEEN_BELOW: Final = ("io.Buffered", "io.TextIOWrapper.", "ssl.SSLSocket.", "os.path.")
"""Functions of the table, by how their names start, that end in a call which we watch: buffered
files in `io.FileIO`, TLS in its session, tests of a path in `os.stat`."""

_CODES: Final = (
    ("socket.", "TRU270"),
    ("ssl.", "TRU270"),
    ("sqlite3.", "TRU281"),
    ("threading.", "TRU260"),
    ("os.path.", "TRU240"),
    ("os.", "TRU240"),
    ("io.", "TRU231"),
    ("builtins.input", "TRU250"),
    ("time.", "TRU251"),
)


class BaseTable(NamedTuple):
    """What the base brings."""

    targets: tuple[Target, ...]
    """Rows that we lack."""
    harmless: dict[str, Callable[..., bool]]
    """Target → predicate that tells a call which cannot block, for the rows that we lack."""
    quiet_functions: dict[str, tuple[str, ...]]
    """See `QUIET_FUNCTIONS`."""


def base_table(known: Iterable[str]) -> BaseTable:
    """Return what the blockbuster that is installed adds to the targets named *known*."""
    if is_written_down():
        return BaseTable((), {}, dict(QUIET_FUNCTIONS))
    return read_table(known)


def is_written_down() -> bool:
    """Tell whether there is nothing to ask: blockbuster is of `RELEASE`, or there is none."""
    try:
        spec = importlib.util.find_spec("blockbuster")
    except ValueError:  # somebody's stand-in, which has no spec
        return False
    if spec is None or spec.origin is None:
        return spec is None
    folder = os.path.dirname(os.path.dirname(spec.origin))  # noqa: PTH120 - pathlib is watched
    return os.path.isdir(f"{folder}/blockbuster-{RELEASE}.dist-info")  # noqa: PTH112 - as above


def read_table(known: Iterable[str]) -> BaseTable:
    """Ask blockbuster itself; see `base_table`."""
    rows = _rows()
    own = set(known)
    targets: list[Target] = []
    harmless: dict[str, Callable[..., bool]] = {}
    quiet: dict[str, tuple[str, ...]] = {}
    for name, row in rows.items():
        for file, functions in getattr(row, "can_block_functions", ()):
            if "importlib" in file:
                continue  # imports are known as such
            for function in functions:
                quiet[function] = (*quiet.get(function, ()), file)
        code = next((code for start, code in _CODES if name.startswith(start)), None)
        if name in own or name in LEFT_OUT or name.startswith(SEEN_BELOW) or code is None:
            continue
        targets.append(Target(name, code))
        harmless[name] = row.can_block_predicate
    return BaseTable(tuple(targets), harmless, quiet)


def _rows() -> dict[str, Any]:
    listing = builtins.dir  # forbiddenfruit, below blockbuster, puts its own in place at its import
    try:
        from blockbuster import BlockBuster

        functions = BlockBuster().functions
        return dict(functions) if isinstance(functions, dict) else {}
    except Exception:  # noqa: BLE001 - whatever has changed there, our own rows stand
        return {}
    finally:
        builtins.dir = listing
