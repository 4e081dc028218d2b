"""What can be set: the options of the command line with their ini twins, and the marker.

Imported at every start of pytest, also without `--truasync`: nothing here may be costly.
"""

from typing import Any, Final, Literal, NamedTuple, TypeAlias, get_args

import pytest

Mode: TypeAlias = Literal["fail", "warn", "raise"]
MODES: Final[tuple[str, ...]] = get_args(Mode)
CORES: Final = ("native", "python")
"""With the part in C, if it is there, or without: what TRUASYNC_CORE in the environment says."""
FORMAT_NAMES: Final = ("json",)
"""The report formats: the settings check a name without importing what renders it."""
MARKER: Final = "allow_blocking"
MARKER_LINE: Final = (
    f"{MARKER}(*what, reason): allow blocking calls and offloads in this test; "
    "what: codes, prefixes of codes, rule names or dotted calls; without any, all of them"
)
"""What `pytest --markers` says; for `config.addinivalue_line("markers", ...)`."""

OFFLOAD: Final = ("judge", "strict")


class Option(NamedTuple):
    """One setting: on the command line `--truasync-NAME`, in the ini file `truasync_NAME`."""

    name: str
    help: str
    type: str = "string"
    metavar: str | None = None

    @property
    def flag(self) -> str:
        """On the command line."""
        return f"--truasync-{self.name}"

    @property
    def ini(self) -> str:
        """In the ini file."""
        return f"truasync_{self.name}".replace("-", "_")


_SWITCHES: Final = ("--truasync", "--no-truasync", "--truasync-rules", "--truasync-explain")
_INI: Final = ("truasync", "truasync_allow")

OPTIONS: Final = (
    Option(
        "mode",
        "fail: fail a test after it ran (default); warn: report only; raise: at the call itself",
        metavar="|".join(MODES),
    ),
    Option(
        "select",
        "rules to judge by: codes, prefixes (TRU2) or names, comma separated; default: all",
        type="linelist",
        metavar="RULES",
    ),
    Option(
        "ignore", "rules to leave out, comma separated; default: none", "linelist", metavar="RULES"
    ),
    Option(
        "report",
        f"write a report at the end; formats: {', '.join(FORMAT_NAMES)}; repeatable",
        type="linelist",
        metavar="FORMAT:PATH",
    ),
    Option(
        "offload",
        "judge: by what an offload did in its thread (default); strict: every one is an error",
        metavar="|".join(OFFLOAD),
    ),
    Option(
        "stall-threshold",
        "how long one step of a task may hold the loop, such as 100ms or 0.1s (default: 100ms)",
        metavar="TIME",
    ),
    Option(
        "packages",
        "installed packages that count as your own code, by import name, comma separated",
        type="linelist",
        metavar="NAMES",
    ),
    Option("require-reason", "refuse a permission without a reason", type="bool"),
    Option("strict-allow", "fail where a permission let nothing through", type="bool"),
)


def add_options(parser: pytest.Parser) -> None:
    """Declare the options and their ini twins."""
    group = parser.getgroup("truasync", "fake async: blocking calls and work hidden in threads")
    group.addoption(
        "--truasync",
        action="store_true",
        help="find calls that hold the event loop, and blocking work hidden in threads",
    )
    group.addoption(
        "--no-truasync",
        action="store_true",
        help="do not, whatever --truasync and the ini file say",
    )
    parser.addini("truasync", "the same as --truasync", type="bool", default=None)
    for option in OPTIONS:
        if option.type == "bool":
            group.addoption(option.flag, action="store_true", help=option.help)
        elif option.type == "linelist":
            group.addoption(option.flag, action="append", metavar=option.metavar, help=option.help)
        else:
            group.addoption(option.flag, metavar=option.metavar, help=option.help)
        parser.addini(option.ini, option.help, type=_ini_type(option), default=None)
    parser.addini(
        "truasync_allow",
        "permissions, one a line: WHAT in PATH-GLOB[::FUNCTION]  # reason",
        type="linelist",
        default=None,
    )
    group.addoption("--truasync-rules", action="store_true", help="list the rules, and stop")
    group.addoption(
        "--truasync-explain", metavar="RULE", help="explain a rule by code or name, and stop"
    )


def is_asked(config: pytest.Config) -> bool:
    """Tell whether the command line or the ini file says anything to us, be it wrong."""
    flags = [option.flag for option in OPTIONS]
    if any(config.getoption(name, None) for name in (*_SWITCHES, *flags)):
        return True
    return any(_has_ini(config, name) for name in (*_INI, *(one.ini for one in OPTIONS)))


def _has_ini(config: pytest.Config, name: str) -> bool:
    try:
        return config.getini(name) is not None
    except (TypeError, ValueError, pytest.UsageError):  # a wrong value, told of by who reads it
        return True


def _ini_type(option: Option) -> Any:
    """Return the type of an ini value; a TOML table may give the threshold as a number."""
    if option.name == "stall-threshold" and pytest.version_tuple >= (9, 2):
        return str | float
    return option.type
