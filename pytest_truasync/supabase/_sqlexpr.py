"""A small part of SQL's expressions: defaults, checks and generated columns."""

from __future__ import annotations

import re
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

from pytest_truasync.supabase import _types as t
from pytest_truasync.supabase._cast import cast
from pytest_truasync.supabase._errors import sql_error
from pytest_truasync.supabase._sqlfunctions import FUNCTIONS, KEYWORD_CALLS
from pytest_truasync.supabase._sqlvalues import (
    Expr,
    NotModelledError,
    Scope,
    Typed,
    apply_operator,
    at_time_zone,
    unify,
)
from pytest_truasync.supabase._types import PgType, TypeBook

_TOKEN = re.compile(
    r"""\s*(?:
      (?P<string>[eE]?'(?:[^']|'')*')
    | (?P<number>\d+\.?\d*(?:[eE][+-]?\d+)?|\.\d+)
    | (?P<word>[A-Za-z_][\w$]*|"(?:[^"]|"")*")
    | (?P<op>::|<=|>=|<>|!=|\|\||!~\*|!~|~\*|~~\*|~~|->>|->|[-+*/%<>=(),.\[\]~])
    )""",
    re.VERBOSE,
)

_PRECEDENCE = {
    "or": 1,
    "and": 2,
    "is": 4,
    "=": 5,
    "<>": 5,
    "!=": 5,
    "<": 5,
    ">": 5,
    "<=": 5,
    ">=": 5,
    "like": 6,
    "ilike": 6,
    "in": 6,
    "between": 6,
    "not": 6,
    "~": 7,
    "~*": 7,
    "!~": 7,
    "!~*": 7,
    "~~": 7,
    "~~*": 7,
    "||": 7,
    "->": 7,
    "->>": 7,
    "+": 8,
    "-": 8,
    "*": 9,
    "/": 9,
    "%": 9,
    "at": 10,
    "[": 11,
    "::": 12,
}


def compile_expression(text: str, book: TypeBook) -> Expr:
    """Compile SQL into a function of a scope.

    Raises:
        NotModelledError: It is SQL that this module does not know.
    """
    parser = _Parser(_tokens(text), book)
    expr = parser.expression(0)
    if parser.at < len(parser.tokens):
        raise NotModelledError(text)
    return expr


def _tokens(text: str) -> list[tuple[str, str]]:
    tokens = []
    at = 0
    text = text.rstrip()
    while at < len(text):
        found = _TOKEN.match(text, at)
        if found is None or found.lastgroup is None:
            raise NotModelledError(text)
        tokens.append((found.lastgroup, found[found.lastgroup]))
        at = found.end()
    return tokens


def _constant(kind: PgType, value: Any) -> Expr:
    return lambda scope: (kind, value)


