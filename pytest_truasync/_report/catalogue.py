"""The rules as the terminal shows them: `--truasync-rules` and `--truasync-explain`."""

from __future__ import annotations

from pytest_truasync._model import Rule
from pytest_truasync._report.text import Line, Segment, fill, wrapped
from pytest_truasync._rules import RULES, is_health

_SUBJECTS = {
    "TRU303": "A pool",
    "TRU901": "A permission",
    "TRU902": "A permission",
    "TRU9": "A probe",
}


def rules_table(width: int = 80) -> tuple[Line, ...]:
    """Return every rule: code, level, name, and what to write instead."""
    lines: list[Line] = []
    for rule in RULES.values():
        first, *rest = fill(f"{rule.name}: {rule.instead}", width, indent=16, hanging=16)
        head = (Segment(f"{rule.code}  "), Segment(f"{rule.level:<8}", rule.level))
        lines += ((*head, Segment(first[16:])), *((Segment(text),) for text in rest))
    return tuple(lines)


def explain(code: str, width: int = 80) -> tuple[Line, ...]:
    """Return all that there is to say of the rule *code*."""
    rule = RULES[code]
    what = f"{sentence(rule)}. {rule.why}"
    lines: list[Line] = [
        (Segment(f"{rule.code} {rule.name}", rule.level), Segment(f" ({rule.level})")),
        (),
        *wrapped(what, width, hanging=2),
        (),
        *wrapped(f"instead: {rule.instead}", width, "advice"),
    ]
    way_out = "leave it out" if is_health(code) else "allow it"
    for title, source in (("bad", rule.bad), ("good", rule.good), (way_out, how_to_allow(code))):
        lines += ((), (Segment(f"  {title}:"),))
        lines += [(Segment(f"    {text}" if text else ""),) for text in source.splitlines()]
    return tuple(lines)


def sentence(rule: Rule) -> str:
    """Return what happened where *rule* speaks, of no call in particular."""
    of = next((name for code, name in _SUBJECTS.items() if rule.code.startswith(code)), "A call")
    return rule.summary.format(target=of)


def how_to_allow(code: str) -> str:
    """Return the ways to allow what the rule *code* reports, one on a line."""
    if is_health(code):
        return f"--truasync-ignore {code}\n"
    return (
        f'@pytest.mark.allow_blocking("{code}", reason="...")\n'
        f'with pytest_truasync.allow("{code}", reason="..."): ...\n'
        f"truasync_allow = {code} in app/feed.py::load_feed  # reason\n"
    )
