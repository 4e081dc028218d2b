"""From observations and permissions to a verdict: pure functions of frozen values."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import NamedTuple

from pytest_truasync._model import (
    CallSite,
    Json,
    Level,
    Observation,
    Permission,
    PoolUse,
    Verdict,
    Violation,
    merge_observations,
    observation_from_json,
    observation_to_json,
    permission_from_json,
    pool_from_json,
    sited_to_json,
)
from pytest_truasync._rules import NAMES, RULES, instead_for, is_health, select

ALL_CODES = frozenset(RULES)


class Policy(NamedTuple):
    """What to judge by."""

    selected: frozenset[str] = ALL_CODES
    """Codes of the rules that are in force."""
    strict_offload: bool = False
    """Whether every offload is an error: TRU302 becomes TRU304."""


def judge(
    seen: Iterable[Observation],
    permissions: Iterable[Permission],
    policy: Policy,
    pools: Iterable[PoolUse] = (),
) -> Verdict:
    """Return what the rules make of *seen*, less what *permissions* cover.

    Args:
        seen: what the probes recorded, of one test.
        permissions: those in force: the markers of that test, its `with` blocks, the ini lines.
        policy: the rules to judge by.
        pools: use of the pools in that test; handed on.
    """
    in_force = _distinct(permissions)
    allowed: Counter[str] = Counter()
    kept: list[Violation] = []
    for one in seen:
        judged = _by_policy(one, policy) if policy.strict_offload else one
        if judged.code not in policy.selected:
            continue
        if in_force:
            covering = [each.key for each in in_force if covers(each, one) or covers(each, judged)]
            for key in covering:
                allowed[key] += one.count
            if covering:
                continue
        kept.append(_violation(judged))
    return _verdict(kept, allowed, in_force, _merged_pools(pools))


def judge_alone(seen: Observation, tests: Iterable[str], policy: Policy) -> Violation | None:
    """Return what the rules make of *seen*, made in each of *tests*, which nothing allows."""
    if seen.code not in policy.selected:
        return None
    return _violation(seen)._replace(tests=tuple(sorted(tests)))


def merge(verdicts: Iterable[Verdict]) -> Verdict:
    """Return the verdicts of several tests or workers as one; their order does not matter."""
    violations: list[Violation] = []
    allowed: Counter[str] = Counter()
    permissions: list[Permission] = []
    pools: list[PoolUse] = []
    for verdict in verdicts:
        violations += (*verdict.violations, *verdict.warnings, *verdict.notes)
        allowed.update(verdict.allowed)
        permissions += verdict.permissions
        pools += verdict.pools
    return _verdict(violations, allowed, _distinct(permissions), _merged_pools(pools))


def with_violations(verdict: Verdict, more: Iterable[Violation]) -> Verdict:
    """Return *verdict* with *more*, each put where its level belongs."""
    all_of_them = (*verdict.violations, *verdict.warnings, *verdict.notes, *more)
    return _verdict(all_of_them, verdict.allowed, verdict.permissions, verdict.pools)


def unused(
    permissions: Iterable[Permission],
    allowed: Mapping[str, int],
    full_run: bool,
    *,
    strict: bool = False,
    require_reason: bool = False,
    policy: Policy | None = None,
) -> tuple[Violation, ...]:
    """Return what there is to say of the permissions themselves.

    Args:
        permissions: all that were in force.
        allowed: key of a permission → calls that it let through.
        full_run: whether every test ran to its end, so that nothing let through means useless.
        strict: whether a useless permission (TRU901) is an error.
        require_reason: whether one without a reason (TRU902) is an error.
        policy: the rules in force; a permission for a rule that is not is never useless.
    """
    selected = policy.selected if policy else ALL_CODES
    level: Level = "error" if strict else RULES["TRU901"].level
    found: list[Violation] = []
    for one in _distinct(permissions):
        if not one.reason and "TRU902" in selected:
            found.append(
                _about(one, "TRU902", "error" if require_reason else RULES["TRU902"].level)
            )
        useless = full_run and not allowed.get(one.key) and speaks_of(one) & selected
        if useless and "TRU901" in selected:
            found.append(_about(one, "TRU901", level))
    return tuple(sorted(found, key=lambda one: one.sort_key))


def covers(permission: Permission, seen: Observation) -> bool:
    """Tell whether *permission* lets *seen* through.

    A marker covers what its test did, a `with` block what was recorded inside it, an ini line the
    calls at its path and in its function, also those made there in a thread. No permission covers
    what the plugin says of itself.
    """
    if is_health(seen.code):
        return False
    if permission.kind == "with" and permission.key not in seen.permission.split("\n"):
        return False
    if permission.kind == "ini" and not (
        _is_at(permission, seen.site) or (seen.inner is not None and _is_at(permission, seen.inner))
    ):
        return False
    return not permission.what or any(_matches(word, seen) for word in permission.what)


def speaks_of(permission: Permission) -> frozenset[str]:
    """Return the codes that *permission* can cover; a dotted target may break any rule."""
    words = permission.what
    rules = [word for word in words if word.startswith("TRU") or word in NAMES]
    codes = select(rules) if words and len(rules) == len(words) else ALL_CODES
    return frozenset(code for code in codes if not is_health(code))


def title_of(permission: Permission) -> str:
    """Return *permission* as its author wrote it."""
    words = ", ".join(f'"{word}"' for word in permission.what)
    if permission.kind == "marker":
        return f"@pytest.mark.allow_blocking({words})" if words else "@pytest.mark.allow_blocking"
    if permission.kind == "with":
        return f"with allow({words})"
    where = permission.path_glob + (f"::{permission.function}" if permission.function else "")
    return f"{', '.join(permission.what) or '*'} in {where} ({permission.origin})"


def verdict_to_json(verdict: Verdict) -> Json:
    """Return *verdict* as plain JSON data."""
    return {
        "violations": [_violation_to_json(one) for one in verdict.violations],
        "warnings": [_violation_to_json(one) for one in verdict.warnings],
        "notes": [_violation_to_json(one) for one in verdict.notes],
        "allowed": dict(verdict.allowed),
        "permissions": [sited_to_json(one) for one in verdict.permissions],
        "pools": [sited_to_json(one) for one in verdict.pools],
    }


def verdict_from_json(data: Json) -> Verdict:
    """Return the verdict that `verdict_to_json` wrote."""
    return Verdict(
        violations=tuple(map(_violation_from_json, data["violations"])),
        warnings=tuple(map(_violation_from_json, data["warnings"])),
        notes=tuple(map(_violation_from_json, data["notes"])),
        allowed=dict(data["allowed"]),
        permissions=tuple(map(permission_from_json, data["permissions"])),
        pools=tuple(map(pool_from_json, data["pools"])),
    )


def _by_policy(seen: Observation, policy: Policy) -> Observation:
    return seen._replace(code="TRU304") if seen.code == "TRU302" else seen


def _violation(seen: Observation) -> Violation:
    rule = RULES[seen.code]
    tests = (seen.test,) if seen.test else ()
    return Violation(rule, rule.level, seen, tests, instead_for(seen.code, seen.target))


def _verdict(
    violations: Iterable[Violation],
    allowed: Mapping[str, int],
    permissions: tuple[Permission, ...],
    pools: tuple[PoolUse, ...],
) -> Verdict:
    """Group *violations*, sort them, and part them by level."""
    groups: dict[tuple[str, str, int, str, str], list[Violation]] = {}
    for one in violations:
        groups.setdefault(one.observation.key, []).append(one)
    merged = [group[0] if len(group) == 1 else _merged(group) for group in groups.values()]
    if len(merged) > 1:
        merged.sort(key=lambda one: one.sort_key)
    levels: dict[Level, list[Violation]] = {"error": [], "warning": [], "note": []}
    for one in merged:
        levels[one.level].append(one)
    return Verdict(
        violations=tuple(levels["error"]),
        warnings=tuple(levels["warning"]),
        notes=tuple(levels["note"]),
        allowed={key: allowed[key] for key in sorted(allowed) if allowed[key]},
        permissions=permissions,
        pools=pools,
    )


def _merged(group: list[Violation]) -> Violation:
    observation, _ = merge_observations(one.observation for one in group)
    tests = tuple(sorted({test for one in group for test in one.tests}))
    return group[0]._replace(observation=observation, tests=tests)


def _distinct(permissions: Iterable[Permission]) -> tuple[Permission, ...]:
    """Return *permissions* sorted, each key once; one that gives a reason goes first."""

    def order(one: Permission) -> tuple[object, ...]:
        site = str(one.site) if one.site else ""
        return (one.key, not one.reason, one.reason, one.path_glob, one.function, site)

    if not permissions:
        return ()
    first: dict[str, Permission] = {}
    for one in sorted(permissions, key=order):
        first.setdefault(one.key, one)
    return tuple(first.values())


def _merged_pools(pools: Iterable[PoolUse]) -> tuple[PoolUse, ...]:
    by_key: dict[str, PoolUse] = {}
    for one in pools:
        by_key[one.key] = by_key[one.key].merge(one) if one.key in by_key else one
    return tuple(by_key[key] for key in sorted(by_key))


def _matches(word: str, seen: Observation) -> bool:
    """Tell whether *word* is the code, a prefix of it, the rule's name, or one of its calls."""
    if word.startswith("TRU"):
        return seen.code.startswith(word)
    if word in NAMES:
        return NAMES[word] == seen.code
    word = word.removeprefix("builtins.")
    calls = [call.removeprefix("builtins.") for call in (seen.target, seen.primitive, seen.via)]
    return any(call == word or call.startswith(f"{word}.") for call in calls)


