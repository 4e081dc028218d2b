"""``like`` and ``~``: PostgreSQL's patterns as Python's regular expressions."""

from __future__ import annotations

import re
from functools import lru_cache

from pytest_truasync.supabase._errors import sql_error, unsupported


@lru_cache(maxsize=1024)
def like_regex(pattern: str, ignore_case: bool) -> re.Pattern[str]:
    """Compile a ``like`` pattern; to be used with fullmatch.

    Raises:
        ApiError: The pattern ends with its escape character (22025).
    """
    out: list[str] = []
    at = 0
    while at < len(pattern):
        char = pattern[at]
        if char == "%":
            if out[-1:] != [".*"]:  # %% would only cost time
                out.append(".*")
        elif char == "_":
            out.append(".")
        elif char == "\\":
            at += 1
            if at >= len(pattern):
                raise sql_error("22025", "LIKE pattern must not end with escape character")
            out.append(re.escape(pattern[at]))
        else:
            out.append(re.escape(char))
        at += 1
    return re.compile("".join(out), re.DOTALL | (re.IGNORECASE if ignore_case else 0))


#: Letters of the scripts in common use, for a bracket of Python's.
_LETTERS = (
    r"a-zA-Z\u00aa\u00b5\u00ba\u00c0-\u00d6\u00d8-\u00f6\u00f8-\u02c1\u0370-\u0373\u0376-\u037d"
    r"\u0386-\u0481\u048a-\u0556\u0561-\u0587\u05d0-\u05ea\u0620-\u064a\u0904-\u0939"
    r"\u0e01-\u0e30\u1e00-\u1fff\u3041-\u3096\u30a1-\u30fa\u3400-\u9fff\uac00-\ud7a3"
)
_CLASSES = {
    "alpha": _LETTERS,
    "digit": "0-9",
    "alnum": f"{_LETTERS}0-9",
    "upper": "A-Z",
    "lower": "a-z",
    "space": r"\s",
    "blank": r" \t",
    "punct": r"!-/:-@\[-`{-~",
    "xdigit": "0-9A-Fa-f",
    "word": r"\w",
}
_ESCAPES = {
    "m": r"\b(?=\w)",
    "M": r"\b(?<=\w)",
    "y": r"\b",
    "Y": r"\B",
    "A": r"\A",
    "Z": r"\Z",
    "b": r"\x08",
}


@lru_cache(maxsize=1024)
def posix_regex(pattern: str, ignore_case: bool) -> re.Pattern[str]:
    """Compile an advanced regular expression of PostgreSQL; to be used with search.

    Raises:
        ApiError: The pattern is wrong (2201B), or nothing that Python can match alike.
    """
    flags = re.DOTALL | (re.IGNORECASE if ignore_case else 0)
    text = pattern
    if found := re.match(r"\(\?([a-z]+)\)", text):
        if set(found[1]) - set("ic"):
            raise unsupported(f"the options of the regular expression {pattern!r}")
        flags |= re.IGNORECASE if "i" in found[1] else 0
        text = text[found.end() :]
    if text.startswith("***"):
        raise unsupported(f"the director of the regular expression {pattern!r}")
    translated = _translate(text, pattern)
    try:
        return re.compile(translated, flags)
    except (re.error, OverflowError, RecursionError) as error:
        raise _bad_pattern(str(error)) from None


def _translate(text: str, pattern: str) -> str:
    out: list[str] = []
    at = 0
    while at < len(text):
        char = text[at]
        if char == "[":
            piece, at = _bracket(text, at, pattern)
            out.append(piece)
            continue
        if char == "\\":
            following = text[at + 1 : at + 2]
            if not following:
                raise _bad_pattern("bad escape (end of pattern)")
            if following.isdigit():
                raise unsupported(f"back references in the regular expression {pattern!r}")
            known = following in "dDsSwWtnrfvae" or not following.isalnum()
            if following in "ae" or (not known and following not in _ESCAPES):
                raise unsupported(f"the escape \\{following} in a regular expression")
            out.append(_ESCAPES.get(following, char + following))
            at += 2
            continue
        if char in "*+?" and at and text[at - 1 : at] in "*+" and char != "?":
            raise _bad_pattern("multiple repeat")
        out.append(r"\Z" if char == "$" else char)
        at += 1
    return "".join(out)


def _bracket(text: str, at: int, pattern: str) -> tuple[str, int]:
    end = at + 1
    out = ["["]
    if text[end : end + 1] == "^":
        out.append("^")
        end += 1
    if text[end : end + 1] == "]":
        out.append(r"\]")
        end += 1
    while end < len(text) and text[end] != "]":
        if found := re.match(r"\[:(\w+):\]", text[end:]):
            if found[1] not in _CLASSES:
                raise _bad_pattern("unknown character class")
            out.append(_CLASSES[found[1]])
            end += found.end()
            continue
        if re.match(r"\[[.=]", text[end:]):
            raise unsupported(f"collating elements in the regular expression {pattern!r}")
        if text[end] == "\\" and end + 1 < len(text):
            out.append(text[end : end + 2])
            end += 2
            continue
        out.append("\\[" if text[end] == "[" else text[end])
        end += 1
    if end >= len(text):
        raise _bad_pattern("unterminated character set")
    return "".join(out) + "]", end + 1


#: Python's words for what is wrong with a pattern → PostgreSQL's.
_REASONS = (
    ("parenthesis", "parentheses () not balanced"),
    ("unterminated subpattern", "parentheses () not balanced"),
    ("unterminated character", "brackets [] not balanced"),
    ("character class", "invalid character class"),
    ("character range", "invalid character range"),
    ("repeat", "quantifier operand invalid"),
    ("escape", "invalid escape \\ sequence"),
)


def _bad_pattern(reason: str) -> Exception:
    words = next((pg for py, pg in _REASONS if py in reason), "invalid regexp (reg version 0.8)")
    return sql_error("2201B", f"invalid regular expression: {words}")
