"""Command line, ini file and markers → frozen values; every `UsageError` is raised here."""

import math
import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple, cast

import pytest

from pytest_truasync._model import CallSite, Permission
from pytest_truasync._options import CORES, FORMAT_NAMES, MARKER, MODES, OFFLOAD, OPTIONS, Mode
from pytest_truasync._rules import NAMES, RULES, UnknownWordError, check_words, is_health, select


class Settings(NamedTuple):
    """All that a user can set, with its defaults."""

    enabled: bool = False
    mode: Mode = "fail"
    selected: frozenset[str] = frozenset(RULES)
    """Codes of the rules in force."""
    reports: tuple[tuple[str, Path], ...] = ()
    """Format and absolute path of each report."""
    allow: tuple[Permission, ...] = ()
    """The ini lines of truasync_allow."""
    require_reason: bool = False
    strict_allow: bool = False
    strict_offload: bool = False
    packages: tuple[str, ...] = ()
    """Import names of installed packages that are the user's own."""
    stall_threshold_s: float = 0.1
    show_rules: bool = False
    explain: str | None = None
    """Code of the rule to explain."""


def settings_from(config: pytest.Config) -> Settings:
    """Return what the command line says, else the ini file, else the defaults.

    Raises:
        pytest.UsageError: a value is unknown or cannot be read; it names the option and the value.
    """
    _check_word("TRUASYNC_CORE", os.environ.get("TRUASYNC_CORE"), CORES)
    chosen = {
        "mode": _choice(config, "mode", MODES),
        "strict_offload": _choice(config, "offload", OFFLOAD) == "strict",
        "selected": _selected(config),
        "reports": tuple(_reports(config)),
        "allow": tuple(_allow_lines(config)),
        "require_reason": _value(config, "require-reason"),
        "strict_allow": _value(config, "strict-allow"),
        "packages": tuple(_packages(config)),
        "stall_threshold_s": _threshold(config),
        "show_rules": config.getoption("truasync_rules"),
        "explain": _explained(config),
    }
    wanted = config.getoption("truasync") or _ini(config, "truasync")
    settings = Settings(
        enabled=bool(wanted and not config.getoption("no_truasync")),
        **{name: value for name, value in chosen.items() if value is not None},
    )
    if settings.enabled:
        _check_folders(settings.reports)
    for one in settings.allow:
        _check_reason(one, settings.require_reason)
    return settings


def permissions_of(item: pytest.Item, *, require_reason: bool = False) -> tuple[Permission, ...]:
    """Return what the `allow_blocking` markers on *item*, its class and its module allow.

    Args:
        item: a collected test.
        require_reason: whether a marker without a reason is refused.

    Raises:
        pytest.UsageError: a marker has an unknown word or argument; it names test and word.
    """
    if not _is_marked(item):
        return ()
    found = [
        _permission(item, node, mark) for node, mark in item.iter_markers_with_node(name=MARKER)
    ]
    for one in found:
        _check_reason(one, require_reason)
    return tuple(found)


def _is_marked(item: pytest.Item) -> bool:
    """Tell whether there is a marker at all, which is asked twice for each test."""
    node: Any = item
    while node is not None:
        for mark in node.own_markers:
            if mark.name == MARKER:
                return True
        node = node.parent
    return False


# -- values of options ------------------------------------------------------------------


def _ini(config: pytest.Config, name: str) -> Any:
    try:
        return config.getini(name)
    except (TypeError, ValueError, pytest.UsageError) as wrong:  # which one: by pytest's version
        raise pytest.UsageError(f"{name}: {wrong}") from wrong


def _value(config: pytest.Config, name: str) -> Any:
    """Return the option from the command line, else from the ini file, else None."""
    return _sourced(config, name)[0]


def _sourced(config: pytest.Config, name: str) -> tuple[Any, str]:
    """Return the value of the option *name*, and what the user knows its source as."""
    option = next(one for one in OPTIONS if one.name == name)
    given = config.getoption(option.flag)
    if given:
        return given, option.flag
    return _ini(config, option.ini), option.ini


