"""Whose file is it: the user's, a library's, the interpreter's, the test harness's?"""

import os
import site
import sys
import sysconfig
from collections.abc import Iterable
from enum import IntEnum
from pathlib import Path
from typing import Final, NamedTuple

from pytest_truasync._detect import originals

OURS: Final = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))  # noqa: PTH100, PTH120 - frames hold strings


class Role(IntEnum):
    """What a source file is to the search for the user's line."""

    USER = 1
    LIBRARY = 2
    STDLIB = 3
    """Standard library code that is judged by who calls it."""
    LOOP = 4
    """The event loop and what it does for itself; nobody's to change."""
    QUIET = 5
    """Harness, debuggers, tracebacks: their calls are not the user's."""
    LAZY = 6
    """Loads files of its own once."""
    IMPORT = 7
    BRIDGE = 8
    """A thread's way back into the loop: it waits by design."""
    PLUMBING = 9
    """Code that only passes a call on: it names nothing and judges nothing."""
    OURS = 10


class SourceFile(NamedTuple):
    """A file of source, sorted."""

    role: Role
    path: str
    """Relative to rootdir with `/` for the user's files, as the interpreter has it for others."""
    package: str
    """Installed package or standard module that it belongs to; empty for the user's."""


# Files of the standard library by path below its folder; a folder ends in "/".
_STDLIB_ROLES: Final = {
    "asyncio/": Role.LOOP,
    "importlib/metadata/": Role.LAZY,
    "importlib/resources/": Role.LAZY,
    "importlib/": Role.IMPORT,
    "pkgutil.py": Role.IMPORT,
    "runpy.py": Role.IMPORT,
    "zipimport.py": Role.IMPORT,
    "mimetypes.py": Role.LAZY,
    "zoneinfo/": Role.LAZY,
    "gettext.py": Role.LAZY,
    "locale.py": Role.LAZY,
    "encodings/": Role.LAZY,
    "sysconfig": Role.LAZY,
    "platform.py": Role.LAZY,
    "_strptime.py": Role.LAZY,
    "linecache.py": Role.QUIET,
    "traceback.py": Role.QUIET,
    "tokenize.py": Role.QUIET,
    "inspect.py": Role.QUIET,
    "warnings.py": Role.QUIET,
    "_py_warnings.py": Role.QUIET,
    "pdb.py": Role.QUIET,
    "bdb.py": Role.QUIET,
    "cmd.py": Role.QUIET,
    "doctest.py": Role.QUIET,
    "trace.py": Role.QUIET,
    "tracemalloc.py": Role.QUIET,
    "faulthandler.py": Role.QUIET,
    "unittest/": Role.PLUMBING,
    "contextlib.py": Role.PLUMBING,
    "functools.py": Role.PLUMBING,
    "contextvars.py": Role.PLUMBING,
    "dataclasses.py": Role.PLUMBING,
    "typing.py": Role.PLUMBING,
    "abc.py": Role.PLUMBING,
    "types.py": Role.PLUMBING,
    "enum.py": Role.PLUMBING,
    "collections/": Role.PLUMBING,
    "_collections_abc.py": Role.PLUMBING,
}

# Installed packages, by the name of their folder or module.
_PACKAGE_ROLES: Final = {
    "_pytest": Role.QUIET,
    "pytest": Role.QUIET,
    "pluggy": Role.QUIET,
    "pytest_asyncio": Role.QUIET,
    "pytest_trio": Role.QUIET,
    "pytest_timeout": Role.QUIET,
    "pytest_cov": Role.QUIET,
    "pytest_randomly": Role.QUIET,
    "pytest_rerunfailures": Role.QUIET,
    "pytest_subtests": Role.QUIET,
    "xdist": Role.QUIET,
    "execnet": Role.QUIET,
    "coverage": Role.QUIET,
    "hypothesis": Role.QUIET,
    "blockbuster": Role.PLUMBING,
    "forbiddenfruit": Role.QUIET,
    "debugpy": Role.QUIET,
    "pydevd": Role.QUIET,
    "_pydevd_bundle": Role.QUIET,
    "_pydev_bundle": Role.QUIET,
    "_pydevd_frame_eval": Role.QUIET,
    "pydevd_file_utils": Role.QUIET,
    "IPython": Role.QUIET,
    "pyinstrument": Role.QUIET,
    "line_profiler": Role.QUIET,
    "memray": Role.QUIET,
    "typeguard": Role.QUIET,
    "exceptiongroup": Role.QUIET,
    "asttokens": Role.QUIET,
    "executing": Role.QUIET,
    "stack_data": Role.QUIET,
    "uvloop": Role.LOOP,
    "trio": Role.LOOP,
    "outcome": Role.PLUMBING,
    "sniffio": Role.PLUMBING,
    "greenlet": Role.PLUMBING,
    "wrapt": Role.PLUMBING,
    "decorator": Role.PLUMBING,
    "certifi": Role.LAZY,
    "tzdata": Role.LAZY,
    "pytz": Role.LAZY,
    "tzlocal": Role.LAZY,
    "importlib_metadata": Role.LAZY,
    "importlib_resources": Role.LAZY,
    "pkg_resources": Role.LAZY,
}

