"""docs/rules.md, made from the catalogue: `python tests/rules/rules_page.py`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from pytest_truasync._model import Rule
from pytest_truasync._report.catalogue import how_to_allow, sentence
from pytest_truasync._rules import RULES, is_health

PAGE = Path(__file__).parents[2] / "docs" / "rules.md"

FAMILIES = {
    "TRU2": "blocking calls on the event loop",
    "TRU3": "work that was sent to a thread",
    "TRU4": "callbacks that held the loop",
    "TRU9": "the plugin and its permissions",
}

INTRO = """\
# Rules

Each rule has a code, a name and a level. An option, a marker or an ini line takes the code
(`TRU251`), the beginning of one (`TRU25`, `TRU2`), or the name (`blocking-sleep`). A code is never
reused or renumbered. `pytest --truasync-explain TRU251` shows a section of this page.

| level | what it does |
| --- | --- |
| error | fails the test; a permission lets it through |
| warning | stands in the summary and the reports, and fails nothing |
| note | one line for all of them in the summary, each with `-v`; the reports hold them all |

A permission covers what it names and no more: one for TRU2xx does not cover TRU3xx. It may also
name a call instead of a rule, such as `"time.sleep"` or `"requests"`, and then covers it wherever
it is the call that the code makes, the one that waits below it, or the one that sent it to a
thread. TRU9xx speaks of the plugin itself: no permission covers it, and `--truasync-select` keeps
it; `--truasync-ignore` leaves it out.

The last two digits of TRU3xx mirror those of TRU2xx: TRU310 is TRU210 hidden in a thread.
"""


def page() -> str:
    """Return the page."""
    parts = [INTRO]
    for family, title in FAMILIES.items():
        rules = [rule for rule in RULES.values() if rule.code.startswith(family)]
        rows = [
            f"| [{rule.code}](#{_anchor(rule)}) | {rule.name} | {rule.level} |" for rule in rules
        ]
        parts.append("\n".join([f"## {family}xx: {title}", "", "| code | name | level |"]))
        parts[-1] += "\n" + "\n".join(["| --- | --- | --- |", *rows]) + "\n"
        parts += ["\n".join(_section(rule)) for rule in rules]
    return "\n".join(parts)


def _anchor(rule: Rule) -> str:
    return f"{rule.code}-{rule.name}".lower()


def _section(rule: Rule) -> Iterator[str]:
    yield f"### {rule.code} {rule.name}"
    yield ""
    yield f"Level: {rule.level}. {sentence(rule)}."
    yield ""
    yield rule.why
    yield ""
    yield f"Instead: {rule.instead}."
    for title, source in (("Bad", rule.bad), ("Good", rule.good)):
        yield from ("", f"{title}:", "", "```python", source.rstrip(), "```")
    title = "Leave it out" if is_health(rule.code) else "Allow it"
    yield from ("", f"{title}:", "", "```text", how_to_allow(rule.code).rstrip(), "```", "")


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
