"""Full text search with the configuration ``simple``: words in lower case, no stemming."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

from pytest_truasync.supabase._errors import ApiError, no_sql_function, sql_error, unsupported
from pytest_truasync.supabase._literals import TsVector
from pytest_truasync.supabase._types import TEXT_FAMILIES, PgType

#: A query over a document: lexeme → its positions.
Query = Callable[[TsVector], bool]
#: The positions at which a part of a phrase ends; None where nothing matched.
_Places = set[int]

_WORD = re.compile(r"\w+", re.UNICODE)


def check_config(config: str) -> None:
    """Refuse every configuration but ``simple``: the others need dictionaries."""
    if config.lower().removeprefix("pg_catalog.") != "simple":
        raise unsupported(
            f"the text search configuration {config!r}",
            "Only 'simple' is: write fts(simple), or give the engine text_search='simple'.",
        )


def words(text: str) -> list[str]:
    """Cut a text into the lexemes of the configuration ``simple``."""
    return [found[0].lower() for found in _WORD.finditer(text)]


def to_tsvector(text: str) -> TsVector:
    """Return the document of a text."""
    places: dict[str, list[tuple[int, str]]] = {}
    for number, word in enumerate(words(text), 1):
        places.setdefault(word, []).append((number, "D"))
    return TsVector({word: tuple(marks) for word, marks in places.items()})


def document_of(kind: PgType, config: str) -> Callable[[Any], TsVector]:
    """Return ``to_tsvector`` for the values of a type.

    Raises:
        ApiError: There is none, or the configuration needs a dictionary.
    """
    if kind.family == "tsvector":
        return lambda value: value
    if kind.family in TEXT_FAMILIES:
        check_config(config)
        return to_tsvector
    if kind.family in {"json", "jsonb"}:
        check_config(config)
        return lambda value: to_tsvector(" ".join(_strings(value.value)))
    raise no_sql_function(f"to_tsvector({kind.message_name})")


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from _strings(item)
    elif isinstance(value, list):
        for item in value:
            yield from _strings(item)


def parse_tsquery(operator: str, text: str, config: str) -> Query:
    """Compile a query: ``fts`` to_tsquery, ``plfts`` plainto, ``phfts`` phraseto, ``wfts`` web.

    Raises:
        ApiError: A syntax error in the query (42601), or a configuration that is not modelled.
    """
    check_config(config)
    if operator == "plfts":
        return _all([_phrase([word]) for word in words(text)])
    if operator == "phfts":
        return _phrase(words(text)) if words(text) else _nothing
    if operator == "wfts":
        return _websearch(text)
    return _Parser(text).parse()


def _nothing(document: TsVector) -> bool:
    return False


def _all(parts: list[Query]) -> Query:
    return (lambda document: all(p(document) for p in parts)) if parts else _nothing


def _any(parts: list[Query]) -> Query:
    return lambda document: any(p(document) for p in parts)


def _word(word: str, *, prefix: bool = False, weights: str = "") -> Callable[[TsVector], _Places]:
    def places(document: TsVector) -> _Places:
        found: _Places = set()
        for lexeme, marks in document.lexemes.items():
            if lexeme == word or (prefix and lexeme.startswith(word)):
                # a lexeme without positions matches, but in no phrase
                found |= {at for at, weight in marks if not weights or weight in weights} or (
                    {0} if not marks and not weights else set()
                )
        return found

    return places


def _phrase(parts: list[str]) -> Query:
    lookups = [_word(part) for part in parts]

    def test(document: TsVector) -> bool:
        ends = lookups[0](document)
        for lookup in lookups[1:]:
            following = lookup(document)
            ends = {at + 1 for at in ends if at} & following
        return bool(ends)

    return test


def _websearch(text: str) -> Query:
    branches: list[list[Query]] = [[]]
    for minus, quoted, bare in re.findall(r'(-?)(?:"([^"]*)"?|([^\s"]+))', text):
        if bare.lower() == "or" and not minus and branches[-1]:
            branches.append([])
            continue
        found = words(quoted or bare)
        if found:
            test = _phrase(found)
            branches[-1].append(_not(test) if minus else test)
    filled = [_all(branch) for branch in branches if branch]
    return _any(filled) if filled else _nothing


def _not(test: Query) -> Query:
    return lambda document: not test(document)


_TOKEN = re.compile(
    r"\s*(?:([&|!()])|<(-|\d+)>|'((?:[^']|'')*)'|([^\s&|!()<>:']+))(:\*?[A-Da-d*]*)?"
)


class _Parser:
    """``to_tsquery``: words with ``& | ! <->`` and brackets."""

    def __init__(self, text: str) -> None:
        self.text, self.at = text, 0
        self.tokens: list[tuple[str, str, str]] = []
        body = text.rstrip()
        while self.at < len(body):
            found = _TOKEN.match(body, self.at)
            if found is None:
                raise self.error()
            sign, distance, quoted, bare, marks = found.groups()
            if sign:
                self.tokens.append((sign, "", ""))
            elif distance:
                self.tokens.append(("<>", distance, ""))
            else:
                self.tokens.append(("word", quoted if quoted is not None else bare, marks or ""))
            self.at = found.end()
        self.at = 0

    def error(self) -> ApiError:
        return sql_error("42601", f'syntax error in tsquery: "{self.text}"')

    def peek(self) -> str:
        return self.tokens[self.at][0] if self.at < len(self.tokens) else ""

    def parse(self) -> Query:
        if not self.tokens:
            return _nothing
        test = self.either()
        if self.at < len(self.tokens):
            raise self.error()
        return test

    def either(self) -> Query:
        parts = [self.both()]
        while self.peek() == "|":
            self.at += 1
            parts.append(self.both())
        return _any(parts) if len(parts) > 1 else parts[0]

    def both(self) -> Query:
        parts = [self.followed()]
        while self.peek() == "&":
            self.at += 1
            parts.append(self.followed())
        return _all(parts) if len(parts) > 1 else parts[0]

    def followed(self) -> Query:
        test, places = self.operand()
        while self.peek() == "<>":
            distance = self.tokens[self.at][1]
            self.at += 1
            _, following = self.operand()
            if places is None or following is None:
                raise unsupported(f"the phrase search {self.text!r}", "Put words around <->.")
            places = _after(places, following, 1 if distance == "-" else int(distance))
            test = _found(places)
        return test

    def operand(self) -> tuple[Query, Callable[[TsVector], _Places] | None]:
        if self.at >= len(self.tokens):
            raise self.error()
        kind, text, marks = self.tokens[self.at]
        self.at += 1
        if kind == "!":
            return _not(self.operand()[0]), None
        if kind == "(":
            test = self.either()
            if self.peek() != ")":
                raise self.error()
            self.at += 1
            return test, None
        if kind != "word":
            raise self.error()
        parts = words(text)
        if not parts:
            return _nothing, None
        if len(parts) > 1:
            return _phrase(parts), None
        weights = "".join(c for c in marks.upper() if c in "ABCD")
        places = _word(parts[0], prefix="*" in marks, weights=weights)
        return _found(places), places


def _found(places: Callable[[TsVector], _Places]) -> Query:
    return lambda document: bool(places(document))


def _after(
    first: Callable[[TsVector], _Places], second: Callable[[TsVector], _Places], distance: int
) -> Callable[[TsVector], _Places]:
    return lambda document: {at + distance for at in first(document) if at} & second(document)