# Single files of installed packages: (package, rest of the path).
_FILE_ROLES: Final = {
    ("anyio", "from_thread.py"): Role.BRIDGE,
    ("asgiref", "current_thread_executor.py"): Role.BRIDGE,
    ("asgiref", "sync.py"): Role.PLUMBING,
    ("trio", "_threads.py"): Role.BRIDGE,
    ("anyio", "pytest_plugin.py"): Role.QUIET,
    ("anyio", "_core/_eventloop.py"): Role.PLUMBING,
    ("anyio", "_core/_synchronization.py"): Role.PLUMBING,
    ("anyio", "_core/_tasks.py"): Role.PLUMBING,
}

_SYSTEM_FOLDERS: Final = ("/usr/share/", "/etc/", "/usr/lib/", "/Library/", "/opt/homebrew/share/")
_DATA_FOLDERS: Final = (".cache", ".local")
"""Hidden folders of the user's that hold data."""


class FileSorter:
    """Sorts source files by role, once each.

    Args:
        root: the user's project, pytest's rootdir.
        packages: import names of installed packages that are the user's own as well.
    """

    def __init__(self, root: Path, packages: Iterable[str] = ()) -> None:
        self._root = _folder(os.fspath(root))
        self._packages = frozenset(packages)
        self._known: dict[str, SourceFile] = {}
        self.roles = _Roles(self)
        self.landmarks = _Landmarks(self)
        paths = install_folders()
        self._stdlib = tuple({_folder(paths[name]) for name in ("stdlib", "platstdlib")})
        sites = {paths["purelib"], paths["platlib"], *_site_folders()}
        self._sites = tuple(sorted(map(_folder, sites), key=len, reverse=True))
        own = {_folder(sys.prefix), _folder(sys.base_prefix), _folder(sys.exec_prefix)}
        # A prefix that holds the project (a venv above it, "/usr") says nothing about its files.
        self._prefixes = tuple(p for p in own if not self._root.startswith(p) and p != "/")
        self._installed = (*self._sites, *self._stdlib, *_SYSTEM_FOLDERS)
        self._home = _folder(os.path.expanduser("~"))  # noqa: PTH111 - pathlib is watched

    def __call__(self, filename: str) -> SourceFile:
        """Return what the file of a code object is."""
        found = self._known.get(filename)
        if found is None:
            found = self._known[filename] = self._sort(filename)
        return found

    def is_below_root(self, filename: str) -> bool:
        """Tell whether a file may be the user's, at little cost."""
        return filename.startswith(self._root)

    def is_installed(self, path: str) -> bool:
        """Tell whether *path* comes with the system, the interpreter or an installed package."""
        if path.startswith(self._root) and not self._below_environment(path):
            return False
        return path.startswith(self._installed)

    @staticmethod
    def is_time_zone(path: str) -> bool:
        """Tell whether *path* is of the system's time zones, which `ZoneInfo` loads once, in C."""
        zones = sys.modules.get("zoneinfo")
        return zones is not None and path.startswith(tuple(zones.TZPATH))

    def is_settings(self, path: str) -> bool:
        """Tell whether *path* is where programs keep settings: `~/.pgpass`, `~/.aws/config`.

        A library looks there of its own accord, and most often finds nothing.
        """
        if path.startswith(self._root) or not path.startswith("/"):
            return False
        if self._home.startswith(f"{path}/"):
            return True  # on the way there
        above = self._home if path.startswith(self._home) else "/"
        first = path[len(above) :].partition("/")[0]
        return first.startswith(".") and first not in _DATA_FOLDERS

    def _sort(self, filename: str) -> SourceFile:
        if filename.startswith("<frozen "):
            name = filename[8:-1]
            role = _stdlib_role(name.replace(".", "/") + ".py")
            return SourceFile(role, filename, name)
        if filename.startswith("<") or not filename:
            return SourceFile(Role.PLUMBING, filename, "")
        path = originals.abspath(filename).replace(os.sep, "/")
        if path.startswith(OURS.replace(os.sep, "/") + "/"):
            return SourceFile(Role.OURS, path, "pytest_truasync")
        for folder in self._sites:
            if path.startswith(folder) and not self._root.startswith(folder):
                return self._installed_file(path, path[len(folder) :])
        if path.startswith(self._root):
            if not self._below_environment(path):
                return SourceFile(Role.USER, path[len(self._root) :], "")
            inside = path.rpartition("site-packages/")[2].rpartition("dist-packages/")[2]
            return self._installed_file(path, inside)
        for folder in self._stdlib:
            if path.startswith(folder):
                rest = path[len(folder) :]
                if "site-packages/" in rest or "dist-packages/" in rest:
                    return self._installed_file(path, rest.rpartition("-packages/")[2])
                return SourceFile(_stdlib_role(rest), path, _module_name(rest))
        if "site-packages/" in path or "dist-packages/" in path:
            return self._installed_file(path, path.rpartition("-packages/")[2])
        return self._elsewhere(path)

    def _elsewhere(self, path: str) -> SourceFile:
        """A file outside of rootdir that nobody installed: an editable install, PYTHONPATH."""
        for folder in sys.path:
            below = _folder(folder) if folder else ""
            if below and path.startswith(below):
                return self._installed_file(path, path[len(below) :])
        return self._installed_file(path, path.rpartition("/")[2])

    def _is_named(self, rest: str) -> bool:
        """Tell whether a file of an installed package is in one that is the user's own."""
        dotted = rest.removesuffix(".py").replace("/", ".") + "."
        return any(dotted.startswith(f"{name}.") for name in self._packages)

    def _installed_file(self, path: str, rest: str) -> SourceFile:
        top, _, inside = rest.partition("/")
        package = top.removesuffix(".py")
        if self._packages and self._is_named(rest):
            return SourceFile(Role.USER, path, package)
        role = _FILE_ROLES.get((package, inside)) or _PACKAGE_ROLES.get(package, Role.LIBRARY)
        return SourceFile(role, path, _module_name(rest))

    def _below_environment(self, path: str) -> bool:
        if path.startswith(self._prefixes):
            return True
        rest = path[len(self._root) :]
        return "site-packages/" in rest or "dist-packages/" in rest