def _words(config: pytest.Config, name: str) -> tuple[list[str], str]:
    """Return the words of a list, which may be separated by commas, spaces and lines."""
    lines, source = _sourced(config, name)
    return [word for line in lines or () for word in re.split(r"[,\s]+", line) if word], source


def _choice(config: pytest.Config, name: str, choices: tuple[str, ...]) -> str | None:
    value, source = _sourced(config, name)
    _check_word(source, value, choices)
    return cast("str | None", value)


def _check_word(source: str, value: str | None, choices: tuple[str, ...]) -> None:
    if value and value not in choices:
        raise pytest.UsageError(f"{source}: {value!r} is unknown{_nearest(value, choices)}")


def _selected(config: pytest.Config) -> frozenset[str]:
    """Return the codes that are selected and not ignored.

    What the plugin says of itself (TRU9xx) is in force unless it is ignored by name: a narrow
    selection must not hide that a probe failed.
    """
    selected = _codes(config, "select")
    health = frozenset(filter(is_health, RULES))
    return (selected | health if selected else frozenset(RULES)) - _codes(config, "ignore")


def _codes(config: pytest.Config, name: str) -> frozenset[str]:
    words, source = _words(config, name)
    try:
        return select(words)
    except UnknownWordError as wrong:
        raise pytest.UsageError(f"{source}: {wrong}") from None


def _reports(config: pytest.Config) -> Iterator[tuple[str, Path]]:
    lines, source = _sourced(config, "report")
    on_command_line = source.startswith("--")
    base = config.invocation_params.dir if on_command_line else config.rootpath
    for line in lines or ():
        name, colon, path = line.partition(":")
        if not colon or not path.strip():
            raise pytest.UsageError(f"{source}: {line!r} is not FORMAT:PATH, such as json:out.json")
        if name not in FORMAT_NAMES:
            near = _nearest(name, FORMAT_NAMES)
            raise pytest.UsageError(f"{source}: no format {name!r} in {line!r}{near}")
        yield name, base / path.strip()


def _check_folders(reports: Iterable[tuple[str, Path]]) -> None:
    """Refuse now what would fail when the run is over, and its findings lost."""
    for name, path in reports:
        if not path.parent.is_dir():
            raise pytest.UsageError(f"report {name}:{path}: there is no folder {path.parent}")


def _packages(config: pytest.Config) -> Iterator[str]:
    words, source = _words(config, "packages")
    for word in words:
        if not all(part.isidentifier() for part in word.split(".")):
            raise pytest.UsageError(
                f"{source}: {word!r} is not an import name, such as my_company.lib"
            )
        yield word


def _threshold(config: pytest.Config) -> float | None:
    value, source = _sourced(config, "stall-threshold")
    if value is None:
        return None
    read = re.fullmatch(r"\s*([\d.]+(?:e-?\d+)?)\s*(ms|s|)\s*", str(value))
    try:
        seconds = float(read[1]) / (1000 if read[2] == "ms" else 1) if read else 0.0
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < math.inf:
        raise pytest.UsageError(f"{source}: {value!r} is not a time, such as 100ms, 0.1s or 0.1")
    return seconds


def _explained(config: pytest.Config) -> str | None:
    word = config.getoption("truasync_explain")
    if word is None:
        return None
    code = NAMES.get(word, word)
    below = [one for one in RULES if one.startswith(word)]
    if len(below) == 1:
        return below[0]
    if below and len(word) >= len("TRU2"):
        raise pytest.UsageError(f"--truasync-explain: which of {', '.join(below)}?")
    if code not in RULES:
        near = _nearest(word, [*RULES, *NAMES])
        raise pytest.UsageError(f"--truasync-explain: no rule {word!r}{near}")
    return cast("str", code)


# -- permissions ------------------------------------------------------------------------

_ALLOW_LINE = re.compile(r"(?P<what>.*?)\s+in(?:\s+(?P<where>.*))?")


