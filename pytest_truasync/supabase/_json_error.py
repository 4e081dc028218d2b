"""What PostgreSQL says of a text that is no JSON."""

from __future__ import annotations

import re

from pytest_truasync.supabase._errors import ApiError, sql_error, unsupported

_ENDED = "The input string ended unexpectedly."
_SPACE = re.compile(r"[ \t\n\r]*")
_NUMBER = re.compile(r"-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?", re.ASCII)
_WORD_CHAR = re.compile(r"[\w\x80-\U0010ffff]")
_NUMBER_TAIL = re.compile(r"[\w.+\-\x80-\U0010ffff]*")


class _WrongError(Exception):
    """Carry the details of the first mistake."""


class _Reader:
    def __init__(self, text: str) -> None:
        self.text, self.at = text, 0
        self.token, self.kind = "", ""
        self.advance()

    def advance(self) -> None:
        """Read the next token: a punctuation mark, string, number, word or the end."""
        text = self.text
        found = _SPACE.match(text, self.at)
        self.at = start = found.end() if found else self.at
        char = text[start : start + 1]
        if not char:
            self.kind, self.token = "end", ""
            return
        if char in "{}[],:":
            self.at, self.kind = start + 1, char
        elif char == '"':
            self.string(start)
        elif char.isdigit() or char == "-":
            self.number(start)
        else:
            self.word(start)
        self.token = text[start : self.at]

    def string(self, start: int) -> None:
        self.kind, at = "string", start + 1
        text = self.text
        while at < len(text) and text[at] != '"':
            if text[at] == "\\":
                self.escape(at)
                at += 1
            elif text[at] < " ":
                raise _WrongError(f"Character with value 0x{ord(text[at]):02x} must be escaped.")
            at += 1
        if at >= len(text):
            raise _WrongError(f'Token "{text[start:]}" is invalid.')
        self.at = at + 1

    def escape(self, at: int) -> None:
        following = self.text[at + 1 : at + 2]
        if following == "u":
            if not re.match(r"[0-9a-fA-F]{4}", self.text[at + 2 :]):
                raise _WrongError('"\\u" must be followed by four hexadecimal digits.')
        elif following and following not in '"\\/bfnrt':
            raise _WrongError(f'Escape sequence "\\{following}" is invalid.')

    def number(self, start: int) -> None:
        self.kind = "number"
        found = _NUMBER.match(self.text, start)
        tail = _NUMBER_TAIL.match(self.text, start)
        self.at = found.end() if found else start
        if tail is not None and (found is None or tail.end() > found.end()):
            raise _WrongError(f'Token "{tail[0]}" is invalid.')

    def word(self, start: int) -> None:
        at = start
        while at < len(self.text) and _WORD_CHAR.match(self.text[at]):
            at += 1
        token = self.text[start : max(at, start + 1)]
        if token not in {"true", "false", "null"}:
            raise _WrongError(f'Token "{token}" is invalid.')
        self.kind, self.at = "word", at

    def expected(self, what: str) -> _WrongError:
        if self.kind == "end":
            return _WrongError(_ENDED)
        return _WrongError(f'Expected {what}, but found "{self.token}".')

    def value(self) -> None:
        if self.kind == "{":
            self.members()
        elif self.kind == "[":
            self.items()
        elif self.kind in {"string", "number", "word"}:
            self.advance()
        else:
            raise self.expected("JSON value")

    def members(self) -> None:
        self.advance()
        if self.kind == "}":
            self.advance()
            return
        if self.kind != "string":
            raise self.expected('string or "}"')
        while True:
            if self.kind != "string":
                raise self.expected("string")
            self.advance()
            if self.kind != ":":
                raise self.expected('":"')
            self.advance()
            self.value()
            if self.kind == "}":
                self.advance()
                return
            if self.kind != ",":
                raise self.expected('"," or "}"')
            self.advance()

    def items(self) -> None:
        self.advance()
        if self.kind == "]":
            self.advance()
            return
        while True:
            self.value()
            if self.kind == "]":
                self.advance()
                return
            if self.kind != ",":
                raise self.expected('"," or "]"')
            self.advance()


def json_error(text: str) -> ApiError:
    """Make the error (22P02) to a text that is no JSON."""
    details = None
    try:
        reader = _Reader(text)
        reader.value()
        if reader.kind != "end":
            raise reader.expected("end of input")
    except _WrongError as wrong:
        details = str(wrong)
    except RecursionError:
        return unsupported("JSON nested so deeply")
    return sql_error("22P02", "invalid input syntax for type json", details)