class _Roles(dict[str, Role]):
    """File name of a code object → role; a walk of a stack asks for one frame after another."""

    def __init__(self, sort: FileSorter) -> None:
        super().__init__()
        self._sort = sort

    def __missing__(self, filename: str) -> Role:
        role = self[filename] = self._sort(filename).role
        return role


class _Landmarks(dict[str, Role | None]):
    """The same for the few roles at which a walk up to the user's line ends; None for others."""

    def __init__(self, sort: FileSorter) -> None:
        super().__init__()
        self._sort = sort

    def __missing__(self, filename: str) -> Role | None:
        role = self._sort(filename).role
        found = self[filename] = role if role in (Role.USER, Role.LOOP, Role.QUIET) else None
        return found


def _folder(path: str) -> str:
    return originals.abspath(path).replace(os.sep, "/").rstrip("/") + "/"


def install_folders() -> dict[str, str]:
    """Return the folders of the standard library and of packages, as `sysconfig.get_paths` does.

    That reads all variables of the interpreter's Makefile first, for a few that `sys` has as well.
    """
    scheme = sysconfig.get_paths(expand=False)
    without_gil = "t" in getattr(sys, "abiflags", "")
    known = {
        "base": sys.prefix,
        "platbase": sys.exec_prefix,
        "installed_base": sys.base_prefix,
        "installed_platbase": sys.base_exec_prefix,
        "platlibdir": sys.platlibdir,
        "implementation_lower": "pypy" if sys.implementation.name == "pypy" else "python",
        "py_version_short": f"{sys.version_info[0]}.{sys.version_info[1]}",
        "abi_thread": "t" if without_gil else "",
    }
    try:
        return {
            name: os.path.normpath(scheme[name].format_map(known))
            for name in ("stdlib", "platstdlib", "purelib", "platlib")
        }
    except KeyError:  # a scheme of a distribution's own
        return sysconfig.get_paths()


def _site_folders() -> list[str]:
    folders = list(site.getsitepackages()) if hasattr(site, "getsitepackages") else []
    with_user = site.getusersitepackages() if site.ENABLE_USER_SITE else ""
    return [*folders, *([with_user] if with_user else [])]


def _module_name(rest: str) -> str:
    return rest.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def _stdlib_role(rest: str) -> Role:
    for start, role in _STDLIB_ROLES.items():
        if rest.startswith(start):
            return role
    return Role.STDLIB