def _allow_lines(config: pytest.Config) -> Iterator[Permission]:
    file = config.inipath.name if config.inipath else "truasync_allow"
    for number, line in enumerate(_ini(config, "truasync_allow") or (), 1):
        origin = f"truasync_allow line {number}"
        text, _, reason = re.sub(r"\s#", "\n", line, count=1).partition("\n")
        read = _ALLOW_LINE.fullmatch(f" {text.rstrip()}")
        if not read:
            raise pytest.UsageError(f"{origin}: {line!r} is not 'WHAT in PATH-GLOB  # reason'")
        words = tuple(word for word in re.split(r"[,\s]+", read["what"]) if word)
        glob, colons, function = (read["where"] or "").partition("::")
        if not words or not glob or (colons and not function):
            missing = "WHAT" if not words else "FUNCTION" if glob else "PATH-GLOB"
            raise pytest.UsageError(f"{origin}: {line!r} has no {missing}")
        try:
            check_words(what := () if words == ("*",) else words)
        except UnknownWordError as wrong:
            raise pytest.UsageError(f"{origin}: {wrong}, in {line!r}") from None
        yield Permission(
            kind="ini",
            what=what,
            reason=reason.strip(),
            origin=origin,
            path_glob=glob.strip(),
            function=function.strip().replace("::", "."),
            site=CallSite(file, 0),
        )


def _permission(item: pytest.Item, node: pytest.Item | Any, mark: pytest.Mark) -> Permission:
    where = f"{item.nodeid}: {MARKER}"
    for name in mark.kwargs:
        if name != "reason":
            near = _nearest(name, ["reason"])
            raise pytest.UsageError(f"{where}: no argument {name!r}{near}")
    for value in (*mark.args, mark.kwargs.get("reason", "")):
        if not isinstance(value, str):
            raise pytest.UsageError(f'{where}: {value!r} is not a string, such as "TRU251"')
    try:
        check_words(mark.args)
    except UnknownWordError as wrong:
        raise pytest.UsageError(f"{where}: {wrong}") from None
    origin, site = _origin(node, mark)
    reason = mark.kwargs.get("reason", "").strip()
    return Permission(kind="marker", what=mark.args, reason=reason, origin=origin, site=site)


def _origin(node: Any, mark: pytest.Mark) -> tuple[str, CallSite]:
    """Return the name and the line of what *mark* stands on.

    A marker on a parametrized function is one permission for all its cases, unless it stands in
    one `pytest.param`.
    """
    origin = node.nodeid
    callspec = getattr(node, "callspec", None)
    if callspec and not any(one is mark for one in callspec.marks):
        origin = origin.removesuffix(f"[{callspec.id}]")
    path, *names = origin.split("::")
    return origin, CallSite(path, _line_of(node), ".".join(names))


_LINE: Final = pytest.StashKey[int]()


def _line_of(node: Any) -> int:
    """Return the line of *node*, once for all its tests: for a class its file is parsed."""
    if _LINE not in node.stash:
        try:
            line = node.reportinfo()[1]
        except Exception:  # noqa: BLE001 - a node of another plugin; the line is for display only
            line = None
        node.stash[_LINE] = (line or 0) + 1
    return cast("int", node.stash[_LINE])


def _check_reason(permission: Permission, required: bool) -> None:
    if required and not permission.reason:
        hint = "# reason" if permission.kind == "ini" else 'reason="..."'
        raise pytest.UsageError(
            f"{permission.origin}: a permission needs a reason ({hint}): truasync_require_reason"
        )


def _nearest(word: str, known: Iterable[str]) -> str:
    """Return the end of a message about *word*: what may be meant, else all that is known."""
    from difflib import get_close_matches  # costs 2 ms, and is needed only for a typo

    choices = list(known)
    near = get_close_matches(word, choices, n=3, cutoff=0.5)
    if near:
        return f"; did you mean {' or '.join(map(repr, near))}?"
    return f"; there is {', '.join(map(repr, choices))}" if len(choices) < 9 else ""
