from __future__ import annotations

import ast
import re

import pytest

from pytest_truasync._model import Rule
from pytest_truasync._rules import (
    NAMES,
    RULES,
    UnknownWordError,
    check_words,
    instead_for,
    select,
)
from pytest_truasync._rules.advice import ADVICE, KEEPS_ITS_OWN, LOCAL, NETWORK

LEVELS = {
    "note": {"TRU290", "TRU302", "TRU904"},
    "warning": {"TRU303", "TRU901", "TRU902", "TRU903", "TRU905"},
}
THREAD = re.compile(r"to_thread|run_sync|run_in_executor|ThreadPool|run_in_threadpool")


@pytest.mark.parametrize("rule", RULES.values(), ids=lambda rule: rule.code)
class TestRule:
    def test_is_well_formed(self, rule: Rule) -> None:
        assert re.fullmatch(r"TRU[2349]\d\d", rule.code)
        assert re.fullmatch(r"[a-z]+(-[a-z]+)+", rule.name)
        assert rule.level == next((key for key in LEVELS if rule.code in LEVELS[key]), "error")

    def test_its_sentence_takes_a_target(self, rule: Rule) -> None:
        assert rule.summary.format(target="time.sleep").startswith("time.sleep ")
        assert not rule.summary.endswith(".")
        assert not rule.instead.endswith(".")
        assert rule.why.endswith(".")

    def test_its_examples_are_python(self, rule: Rule) -> None:
        assert rule.bad != rule.good
        for source in (rule.bad, rule.good):
            assert source.endswith("\n")
            ast.parse(source)
            assert max(map(len, source.splitlines())) <= 76  # `--truasync-explain` indents it by 4


def test_the_catalogue_is_sorted_and_names_are_unique() -> None:
    assert list(RULES) == sorted(RULES)
    assert len(NAMES) == len(RULES)


def test_offloads_mirror_blocking_calls() -> None:
    for code in RULES:
        if code.startswith("TRU3") and code >= "TRU310":
            assert any(other[-2:] == code[-2:] for other in RULES if other.startswith("TRU2"))


@pytest.mark.parametrize(
    ("words", "codes"),
    [
        (["TRU251"], {"TRU251"}),
        (["TRU28"], {"TRU280", "TRU281"}),
        (["blocking-sleep", "TRU401"], {"TRU251", "TRU401"}),
        (["TRU"], set(RULES)),
        ([], set()),
    ],
)
def test_select(words: list[str], codes: set[str]) -> None:
    assert select(words) == codes


@pytest.mark.parametrize(
    ("word", "near"),
    [
        ("TRU25x", "'TRU251'"),
        ("tru251", "'TRU251'"),
        ("TRU999", "'TRU9'"),
        ("blocking-slep", "'blocking-sleep'"),
        ("Blocking-Sleep", "'blocking-sleep'"),
        ("", "--truasync-rules"),
        ("qqqqqqqq", "--truasync-rules"),
    ],
)
def test_an_unknown_word_is_named_with_the_nearest(word: str, near: str) -> None:
    with pytest.raises(UnknownWordError) as error:
        select([word])
    assert repr(word) in str(error.value)
    assert near in str(error.value)


@pytest.mark.parametrize(
    "word", ["TRU2", "TRU", "lazy-load", "time.sleep", "requests", "open", "input", "a.b.c"]
)
def test_what_a_permission_may_name(word: str) -> None:
    check_words([word])


@pytest.mark.parametrize(
    ("word", "near"),
    [
        ("sleep", "'time.sleep'"),
        ("reqests", "'requests'"),
        ("TRU90x", "'TRU90'"),
        ("TRU9", "cannot be allowed"),
        ("unused-permission", "cannot be allowed"),
        ("time.sleep()", "neither a rule nor a dotted name"),
        ("time..sleep", "neither a rule nor a dotted name"),
        ("", "neither a rule nor a dotted name"),
    ],
)
def test_what_it_may_not(word: str, near: str) -> None:
    with pytest.raises(UnknownWordError) as error:
        check_words(["TRU251", word])
    assert near in str(error.value)


@pytest.mark.parametrize(
    ("code", "target", "advice"),
    [
        ("TRU251", "time.sleep", "await asyncio.sleep(...) (or anyio.sleep, trio.sleep)"),
        ("TRU210", "requests.get", NETWORK["requests"]),
        ("TRU310", "requests.sessions.Session.get", NETWORK["requests"]),
        ("TRU210", "requestsx.get", RULES["TRU210"].instead),
        ("TRU210", "httpx.Client.get", NETWORK["httpx.Client"]),
        ("TRU250", "builtins.input", LOCAL["input"]),
        ("TRU302", "open", RULES["TRU302"].instead),
        ("TRU290", "mimetypes.init", RULES["TRU290"].instead),
        ("TRU402", "nowhere.wait", RULES["TRU402"].instead),
    ],
)
def test_instead_for(code: str, target: str, advice: str) -> None:
    assert instead_for(code, target) == advice


def test_advice_knows_no_code_that_is_none() -> None:
    assert set(RULES) >= KEEPS_ITS_OWN
    assert not set(NETWORK) & set(LOCAL)
    assert len(ADVICE) == len(NETWORK) + len(LOCAL)


@pytest.mark.parametrize("target", NETWORK)
def test_network_work_is_never_advised_into_a_thread(target: str) -> None:
    assert not THREAD.search(NETWORK[target])


@pytest.mark.parametrize("code", [code for code in RULES if re.match("TRU2[178]|TRU3[1-8]", code)])
def test_nor_by_a_rule_on_the_network(code: str) -> None:
    assert not THREAD.search(RULES[code].instead)
    assert not THREAD.search(RULES[code].good)