def _is_at(permission: Permission, site: CallSite) -> bool:
    if not _glob(permission.path_glob).fullmatch(site.path):
        return False
    if not permission.function:
        return True
    wanted = [part for part in permission.function.split(".") if part != "<locals>"]
    # a lambda or a comprehension belongs to the function around it
    named = [part for part in site.function.split(".") if not part.startswith("<")]
    return named[-len(wanted) :] == wanted


@lru_cache(maxsize=512)
def _glob(pattern: str) -> re.Pattern[str]:
    """Return *pattern* as a regular expression that also takes what lies below a directory.

    `*` and `?` stay within one part of a path, `**` goes through any number of them. Brackets
    are plain characters: a range that is no range must not break the judging.
    """
    parts = pattern.removeprefix("./").rstrip("/").split("/")
    regex = ""
    for number, part in enumerate(parts, 1):
        last = number == len(parts)
        if part == "**":
            regex += ".+" if last else "(?:.+/)?"
        else:
            regex += _part(part) + ("" if last else "/")
    return re.compile(f"{regex}(?:/.*)?", re.DOTALL)


def _part(part: str) -> str:
    """Return one part of a glob, without a `/`, as a regular expression."""
    if part == "*":
        return "[^/]+"
    wild = {"*": "[^/]*", "?": "[^/]"}
    return "".join(wild.get(sign) or re.escape(sign) for sign in part)


def _about(permission: Permission, code: str, level: Level) -> Violation:
    """Return what there is to say of *permission*, as a violation at the line that grants it."""
    origin = re.fullmatch(r"(.+):(\d+)", permission.origin)
    if permission.site:
        site = permission.site
    elif origin:
        site = CallSite(origin[1], int(origin[2]))
    else:
        site = CallSite(permission.origin.partition("::")[0], 0)
    title = title_of(permission)
    reason = f"its reason: {permission.reason}" if permission.reason else ""
    seen = Observation(code, title, title, site, count=1, detail=reason)
    return Violation(RULES[code], level, seen, (), RULES[code].instead)


def _violation_to_json(one: Violation) -> Json:
    return {
        "code": one.rule.code,
        "level": one.level,
        "observation": observation_to_json(one.observation),
        "tests": list(one.tests),
        "instead": one.instead,
    }


def _violation_from_json(data: Json) -> Violation:
    return Violation(
        rule=RULES[data["code"]],
        level=data["level"],
        observation=observation_from_json(data["observation"]),
        tests=tuple(data["tests"]),
        instead=data["instead"],
    )
