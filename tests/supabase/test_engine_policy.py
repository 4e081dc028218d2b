"""Grants and row-level security."""

from __future__ import annotations

from typing import Any

import pytest
from engine_tools import REPRESENTATION, Asker, shop

from pytest_truasync.supabase._policy import RowPolicy


def own(row: Any, claims: Any) -> bool:
    """Tell whether the row is the caller's."""
    return bool(row["owner_id"] == claims.get("sub"))


@pytest.fixture
def policy() -> RowPolicy:
    """Return a policy: everyone reads shops with an owner, who alone writes them."""
    made = RowPolicy()
    made.allow("shops", lambda row, _: row["owner_id"] is not None, commands=["select"])
    made.allow("shops", own, roles=["authenticated"], commands=["insert", "update", "delete"])
    return made


def as_role(ask: Asker, role: str, **claims: Any) -> Asker:
    """Return an asker of the same engine as another caller."""
    return Asker(ask.engine, role=role, claims=claims)


def test_rows_are_seen_by_policy(policy: RowPolicy) -> None:
    anon = shop(visible=policy)
    assert anon.ids("/shops?select=id") == [1, 2]
    assert anon.ids("/shops?id=eq.3&select=id") == []
    assert as_role(anon, "service_role").ids("/shops?select=id") == [1, 2, 3]
    assert anon.rows("/people?select=shops(id)&id=eq.1") == [{"shops": [{"id": 1}]}]
    counted = anon.get("/shops", ("Prefer", "count=exact"))
    assert counted.headers["content-range"] == "0-1/2"


def test_writes_by_policy(policy: RowPolicy) -> None:
    anon = shop(visible=policy)
    user = as_role(anon, "authenticated", sub=1)
    assert user("PATCH", "/shops?select=id", {"title": "x"}, REPRESENTATION).json == [{"id": 1}]
    assert anon("PATCH", "/shops", {"title": "y"}, REPRESENTATION).json == []
    assert user("DELETE", "/shops?id=eq.2", None, REPRESENTATION).json == []
    refused = user("PATCH", "/shops?id=eq.1", {"owner_id": 2})
    assert refused.error == (403, "42501")
    assert refused.json["message"] == (
        'new row violates row-level security policy for table "shops"'
    )
    mine = {"id": 5, "title": "n", "owner_id": 1}
    assert user("POST", "/shops", mine).status == 201
    assert user("POST", "/shops", {**mine, "id": 6, "owner_id": 2}).error == (403, "42501")
    answer = anon("POST", "/shops", {**mine, "id": 7})
    assert answer.error == (401, "42501")
    assert answer.headers["www-authenticate"] == "Bearer"
    assert as_role(anon, "service_role").ids("/shops?select=id") == [2, 3, 1, 5]


def test_protected_without_policy_is_empty() -> None:
    policy = RowPolicy()
    policy.protect("items")
    ask = shop(visible=policy)
    assert ask.rows("/items") == []
    assert ask.rows("/shops?select=items(id)&id=eq.1") == [{"items": []}]
    assert ask("POST", "/items", {"shop_id": 1}).error == (401, "42501")


def test_grants() -> None:
    policy = RowPolicy()
    policy.revoke("people", "anon")
    policy.revoke("shops", "authenticated", commands=["insert"])
    anon = shop(visible=policy)
    user = as_role(anon, "authenticated")
    answer = anon.get("/people")
    assert answer.error == (401, "42501")
    assert answer.json["message"] == "permission denied for table people"
    assert anon.get("/shops?select=people(name)").error == (401, "42501")
    assert user.get("/people").status == 200
    assert user("POST", "/shops", {"id": 9, "title": "x"}).error == (403, "42501")
    policy.clear()
    assert anon.get("/people").status == 200


def test_returned_rows_must_be_readable() -> None:
    policy = RowPolicy()
    policy.allow("items", True, commands=["insert"])
    ask = shop(visible=policy)
    assert ask("POST", "/items", {"shop_id": 1}).status == 201
    assert ask("POST", "/items", {"shop_id": 1}, REPRESENTATION).error == (401, "42501")


def test_a_wrong_command_is_refused_at_once() -> None:
    with pytest.raises(ValueError, match="no command 'read'"):
        RowPolicy().allow("items", commands=["read"])  # type: ignore[list-item]
