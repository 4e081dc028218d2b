"""The report as JSON; its schema is described in docs/report.md."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Final

from pytest_truasync._model import (
    CallSite,
    Json,
    Permission,
    PoolUse,
    RunInfo,
    Verdict,
    Violation,
    site_to_json,
)

FORMAT_VERSION: Final = 1
"""Raised when a key changes its meaning or goes; a key more does not raise it."""

_NS_PER_MS = 1_000_000


def render(verdict: Verdict, run: RunInfo) -> str:
    """Return *verdict* as a JSON document, the same for the same run but for the times.

    One finding a line: it is as easy to compare, and to indent all of it would take ten times as
    long, in every run.
    """
    sites = _Sites()
    lists = {
        "violations": [_violation(one, sites) for one in verdict.violations],
        "warnings": [_violation(one, sites) for one in verdict.warnings],
        "notes": [_violation(one, sites) for one in verdict.notes],
        "permissions": [_text(_permission(one, verdict.allowed)) for one in verdict.permissions],
        "pools": [_text(_pool(one)) for one in verdict.pools],
    }
    run_ = _text({**run._asdict(), "times": dict(run.times)})
    parts = [f'"format": {FORMAT_VERSION}', f'"run": {run_}']
    parts += (f'"{name}": {_list(rows)}' for name, rows in lists.items())
    return "{\n" + ",\n".join(f"  {part}" for part in parts) + "\n}\n"


_text: Final = json.JSONEncoder().encode


def _list(rows: list[str]) -> str:
    if not rows:
        return "[]"
    return "[\n    " + ",\n    ".join(rows) + "\n  ]"


class _Sites(dict[CallSite, str]):
    """The JSON text of each site, made once: those of a library are in many chains."""

    def __missing__(self, site: CallSite) -> str:
        text = self[site] = _text(site_to_json(site))
        return text


def _violation(one: Violation, sites: _Sites) -> str:
    seen = one.observation
    head = {"code": one.rule.code, "name": one.rule.name, "level": one.level}
    call = {"target": seen.target, "primitive": seen.primitive, "via": seen.via}
    inner = sites[seen.inner] if seen.inner else "null"
    rest = {
        "count": seen.count,
        "total_ms": _ms(seen.total_ns),
        "longest_ms": _ms(seen.longest_ns),
        "tests": one.tests,
        "instead": one.instead,
        "detail": seen.detail,
        "pool": seen.pool,
    }
    return _joined(
        _text(head),
        sites[seen.site],
        _text(call),
        f'{{"inner": {inner}, "chain": [{", ".join([sites[site] for site in seen.chain])}]}}',
        _text(rest),
    )


def _joined(*objects: str) -> str:
    """Return the members of several JSON objects, none of them empty, as those of one."""
    return "{" + ", ".join([text[1:-1] for text in objects]) + "}"


def _permission(one: Permission, allowed: Mapping[str, int]) -> Json:
    return {
        "kind": one.kind,
        "what": list(one.what),
        "reason": one.reason,
        "origin": one.origin,
        "path_glob": one.path_glob,
        "function": one.function,
        "calls": allowed.get(one.key, 0),
    }


def _pool(one: PoolUse) -> Json:
    return {
        "key": one.key,
        "name": one.name,
        "capacity": one.capacity,
        "calls": one.calls,
        "peak_running": one.peak_running,
        "peak_queued": one.peak_queued,
        "longest_wait_ms": _ms(one.longest_wait_ns),
        "total_wait_ms": _ms(one.total_wait_ns),
        "site": site_to_json(one.site) if one.site else None,
    }


def _ms(ns: int) -> float:
    return round(ns / _NS_PER_MS, 3)