class _Parser:
    """A Pratt parser over the tokens."""

    def __init__(self, tokens: Sequence[tuple[str, str]], book: TypeBook) -> None:
        self.tokens, self.book, self.at = tokens, book, 0

    def peek(self, ahead: int = 0) -> str:
        """Return the next token: words in lower case."""
        at = self.at + ahead
        if at >= len(self.tokens):
            return ""
        kind, text = self.tokens[at]
        return text.lower() if kind == "word" and not text.startswith('"') else text

    def take(self) -> tuple[str, str]:
        if self.at >= len(self.tokens):
            raise NotModelledError("the end")
        self.at += 1
        return self.tokens[self.at - 1]

    def accept(self, *words: str) -> bool:
        if all(self.peek(i) == word for i, word in enumerate(words)):
            self.at += len(words)
            return True
        return False

    def expect(self, word: str) -> None:
        if not self.accept(word):
            raise NotModelledError(f"{word} missing")

    def expression(self, floor: int) -> Expr:
        left = self.operand()
        while (strength := _PRECEDENCE.get(self.peek(), 0)) > floor:
            left = self.infix(left, strength)
        return left

    def infix(self, left: Expr, strength: int) -> Expr:
        _, raw = self.take()
        word = raw.lower()
        if word == "::":
            return _cast_expr(left, self.type_name())
        if word == "[":
            raise NotModelledError("subscripts")
        if word == "at":
            self.expect("time")
            self.expect("zone")
            return _at_zone(left, self.expression(strength))
        if word == "is":
            return self.is_test(left)
        if word in {"not", "in", "between", "like", "ilike"}:
            return self.word_test(left, word, strength)
        if self.peek() in {"any", "all", "some"}:
            every = self.take()[1].lower() == "all"
            self.expect("(")
            items = self.expression(0)
            self.expect(")")
            return _quantified(left, word, items, every=every)
        return _binary(left, word, self.expression(strength))

    def is_test(self, left: Expr) -> Expr:
        negated = self.accept("not")
        if self.accept("distinct", "from"):
            right = self.expression(5)
            return _distinct(left, right, wanted=not negated)
        for word, wanted in (("null", None), ("true", True), ("false", False), ("unknown", None)):
            if self.accept(word):
                return lambda scope: (t.BOOLEAN, (left(scope)[1] is wanted) is not negated)
        raise NotModelledError("is")

    def word_test(self, left: Expr, word: str, strength: int) -> Expr:
        negated = word == "not"
        if negated:
            word = self.take()[1].lower()
        if word == "in":
            self.expect("(")
            items = self.arguments(")")
            test = _in_list(left, items)
        elif word == "between":
            low = self.expression(6)
            self.expect("and")
            high = self.expression(6)
            test = _logic(_binary(left, ">=", low), "and", _binary(left, "<=", high))
        elif word in {"like", "ilike"}:
            test = _binary(left, "~~" if word == "like" else "~~*", self.expression(strength))
        else:
            raise NotModelledError(word)
        return _not(test) if negated else test

    def operand(self) -> Expr:
        kind, raw = self.take()
        word = raw.lower() if kind == "word" and not raw.startswith('"') else raw
        if kind == "string":
            if raw[0] in "eE" and "\\" in raw:
                raise NotModelledError(raw)
            return _constant(t.UNKNOWN, raw[raw.index("'") + 1 : -1].replace("''", "'"))
        if kind == "number":
            return _number_literal(raw)
        if word == "(":
            inner = self.expression(0)
            self.expect(")")
            return inner
        if word == "-":
            return _negate(self.expression(9))
        if word == "+":
            return self.expression(9)
        if kind == "word":
            return self.named(raw, word)
        raise NotModelledError(raw)

    def named(self, raw: str, word: str) -> Expr:
        if word == "not":
            return _not(self.expression(3))
        if word in {"true", "false"}:
            return _constant(t.BOOLEAN, word == "true")
        if word == "null":
            return _constant(t.UNKNOWN, None)
        if word == "case":
            return self.case()
        if word == "cast" and self.accept("("):
            inner = self.expression(0)
            self.expect("as")
            kind = self.type_name()
            self.expect(")")
            return _cast_expr(inner, kind)
        if word == "array" and self.accept("["):
            return _array(self.arguments("]"))
        if word in KEYWORD_CALLS and self.peek() != "(":
            return KEYWORD_CALLS[word]
        names = [raw]
        while self.accept("."):
            names.append(self.take()[1])
        if self.accept("("):
            return self.call(".".join(names).lower())
        if self.at < len(self.tokens) and self.tokens[self.at][0] == "string":
            text = self.operand()  # date '2020-01-01', interval '1 day'
            return _cast_expr(text, self.find_type(" ".join(names)))
        return _column(names[-1].strip('"') if names[-1].startswith('"') else names[-1].lower())

    def call(self, name: str) -> Expr:
        if name == "count" or (self.peek() == "select"):
            raise NotModelledError(name)
        arguments = self.arguments(")")
        function = FUNCTIONS.get(name.removeprefix("pg_catalog.").removeprefix("extensions."))
        if function is None:
            raise NotModelledError(f"{name}()")
        return lambda scope: function(scope, [a(scope) for a in arguments])

    def arguments(self, closing: str) -> list[Expr]:
        found: list[Expr] = []
        if self.accept(closing):
            return found
        while True:
            found.append(self.expression(0))
            if self.accept(closing):
                return found
            self.expect(",")

    def case(self) -> Expr:
        subject = None if self.peek() == "when" else self.expression(0)
        branches = []
        while self.accept("when"):
            test = self.expression(0)
            self.expect("then")
            branches.append((_binary(subject, "=", test) if subject else test, self.expression(0)))
        otherwise = self.expression(0) if self.accept("else") else _constant(t.UNKNOWN, None)
        self.expect("end")

        def choose(scope: Scope) -> Typed:
            for test, result in branches:
                if test(scope)[1] is True:
                    return result(scope)
            return otherwise(scope)

        return choose

    def type_name(self) -> PgType:
        words = [self.take()[1]]
        while self.accept("."):
            words = [words[-1] + "." + self.take()[1]]
        while self.peek() in {"varying", "precision"}:
            words.append(self.take()[1])
        if self.accept("("):
            sizes = []
            while not self.accept(")"):
                sizes.append(self.take()[1])
            words[-1] += f"({''.join(sizes)})"
        if self.peek() in {"with", "without"} and self.peek(1) == "time":
            words += [self.take()[1] for _ in range(3)]
        text = " ".join(words)
        while self.accept("[", "]"):
            text += "[]"
        return self.find_type(text)

    def find_type(self, text: str) -> PgType:
        if text.lower() in {"regclass", "pg_catalog.regclass"}:
            return t.TEXT
        try:
            return self.book.find(text, opaque=False)
        except t.UnknownTypeError:
            raise NotModelledError(f"the type {text}") from None


