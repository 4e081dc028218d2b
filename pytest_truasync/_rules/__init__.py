"""The catalogue: every rule, and how a user names some of them."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from functools import lru_cache
from types import MappingProxyType
from typing import Final

from pytest_truasync._model import Rule
from pytest_truasync._rules import blocking, health, offload, stall
from pytest_truasync._rules.advice import ADVICE, KEEPS_ITS_OWN

__all__ = [
    "NAMES",
    "RULES",
    "UnknownWordError",
    "check_words",
    "instead_for",
    "is_health",
    "select",
]

RULES: Final[Mapping[str, Rule]] = MappingProxyType(
    {
        rule.code: rule
        for rule in sorted(
            (*blocking.RULES, *offload.RULES, *stall.RULES, *health.RULES),
            key=lambda rule: rule.code,
        )
    }
)
"""Code → rule, in the order of the codes."""

NAMES: Final[Mapping[str, str]] = MappingProxyType(
    {rule.name: code for code, rule in RULES.items()}
)
"""Name of a rule → its code."""

_PREFIXES = frozenset(code[:length] for code in RULES for length in range(3, 7))
_BUILTIN_TARGETS = frozenset({"input", "open"})


class UnknownWordError(ValueError):
    """A word that names no rule; the message quotes it and the nearest words that do."""


def select(words: Iterable[str]) -> frozenset[str]:
    """Return the codes of the rules that *words* name.

    Args:
        words: codes (`TRU251`), prefixes of codes (`TRU2`) and names (`blocking-sleep`).

    Raises:
        UnknownWordError: one of them names no rule.
    """
    return frozenset(code for word in words for code in _codes(word))


def check_words(words: Iterable[str]) -> None:
    """Refuse what no permission can allow.

    Args:
        words: what `select` takes, and dotted targets, such as `time.sleep` or `requests`.

    Raises:
        UnknownWordError: one of them names no rule and cannot be the name of a callable, or is
            a rule about the plugin itself.
    """
    for word in words:
        if set(word) & set(" ,\t\n"):
            raise UnknownWordError(
                f"{word!r} is several words; give each as a string of its own, and what it is for "
                f"as reason=..."
            )
        if word.startswith("TRU") or "-" in word:
            codes = _codes(word)
            if all(map(is_health, codes)):
                raise UnknownWordError(
                    f"{word!r} speaks of the plugin itself and cannot be allowed; "
                    f"leave it out by --truasync-ignore"
                )
        elif not _is_target(word):
            raise UnknownWordError(
                f"{word!r} is neither a rule nor a dotted name such as 'time.sleep'"
                f"{_hint(word, [*NAMES, *_PREFIXES, *_modules()], _ending_in(word))}"
            )


def is_health(code: str) -> bool:
    """Tell whether the rule *code* speaks of the plugin itself, which no permission covers."""
    return code.startswith("TRU9")


@lru_cache(maxsize=2_000)  # the same few in each test
def instead_for(code: str, target: str) -> str:
    """Return what to write instead of *target*: its own advice, or that of the rule *code*."""
    if code not in KEEPS_ITS_OWN:
        name = target.removeprefix("builtins.")
        while name:
            if name in ADVICE:
                return ADVICE[name]
            name = name.rpartition(".")[0]
    return RULES[code].instead


def _codes(word: str) -> tuple[str, ...]:
    if word in NAMES:
        return (NAMES[word],)
    if word in _PREFIXES:
        return tuple(code for code in RULES if code.startswith(word))
    raise UnknownWordError(f"no rule {word!r}{_hint(word, [*NAMES, *_PREFIXES])}")


def _is_target(word: str) -> bool:
    parts = word.split(".")
    if not all(part.isidentifier() for part in parts):
        return False
    return len(parts) > 1 or word in _BUILTIN_TARGETS or word in _modules()


def _modules() -> frozenset[str]:
    """Return the modules whose name alone is understood: a misspelt one would allow nothing."""
    public = {name for name in sys.stdlib_module_names if not name.startswith("_")}
    return frozenset(public | {name.partition(".")[0] for name in ADVICE})


def _ending_in(word: str) -> list[str]:
    """Return what *word* may be short for: `sleep` for `time.sleep` and `blocking-sleep`."""
    targets = [name for name in ADVICE if name.endswith(f".{word}")]
    return targets[:2] + [name for name in NAMES if name.endswith(f"-{word}")][:1]


def _hint(word: str, known: Iterable[str], first: Iterable[str] = ()) -> str:
    from difflib import get_close_matches  # costs 2 ms, and is needed only for a typo

    fold = {name.casefold(): name for name in sorted(known, reverse=True)}
    close = get_close_matches(word.casefold(), fold, n=3, cutoff=0.5)
    near = [*first, *(fold[found] for found in close)][:3]
    if not near:
        return "; see --truasync-rules"
    return f"; did you mean {' or '.join(map(repr, near))}?"
