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
_quoted: Final = json.encoder.encode_basestring_ascii


def _list(rows: list[str]) -> str:
    if not rows:
        return "[]"
    return "[\n    " + ",\n    ".join(rows) + "\n  ]"


class _Sites(dict[CallSite, str]):
    """The members of each site as JSON text, made once: those of a library are in many chains."""

    def __missing__(self, site: CallSite) -> str:
        text = self[site] = _text(site_to_json(site))[1:-1]
        return text


def _violation(one: Violation, sites: _Sites) -> str:
    seen, rule = one.observation, one.rule
    inner = f"{{{sites[seen.inner]}}}" if seen.inner else "null"
    chain = ", ".join([f"{{{sites[site]}}}" for site in seen.chain])
    return (  # member by member: to make a dict of all, and an encoder for it, takes twice as long
        f'{{"code": {_quoted(rule.code)}, "name": {_quoted(rule.name)}, '
        f'"level": {_quoted(one.level)}, {sites[seen.site]}, '
        f'"target": {_quoted(seen.target)}, "primitive": {_quoted(seen.primitive)}, '
        f'"via": {_quoted(seen.via)}, "inner": {inner}, "chain": [{chain}], '
        f'"count": {seen.count}, "total_ms": {_ms(seen.total_ns)}, '
        f'"longest_ms": {_ms(seen.longest_ns)}, "tests": [{", ".join(map(_quoted, one.tests))}], '
        f'"instead": {_quoted(one.instead)}, "detail": {_quoted(seen.detail)}, '
        f'"pool": {_quoted(seen.pool)}}}'
    )


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
