"""What blockbuster knows, in our terms; the only module that knows blockbuster.

Its table of functions, the predicates that tell which calls cannot block, and the places where
the interpreter and the test tools may block are the base that our own rows stand on. Without
blockbuster, or with one whose insides have changed, our own rows stand alone.
"""

import builtins
from collections.abc import Callable, Iterable
from typing import Any, Final, NamedTuple

from pytest_truasync._model import Target

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
    """Function → ends of the paths of the files in which it may block."""


def base_table(known: Iterable[str]) -> BaseTable:
    """Return what blockbuster adds to the targets named *known*."""
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
