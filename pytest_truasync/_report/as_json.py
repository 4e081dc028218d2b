"""The report as JSON; its schema is described in docs/report.md."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Final

from pytest_truasync._model import (
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
    lists = {
        "violations": [_violation(one) for one in verdict.violations],
        "warnings": [_violation(one) for one in verdict.warnings],
        "notes": [_violation(one) for one in verdict.notes],
        "permissions": [_permission(one, verdict.allowed) for one in verdict.permissions],
        "pools": [_pool(one) for one in verdict.pools],
    }
    run_ = json.dumps({**run._asdict(), "times": dict(run.times)})
    parts = [f'"format": {FORMAT_VERSION}', f'"run": {run_}']
    parts += (f'"{name}": {_list(rows)}' for name, rows in lists.items())
    return "{\n" + ",\n".join(f"  {part}" for part in parts) + "\n}\n"


def _list(rows: list[Json]) -> str:
    if not rows:
        return "[]"
    return "[\n    " + ",\n    ".join(map(json.dumps, rows)) + "\n  ]"


def _violation(one: Violation) -> Json:
    seen = one.observation
    return {
        "code": one.rule.code,
        "name": one.rule.name,
        "level": one.level,
        **site_to_json(seen.site),
        "target": seen.target,
        "primitive": seen.primitive,
        "via": seen.via,
        "inner": site_to_json(seen.inner) if seen.inner else None,
        "chain": [site_to_json(site) for site in seen.chain],
        "count": seen.count,
        "total_ms": _ms(seen.total_ns),
        "longest_ms": _ms(seen.longest_ns),
        "tests": list(one.tests),
        "instead": one.instead,
        "detail": seen.detail,
        "pool": seen.pool,
    }


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
