"""One command each: `nox -s tests`, `nox -s lint`, `nox -s types`."""

from __future__ import annotations

import nox

PYTHONS = ["3.11", "3.12", "3.13"]
# Pinned: what they say of the code changes with their version, not with the code.
RUFF = "ruff==0.17.6"
MYPY = "mypy==2.4.1"

nox.options.sessions = ["lint", "types", "tests"]
nox.options.error_on_missing_interpreters = False


@nox.session(python=PYTHONS)
def tests(session: nox.Session) -> None:
    """Run the test suite, in parallel and in random order."""
    session.install("-e", ".[test]")
    session.run("pytest", "-n", "2", *session.posargs)


@nox.session
def lint(session: nox.Session) -> None:
    """Check style and format."""
    session.install(RUFF)
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")


@nox.session
def types(session: nox.Session) -> None:
    """Check types, of the package and of its tests."""
    session.install("-e", ".[test]", MYPY, "types-requests", "types-psycopg2", "types-PyMySQL")
    session.run("mypy", *session.posargs)


@nox.session
def coverage(session: nox.Session) -> None:
    """Measure branch coverage, by coverage itself: the plugin is imported before pytest-cov."""
    session.install("-e", ".[test]")
    session.run("coverage", "erase")
    session.run("coverage", "run", "-m", "pytest", *session.posargs)
    session.run("coverage", "combine")
    session.run("coverage", "report")
