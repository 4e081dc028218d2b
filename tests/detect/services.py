"""The services that drivers are tested against, and how a test module about them is run.

Where a service stands is told by the environment; the defaults are those of its own packages.
A test whose service or driver is missing is skipped, or fails under TRUASYNC_REQUIRE_SERVICES=1.
"""

from __future__ import annotations

import importlib.util
import json
import os
import re
import socket
from dataclasses import dataclass
from textwrap import dedent
from typing import Final, NoReturn, TypeAlias
from urllib.parse import urlsplit

import pytest

Seen: TypeAlias = tuple[int, str, str]
"""Line, code, target."""

DEFAULTS: Final = {
    "TRUASYNC_POSTGRES_URL": "postgresql://postgres@127.0.0.1:5432/test",
    "TRUASYNC_MARIADB_URL": "mysql://root:@127.0.0.1:3306/test",
    "TRUASYNC_REDIS_URL": "redis://127.0.0.1:6379/0",
    "TRUASYNC_RABBITMQ_URL": "amqp://guest:guest@127.0.0.1:5672/",
    "TRUASYNC_NATS_URL": "nats://127.0.0.1:4222",
}
URLS: Final = {name: os.environ.get(name, default) for name, default in DEFAULTS.items()}

_EXPECTED: Final = re.compile(r"#\s*expect:\s*(.+)$")


@dataclass(frozen=True)
class Report:
    """What a run said of one module."""

    errors: frozenset[Seen]
    """Violations and warnings."""
    notes: frozenset[Seen]
    expected: frozenset[Seen]
    """What the comments of the module ask for: `# expect: CODE TARGET; CODE TARGET`, at the end of
    the line or alone on the one before."""


def lacking(reason: str) -> NoReturn:
    """Skip the test, or fail it where all services are to be there."""
    if os.environ.get("TRUASYNC_REQUIRE_SERVICES") == "1":
        pytest.fail(f"TRUASYNC_REQUIRE_SERVICES=1, but {reason}")
    pytest.skip(reason)


def need(*drivers: str, service: str = "") -> None:
    """Go on where the modules *drivers* are installed and *service* answers."""
    for driver in drivers:
        if not _is_installed(driver):
            lacking(f"{driver} is not installed")
    if service:
        url = urlsplit(URLS[f"TRUASYNC_{service.upper()}_URL"])
        address = (url.hostname or "127.0.0.1", url.port or 0)
        try:
            socket.create_connection(address, timeout=2).close()
        except OSError as error:
            lacking(f"{service} does not answer at {address}: {error}")


def _is_installed(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ImportError:
        return False


def run_story(pytester: pytest.Pytester, story: str, *options: str) -> Report:
    """Run a test module under the plugin; its own tests must pass.

    The user's home is no longer the folder of the tests, as pytester has it.
    """
    pytester.makepyfile(addresses=_addresses())
    source = dedent(story).lstrip("\n")
    path = pytester.makepyfile(test_story=source)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", f"{pytester.path}-home")
        result = pytester.runpytest_subprocess(
            "-q",
            "-p",
            "no:randomly",
            "-o",
            "asyncio_mode=auto",
            "--truasync",
            "--truasync-mode=warn",
            "--truasync-ignore=TRU4",  # a busy machine may hold a loop for long
            "--truasync-report=json:report.json",
            *options,
            path,
        )
    assert result.ret == 0, result.stdout.str()
    found = json.loads((pytester.path / "report.json").read_text(encoding="utf-8"))
    assert not [one for one in found["violations"] if one["code"].startswith("TRU9")]
    return Report(
        errors=frozenset(map(_seen, (*found["violations"], *found["warnings"]))),
        notes=frozenset(map(_seen, found["notes"])),
        expected=_expected(path.read_text(encoding="utf-8")),
    )


def _seen(one: dict[str, object]) -> Seen:
    line = one["line"]
    assert isinstance(line, int)
    return (line, str(one["code"]), str(one["target"]))


def _expected(source: str) -> frozenset[Seen]:
    rows: list[Seen] = []
    for number, line in enumerate(source.splitlines(), 1):
        if match := _EXPECTED.search(line):
            at = number + line.lstrip().startswith("#")
            pairs = (pair.split() for pair in match[1].split(";"))
            rows += [(at, code, target) for code, target in pairs]
    return frozenset(rows)


def _addresses() -> str:
    postgres, mariadb = (urlsplit(URLS[f"TRUASYNC_{name}_URL"]) for name in ("POSTGRES", "MARIADB"))
    mysql = {
        "host": mariadb.hostname,
        "port": mariadb.port or 3306,
        "user": mariadb.username,
        "password": mariadb.password or "",
        "database": mariadb.path.lstrip("/"),
    }
    own: dict[str, object] = {name.removeprefix("TRUASYNC_"): url for name, url in URLS.items()}
    own["MYSQL"] = mysql
    own["ODBC"] = (
        f"DRIVER={{PostgreSQL Unicode}};SERVER={postgres.hostname};PORT={postgres.port or 5432};"
        f"DATABASE={postgres.path.lstrip('/')};UID={postgres.username}"
    )
    return "\n".join(f"{name} = {value!r}" for name, value in own.items())