def _number_literal(raw: str) -> Expr:
    if raw.isdigit():
        number = int(raw)
        kind = t.INTEGER if number < 1 << 31 else t.BIGINT if number < 1 << 63 else t.NUMERIC
        return _constant(kind, Decimal(number) if kind is t.NUMERIC else number)
    return _constant(t.NUMERIC, t.NUMERIC.parse(raw))


def _column(name: str) -> Expr:
    def get(scope: Scope) -> Typed:
        if name not in scope.types:
            raise sql_error("42703", f'column "{name}" does not exist')
        return scope.types[name], scope.row.get(name)

    return get


def _cast_expr(inner: Expr, kind: PgType) -> Expr:
    def apply(scope: Scope) -> Typed:
        source, value = inner(scope)
        return kind, cast(value, source, kind)

    return apply


def _negate(inner: Expr) -> Expr:
    def apply(scope: Scope) -> Typed:
        kind, value = inner(scope)
        return kind, None if value is None else -value

    return apply


def _not(inner: Expr) -> Expr:
    def apply(scope: Scope) -> Typed:
        value = inner(scope)[1]
        return t.BOOLEAN, None if value is None else not value

    return apply


def _logic(left: Expr, word: str, right: Expr) -> Expr:
    decisive = word == "or"

    def apply(scope: Scope) -> Typed:
        first = left(scope)[1]
        if first is decisive:
            return t.BOOLEAN, decisive
        second = right(scope)[1]
        if second is decisive:
            return t.BOOLEAN, decisive
        return t.BOOLEAN, None if first is None or second is None else not decisive

    return apply


def _binary(left: Expr, operator: str, right: Expr) -> Expr:
    if operator in {"and", "or"}:
        return _logic(left, operator, right)
    return lambda scope: apply_operator(left(scope), operator, right(scope))


def _at_zone(left: Expr, right: Expr) -> Expr:
    def apply(scope: Scope) -> Typed:
        return at_time_zone(scope, [right(scope), left(scope)])

    return apply


def _distinct(left: Expr, right: Expr, *, wanted: bool) -> Expr:
    def apply(scope: Scope) -> Typed:
        kind, lv, _, rv = unify(left(scope), right(scope))
        if lv is None or rv is None:
            return t.BOOLEAN, (lv is not rv) is wanted
        same = apply_operator((kind, lv), "=", (kind, rv))[1]
        return t.BOOLEAN, (not same) is wanted

    return apply


def _in_list(left: Expr, items: list[Expr]) -> Expr:
    def apply(scope: Scope) -> Typed:
        subject = left(scope)
        found = [apply_operator(subject, "=", item(scope))[1] for item in items]
        return t.BOOLEAN, True if True in found else None if None in found else False

    return apply


def _quantified(left: Expr, operator: str, items: Expr, *, every: bool) -> Expr:
    def apply(scope: Scope) -> Typed:
        subject = left(scope)
        kind, values = items(scope)
        if values is None:
            return t.BOOLEAN, None
        if kind is t.UNKNOWN:
            kind = t.array_of(subject[0])
            values = kind.parse(values)
        element = kind.element or t.TEXT
        found = [apply_operator(subject, operator, (element, v))[1] for v in values]
        decisive = not every
        if decisive in found:
            return t.BOOLEAN, decisive
        return t.BOOLEAN, None if None in found else every

    return apply


def _array(items: list[Expr]) -> Expr:
    def apply(scope: Scope) -> Typed:
        found = [item(scope) for item in items]
        kind = next((k for k, _ in found if k is not t.UNKNOWN), t.TEXT)
        return t.array_of(kind), [cast(v, k, kind) for k, v in found]

    return apply
