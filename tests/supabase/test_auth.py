"""The auth service: who signs in how, and what a token opens."""

import base64
import hashlib
import json
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import jwt
import pytest

from pytest_truasync.supabase import (
    ForbiddenError,
    ResponseError,
    SupabaseAsync,
    SupabaseMock,
    UnauthorizedError,
)
from pytest_truasync.supabase._jwt import ANON_KEY, JWT_SECRET, SERVICE_KEY, Keyring, TokenError

pytestmark = pytest.mark.anyio

PASSWORD = "correct horse"
ANA = "ana@example.com"


async def call(
    client: SupabaseAsync, method: str, path: str, body: Any = None, **headers: str
) -> tuple[int, Any, httpx.Headers]:
    """Send a request as it is; a refusal is a reply, too."""
    reply = await client.http_client.request(
        method,
        f"{client.url}/auth/v1/{path}",
        json=body,
        headers={"apikey": ANON_KEY, "X-Supabase-Api-Version": "2024-01-01", **headers},
    )
    said = reply.json() if reply.content and "json" in reply.headers["content-type"] else None
    return reply.status_code, said, reply.headers


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


SERVICE = bearer(SERVICE_KEY)


async def test_sign_up_and_in(supabase_mock: SupabaseMock, supabase_client: SupabaseAsync) -> None:
    body = {"email": "Ana@Example.com", "password": PASSWORD, "data": {"nick": "a"}}
    status, session, _ = await call(supabase_client, "POST", "signup", body)
    assert status == 200
    assert session["token_type"] == "bearer"
    assert session["user"]["email"] == ANA
    assert session["user"]["user_metadata"]["nick"] == "a"
    claims = jwt.decode(
        session["access_token"], JWT_SECRET, algorithms=["HS256"], audience="authenticated"
    )
    assert claims["sub"] == session["user"]["id"]
    assert claims["role"] == "authenticated"
    assert claims["exp"] - claims["iat"] == session["expires_in"] == 3600
    body = {"email": ANA, "password": PASSWORD}
    status, again, _ = await call(supabase_client, "POST", "token?grant_type=password", body)
    assert again["user"]["id"] == session["user"]["id"]
    assert supabase_mock.auth.users[0].password == PASSWORD
    assert PASSWORD not in repr(supabase_mock.auth.users)


@pytest.mark.parametrize(
    ("path", "body", "status", "code"),
    [
        ("signup", {"email": ANA, "password": PASSWORD}, 422, "user_already_exists"),
        ("signup", {"email": "b@example.com", "password": "short"}, 422, "weak_password"),
        ("signup", {"email": "b@example.com", "password": "x" * 73}, 400, "validation_failed"),
        ("signup", {"email": "nobody", "password": PASSWORD}, 400, "validation_failed"),
        ("signup", {"email": "b@example.com"}, 400, "validation_failed"),
        ("signup", {"phone": "0", "password": PASSWORD}, 400, "validation_failed"),
        ("signup", {"email": ANA, "phone": "1", "password": PASSWORD}, 400, "validation_failed"),
        ("signup", {"password": PASSWORD}, 422, "validation_failed"),
        ("signup", {}, 422, "anonymous_provider_disabled"),
        ("signup", [], 400, "bad_json"),
        ("token?grant_type=password", {"email": ANA, "password": "x"}, 400, "invalid_credentials"),
        (
            "token?grant_type=password",
            {"email": "b@example.com", "password": "x"},
            400,
            "invalid_credentials",
        ),
        ("token?grant_type=password", {"password": "x"}, 400, "validation_failed"),
        ("token?grant_type=password", {"email": ANA, "phone": "1"}, 400, "validation_failed"),
        ("token?grant_type=magic", {}, 400, "invalid_credentials"),
        ("token?grant_type=id_token", {}, 501, "TRUASYNC_UNSUPPORTED"),
        ("token?grant_type=refresh_token", {"refresh_token": "x"}, 400, "validation_failed"),
        (
            "token?grant_type=refresh_token",
            {"refresh_token": "abcdefghijkl"},
            400,
            "refresh_token_not_found",
        ),
        ("token?grant_type=pkce", {}, 400, "validation_failed"),
        (
            "token?grant_type=pkce",
            {"auth_code": "a", "code_verifier": "b"},
            404,
            "flow_state_not_found",
        ),
        ("otp", {}, 400, "validation_failed"),
        ("otp", {"email": "b@example.com", "create_user": False}, 422, "otp_disabled"),
        ("recover", {}, 400, "validation_failed"),
        ("resend", {"type": "x", "email": ANA}, 400, "validation_failed"),
        ("verify", {}, 400, "validation_failed"),
        ("verify", {"type": "signup"}, 400, "validation_failed"),
        ("verify", {"type": "x", "token_hash": "h"}, 400, "validation_failed"),
        ("verify", {"type": "signup", "token": "1"}, 400, "validation_failed"),
        ("verify", {"type": "signup", "token_hash": "h"}, 403, "otp_expired"),
        ("verify", {"type": "email", "token": "1", "email": ANA}, 403, "otp_expired"),
        ("verify", {"type": "sms", "token": "1", "phone": "+4912345"}, 403, "otp_expired"),
        ("factors", {}, 501, "TRUASYNC_UNSUPPORTED"),
        ("sso", {}, 501, "TRUASYNC_UNSUPPORTED"),
    ],
)
async def test_refusals(
    supabase_mock: SupabaseMock,
    supabase_client: SupabaseAsync,
    path: str,
    body: Any,
    status: int,
    code: str,
) -> None:
    supabase_mock.auth.add_user(ANA, password=PASSWORD)
    got, said, headers = await call(supabase_client, "POST", path, body)
    assert (got, said["code"]) == (status, code)
    if status != 501:
        assert headers["x-supabase-api-version"] == "2024-01-01"
        old = await supabase_client.http_client.post(
            f"{supabase_client.url}/auth/v1/{path}", json=body, headers={"apikey": ANON_KEY}
        )
        assert (old.json()["code"], old.json()["error_code"]) == (status, code)
        assert old.json()["msg"] == said["message"]
    if code == "weak_password":
        assert said["weak_password"]["reasons"] == ["length"]


async def test_without_autoconfirm(
    supabase_mock: SupabaseMock, supabase_client: SupabaseAsync
) -> None:
    auth = supabase_mock.auth
    auth.autoconfirm = False
    body = {"email": ANA, "password": PASSWORD}
    _, user, _ = await call(supabase_client, "POST", "signup", body)
    assert "access_token" not in user
    assert "confirmation_sent_at" in user
    status, said, _ = await call(supabase_client, "POST", "token?grant_type=password", body)
    assert said["code"] == "email_not_confirmed"
    await call(supabase_client, "POST", "resend", {"type": "signup", "email": ANA})
    first, second = auth.outbox
    assert (first.to, first.kind) == (ANA, "signup")
    stale = {"type": "signup", "email": ANA, "token": first.otp}
    if first.otp != second.otp:
        assert (await call(supabase_client, "POST", "verify", stale))[0] == 403
    proof = {"type": "signup", "email": ANA, "token": second.otp}
    status, session, _ = await call(supabase_client, "POST", "verify", proof)
    assert session["user"]["email_confirmed_at"]
    assert (await call(supabase_client, "POST", "verify", proof))[0] == 403
    # A second sign-up does not tell that there is an account.
    status, fake, _ = await call(supabase_client, "POST", "signup", body)
    assert (status, fake["identities"]) == (200, [])
    assert fake["id"] != user["id"]


async def test_signing_up_again_before_the_mail_is_read(
    supabase_mock: SupabaseMock, supabase_client: SupabaseAsync
) -> None:
    supabase_mock.auth.autoconfirm = False
    body = {"email": ANA, "password": PASSWORD}
    _, first, _ = await call(supabase_client, "POST", "signup", body)
    _, second, _ = await call(supabase_client, "POST", "signup", body)
    assert first["id"] == second["id"]
    assert len(supabase_mock.auth.outbox) == 2


async def test_who_is_banned(supabase_mock: SupabaseMock, supabase_client: SupabaseAsync) -> None:
    auth = supabase_mock.auth
    user = auth.add_user(ANA)
    auth.sign_in(user)
    refresh = {"refresh_token": auth.sign_in(user)["refresh_token"]}
    await call(supabase_client, "POST", "otp", {"email": ANA})
    user.times["banned_until"] = auth.now() + 60
    _, said, _ = await call(supabase_client, "POST", "token?grant_type=refresh_token", refresh)
    assert said["code"] == "user_banned"
    proof = {"type": "email", "email": ANA, "token": auth.outbox[0].otp}
    status, said, _ = await call(supabase_client, "POST", "verify", proof)
    assert (status, said["code"]) == (403, "user_banned")


async def test_signing_up_by_phone_code(
    supabase_mock: SupabaseMock, supabase_client: SupabaseAsync
) -> None:
    await call(supabase_client, "POST", "otp", {"phone": "+49123456"})
    proof = {"type": "sms", "phone": "49123456", "token": supabase_mock.auth.outbox[0].otp}
    _, session, _ = await call(supabase_client, "POST", "verify", proof)
    assert session["user"]["phone"] == "49123456"
    resend = {"type": "sms", "phone": "49123456"}
    assert (await call(supabase_client, "POST", "resend", resend))[1] == {}


async def test_codes_expire(supabase_mock: SupabaseMock, supabase_client: SupabaseAsync) -> None:
    supabase_mock.auth.add_user(ANA)
    await call(supabase_client, "POST", "otp", {"email": ANA})
    supabase_mock.auth.advance(3601)
    [mail] = supabase_mock.auth.outbox
    body = {"type": "email", "email": ANA, "token": mail.otp}
    status, said, _ = await call(supabase_client, "POST", "verify", body)
    assert (status, said["code"]) == (403, "otp_expired")


async def test_magic_link_and_recovery(
    supabase_mock: SupabaseMock, supabase_client: SupabaseAsync
) -> None:
    auth = supabase_mock.auth
    await call(supabase_client, "POST", "otp?redirect_to=https://app.test/in", {"email": ANA})
    await call(supabase_client, "POST", "recover", {"email": ANA})
    assert (await call(supabase_client, "POST", "recover", {"email": "b@example.com"}))[0] == 200
    assert (await call(supabase_client, "POST", "resend", {"type": "sms", "phone": "1"}))[0] == 200
    link, recovery = auth.outbox
    assert (link.kind, recovery.kind) == ("magiclink", "recovery")
    # The same kind of token: the later one replaces the earlier.
    gone = await supabase_client.http_client.get(link.link)
    assert "error_code=otp_expired" in gone.headers["location"]
    reply = await supabase_client.http_client.get(recovery.link)
    assert reply.status_code == 303
    fragment = parse_qs(urlsplit(reply.headers["location"]).fragment)
    token = fragment["access_token"][0]
    _, user, _ = await call(supabase_client, "GET", "user", **bearer(token))
    assert user["email"] == ANA


async def test_pkce(supabase_mock: SupabaseMock, supabase_client: SupabaseAsync) -> None:
    supabase_mock.auth.add_user(ANA)
    verifier = "v" * 64
    digest = hashlib.sha256(verifier.encode()).digest()
    challenge = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
    body = {"email": ANA, "code_challenge": challenge, "code_challenge_method": "s256"}
    await call(supabase_client, "POST", "otp?redirect_to=https://app.test/?a=b", body)
    reply = await supabase_client.http_client.get(supabase_mock.auth.outbox[0].link)
    location = urlsplit(reply.headers["location"])
    assert location.netloc == "app.test"
    code = parse_qs(location.query)["code"][0]
    path = "token?grant_type=pkce"
    wrong = {"auth_code": code, "code_verifier": "w" * 64}
    assert (await call(supabase_client, "POST", path, wrong))[1]["code"] == "bad_code_verifier"
    right = {"auth_code": code, "code_verifier": verifier}
    assert (await call(supabase_client, "POST", path, right))[1]["user"]["email"] == ANA
    assert (await call(supabase_client, "POST", path, right))[0] == 404


async def test_phone(supabase_mock: SupabaseMock, supabase_client: SupabaseAsync) -> None:
    supabase_mock.auth.autoconfirm = False
    body = {"phone": "+49 123 45", "password": PASSWORD}
    await call(supabase_client, "POST", "signup", body)
    await call(supabase_client, "POST", "resend", {"type": "sms", "phone": "4912345"})
    _, said, _ = await call(supabase_client, "POST", "token?grant_type=password", body)
    assert said["code"] == "phone_not_confirmed"
    _, sent, _ = await call(supabase_client, "POST", "otp", {"phone": "4912345"})
    assert sent["message_id"]
    message = supabase_mock.auth.outbox[-1]
    assert (message.to, message.kind, message.link) == ("4912345", "sms", "")
    proof = {"type": "sms", "phone": "+4912345", "token": message.otp}
    _, session, _ = await call(supabase_client, "POST", "verify", proof)
    assert session["user"]["phone_confirmed_at"]
    change = {"phone": "4999999"}
    await call(supabase_client, "PUT", "user", change, **bearer(session["access_token"]))
    message = supabase_mock.auth.outbox[-1]
    proof = {"type": "phone_change", "phone": "4999999", "token": message.otp}
    _, session, _ = await call(supabase_client, "POST", "verify", proof)
    assert session["user"]["phone"] == "4999999"


async def test_anonymous(supabase_mock: SupabaseMock, supabase_client: SupabaseAsync) -> None:
    supabase_mock.auth.allow_anonymous = True
    _, session, _ = await call(supabase_client, "POST", "signup", {"data": {"a": 1}})
    assert session["user"]["is_anonymous"] is True
    change = {"email": ANA, "password": PASSWORD}
    _, user, _ = await call(
        supabase_client, "PUT", "user", change, **bearer(session["access_token"])
    )
    assert (user["is_anonymous"], user["email"]) == (False, ANA)


async def test_refresh_and_reuse(
    supabase_mock: SupabaseMock, supabase_client: SupabaseAsync
) -> None:
    auth = supabase_mock.auth
    session = auth.sign_in(auth.add_user(ANA))
    path = "token?grant_type=refresh_token"
    first = {"refresh_token": session["refresh_token"]}
    _, second, _ = await call(supabase_client, "POST", path, first)
    assert second["refresh_token"] != session["refresh_token"]
    _, same, _ = await call(supabase_client, "POST", path, first)
    assert same["refresh_token"] == second["refresh_token"]
    auth.advance(11)
    _, said, _ = await call(supabase_client, "POST", path, first)
    assert said["code"] == "refresh_token_already_used"
    _, said, _ = await call(
        supabase_client, "POST", path, {"refresh_token": second["refresh_token"]}
    )
    assert said["code"] == "refresh_token_not_found"


@pytest.mark.parametrize(
    ("scope", "left"), [("", 0), ("global", 0), ("local", 1), ("others", 1), ("x", 2)]
)
async def test_log_out(
    supabase_mock: SupabaseMock, supabase_client: SupabaseAsync, scope: str, left: int
) -> None:
    auth = supabase_mock.auth
    user = auth.add_user(ANA)
    tokens = [auth.sign_in(user)["access_token"] for _ in range(2)]
    status, *_ = await call(supabase_client, "POST", f"logout?scope={scope}", **bearer(tokens[0]))
    assert status == (400 if scope == "x" else 204)
    alive = [(await call(supabase_client, "GET", "user", **bearer(t)))[0] == 200 for t in tokens]
    assert sum(alive) == left
    assert alive[0] == (scope in ("others", "x"))


async def test_update_user(supabase_mock: SupabaseMock, supabase_client: SupabaseAsync) -> None:
    auth = supabase_mock.auth
    user = auth.add_user(ANA, password=PASSWORD, user_metadata={"a": 1, "b": 2})
    auth.add_user("bob@example.com", phone="123456")
    mine = bearer(auth.sign_in(user)["access_token"])
    for body, code in [
        ({"password": PASSWORD}, "same_password"),
        ({"password": "short"}, "weak_password"),
        ({"email": "bob@example.com"}, "email_exists"),
        ({"phone": "123456"}, "phone_exists"),
        ({"app_metadata": {"admin": True}}, "not_admin"),
    ]:
        _, said, _ = await call(supabase_client, "PUT", "user", body, **mine)
        assert said["code"] == code
    body = {"data": {"a": None, "c": 3}, "password": "another one", "phone": "99999"}
    _, shown, _ = await call(supabase_client, "PUT", "user", body, **mine)
    assert (shown["user_metadata"]["b"], shown["user_metadata"]["c"]) == (2, 3)
    assert "a" not in shown["user_metadata"]
    assert (user.password, user.phone) == ("another one", "99999")
    assert [i["provider"] for i in shown["identities"]] == ["email", "phone"]
    assert (await call(supabase_client, "GET", "reauthenticate", **mine))[0] == 200
    assert auth.outbox[-1].kind == "reauthentication"


async def test_changing_the_email_takes_both_mails(
    supabase_mock: SupabaseMock, supabase_client: SupabaseAsync
) -> None:
    auth = supabase_mock.auth
    auth.autoconfirm = False
    user = auth.add_user(ANA)
    mine = bearer(auth.sign_in(user)["access_token"])
    _, shown, _ = await call(supabase_client, "PUT", "user", {"email": "new@example.com"}, **mine)
    assert (shown["email"], shown["new_email"]) == (ANA, "new@example.com")
    await call(supabase_client, "POST", "resend", {"type": "email_change", "email": ANA})
    old, new = auth.outbox[-2:]
    body = {"type": "email_change", "email": ANA, "token": old.otp}
    _, said, _ = await call(supabase_client, "POST", "verify", body)
    assert said["code"] == "200"
    body = {"type": "email_change", "email": "new@example.com", "token": new.otp}
    _, session, _ = await call(supabase_client, "POST", "verify", body)
    assert session["user"]["email"] == user.email == "new@example.com"


async def test_the_first_of_two_links(
    supabase_mock: SupabaseMock, supabase_client: SupabaseAsync
) -> None:
    auth = supabase_mock.auth
    auth.autoconfirm = False
    mine = bearer(auth.sign_in(auth.add_user(ANA))["access_token"])
    await call(supabase_client, "PUT", "user", {"email": "new@example.com"}, **mine)
    reply = await supabase_client.http_client.get(auth.outbox[0].link)
    assert "message=Confirmation" in reply.headers["location"]
    status, *_ = await call(supabase_client, "GET", "verify?type=signup")
    assert status == 400


async def test_who_may_ask_for_the_user(
    supabase_mock: SupabaseMock, supabase_client: SupabaseAsync
) -> None:
    auth = supabase_mock.auth
    user = auth.add_user(ANA)
    token = auth.sign_in(user)["access_token"]
    sign = supabase_mock.keyring.sign
    later = auth.now() + 60
    for headers, status, code in [
        ({}, 401, "no_authorization"),
        (bearer("x.y.z"), 403, "bad_jwt"),
        (bearer(ANON_KEY), 403, "bad_jwt"),
        (bearer(sign({"sub": user.id, "exp": auth.now() - 1})), 403, "bad_jwt"),
        (bearer(sign({"sub": "nobody", "exp": later})), 403, "user_not_found"),
        (
            bearer(sign({"sub": user.id, "exp": later, "session_id": "x"})),
            403,
            "session_not_found",
        ),
    ]:
        got, said, _ = await call(supabase_client, "GET", "user", **headers)
        assert (got, said["code"]) == (status, code)
    user.times["banned_until"] = auth.now() + 60
    _, said, _ = await call(supabase_client, "GET", "user", **bearer(token))
    assert said["code"] == "user_banned"


async def test_admin(supabase_mock: SupabaseMock, supabase_client: SupabaseAsync) -> None:
    auth = supabase_mock.auth
    body = {
        "email": ANA,
        "phone": "123456",
        "password": PASSWORD,
        "email_confirm": True,
        "phone_confirm": True,
        "user_metadata": {"a": 1},
        "app_metadata": {"team": "x"},
        "role": "editor",
        "id": "9d6d9d0e-0000-4000-8000-000000000001",
    }
    _, user, _ = await call(supabase_client, "POST", "admin/users", body, **SERVICE)
    assert user["id"] == body["id"]
    assert user["app_metadata"] == {
        "provider": "email",
        "providers": ["email", "phone"],
        "team": "x",
    }
    path = f"admin/users/{user['id']}"
    change = {
        "email": "eve@example.com",
        "phone": "777777",
        "password": "another one",
        "ban_duration": "1h30m",
        "app_metadata": {"team": None},
    }
    _, shown, _ = await call(supabase_client, "PUT", path, change, **SERVICE)
    assert (shown["email"], shown["phone"], shown["role"]) == (
        "eve@example.com",
        "777777",
        "editor",
    )
    assert shown["banned_until"]
    assert "team" not in shown["app_metadata"]
    login = {"email": "eve@example.com", "password": "another one"}
    _, said, _ = await call(supabase_client, "POST", "token?grant_type=password", login)
    assert said["code"] == "user_banned"
    _, shown, _ = await call(supabase_client, "PUT", path, {"ban_duration": "none"}, **SERVICE)
    assert "banned_until" not in shown
    session = auth.sign_in(auth.users[0])
    assert jwt.decode(session["access_token"], options={"verify_signature": False})["role"] == (
        "editor"
    )
    for n in range(3):
        auth.add_user(f"u{n}@example.com")
    _, page, headers = await call(
        supabase_client, "GET", "admin/users?page=2&per_page=3", **SERVICE
    )
    assert len(page["users"]) == 1
    assert headers["x-total-count"] == "4"
    assert (await call(supabase_client, "GET", path, **SERVICE))[1]["id"] == user["id"]
    await call(supabase_client, "DELETE", path, {"should_soft_delete": True}, **SERVICE)
    assert auth.users[0].email == ""
    assert (await call(supabase_client, "DELETE", path, **SERVICE))[0] == 200
    assert (await call(supabase_client, "GET", path, **SERVICE))[1]["code"] == "user_not_found"


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "code"),
    [
        ("POST", "admin/users", {}, 400, "validation_failed"),
        ("POST", "admin/users", {"email": ANA}, 422, "email_exists"),
        ("POST", "admin/users", {"phone": "123456"}, 422, "phone_exists"),
        ("POST", "admin/users", {"email": "b@example.com", "id": "x"}, 400, "validation_failed"),
        (
            "POST",
            "admin/users",
            {"email": "b@example.com", "ban_duration": "1 day"},
            400,
            "validation_failed",
        ),
        ("GET", "admin/users?page=x", None, 400, "validation_failed"),
        ("GET", "admin/users/x", None, 404, "validation_failed"),
        ("POST", "admin/generate_link", {"email": ANA, "type": "x"}, 400, "validation_failed"),
        (
            "POST",
            "admin/generate_link",
            {"email": "b@example.com", "type": "recovery"},
            404,
            "user_not_found",
        ),
        ("POST", "admin/generate_link", {"email": ANA, "type": "signup"}, 422, "email_exists"),
        ("POST", "admin/generate_link", {"email": ANA, "type": "invite"}, 422, "email_exists"),
        ("POST", "invite", {"email": ANA}, 422, "email_exists"),
        ("GET", "admin/sso/providers", None, 501, "TRUASYNC_UNSUPPORTED"),
    ],
)
async def test_admin_refusals(
    supabase_mock: SupabaseMock,
    supabase_client: SupabaseAsync,
    method: str,
    path: str,
    body: Any,
    status: int,
    code: str,
) -> None:
    supabase_mock.auth.add_user(ANA, phone="123456")
    got, said, _ = await call(supabase_client, method, path, body, **SERVICE)
    assert (got, said["code"]) == (status, code)


async def test_only_a_server_is_admin(
    supabase_mock: SupabaseMock, supabase_client: SupabaseAsync
) -> None:
    for headers, status, code in [
        ({}, 401, "no_authorization"),
        (bearer("x.y.z"), 403, "bad_jwt"),
        (bearer(ANON_KEY), 403, "not_admin"),
    ]:
        got, said, _ = await call(supabase_client, "GET", "admin/users", **headers)
        assert (got, said["code"]) == (status, code)


@pytest.mark.parametrize(
    ("kind", "email", "verify"),
    [
        ("signup", "b@example.com", "signup"),
        ("invite", "b@example.com", "invite"),
        ("magiclink", "b@example.com", "signup"),
        ("magiclink", ANA, "magiclink"),
        ("recovery", ANA, "recovery"),
        ("signup", "open@example.com", "signup"),
        ("invite", "open@example.com", "invite"),
    ],
)
async def test_generate_link(
    supabase_mock: SupabaseMock, supabase_client: SupabaseAsync, kind: str, email: str, verify: str
) -> None:
    supabase_mock.auth.add_user(ANA)
    supabase_mock.auth.add_user("open@example.com", confirmed=False)
    body = {"type": kind, "email": email, "password": PASSWORD}
    _, link, _ = await call(supabase_client, "POST", "admin/generate_link", body, **SERVICE)
    assert link["verification_type"] == verify
    assert link["hashed_token"] in link["action_link"]
    assert supabase_mock.auth.outbox == []
    proof = {"type": verify, "token_hash": link["hashed_token"]}
    _, session, _ = await call(supabase_client, "POST", "verify", proof)
    assert session["user"]["email"] == email


async def test_generate_link_to_change_the_email(
    supabase_mock: SupabaseMock, supabase_client: SupabaseAsync
) -> None:
    supabase_mock.auth.add_user(ANA)
    body = {"type": "email_change_new", "email": ANA, "new_email": "new@example.com"}
    _, link, _ = await call(supabase_client, "POST", "admin/generate_link", body, **SERVICE)
    assert "type=email_change&" in link["action_link"]
    proof = {"type": "email_change", "token_hash": link["hashed_token"]}
    _, session, _ = await call(supabase_client, "POST", "verify", proof)
    assert session["user"]["email"] == "new@example.com"


async def test_invite(supabase_mock: SupabaseMock, supabase_client: SupabaseAsync) -> None:
    body = {"email": ANA, "data": {"a": 1}}
    _, user, _ = await call(supabase_client, "POST", "invite", body, **SERVICE)
    assert user["invited_at"]
    assert supabase_mock.auth.outbox[0].kind == "invite"


async def test_paths_that_are_none(
    supabase_mock: SupabaseMock, supabase_client: SupabaseAsync
) -> None:
    assert (await call(supabase_client, "GET", "nothing"))[0] == 404
    assert (await call(supabase_client, "DELETE", "signup"))[0] == 405
    assert (await call(supabase_client, "GET", "health"))[1]["name"] == "GoTrue"
    assert (await call(supabase_client, "GET", "authorize?provider=x"))[0] == 501
    _, settings, _ = await call(supabase_client, "GET", "settings")
    assert settings["mailer_autoconfirm"] is True
    supabase_mock.auth.allow_signup = False
    _, said, _ = await call(supabase_client, "POST", "signup", {"email": ANA})
    assert said["code"] == "signup_disabled"


# Tokens and roles


async def test_row_level_security(supabase_mock: SupabaseMock) -> None:
    columns = {"id": "int primary key", "owner": "uuid", "title": "text"}
    ana = supabase_mock.auth.add_user(ANA)
    supabase_mock.create_table("notes", columns, rows=[{"id": 1, "owner": ana.id, "title": "a"}])
    supabase_mock.policies.allow(
        "notes", lambda row, claims: row["owner"] == claims["sub"], roles=["authenticated"]
    )
    mine, other = supabase_mock.signed_in(ana), supabase_mock.signed_in("bob@example.com")
    assert len(await mine.select("notes")) == 1
    assert await other.select("notes") == []
    assert await supabase_mock.client().select("notes") == []
    assert len(await supabase_mock.client(service_role=True).select("notes")) == 1
    with pytest.raises(ForbiddenError) as caught:
        await other.insert("notes", {"id": 2, "owner": ana.id})
    assert caught.value.code == "42501"
    assert await other.update("notes", {"title": "x"}, filters={"id": 1}) == []
    assert supabase_mock.assert_row("notes", id=1)["title"] == "a"


async def test_tokens_expire_on_demand(supabase_mock: SupabaseMock) -> None:
    supabase_mock.create_table("items", {"id": "int"})
    mine = supabase_mock.signed_in(ANA)
    supabase_mock.auth.advance(3600)
    # PostgREST lets a clock be 30 seconds wrong.
    assert await mine.select("items") == []
    supabase_mock.auth.advance(31)
    with pytest.raises(UnauthorizedError) as caught:
        await mine.select("items")
    assert (caught.value.code, caught.value.message) == ("PGRST303", "JWT expired")
    mine = supabase_mock.signed_in(ANA)
    assert await mine.select("items") == []


@pytest.mark.parametrize(
    ("token", "code", "message"),
    [
        ("", "PGRST301", "Empty JWT is sent in Authorization header"),
        ("x", "PGRST301", "Expected 3 parts in JWT; got 1"),
        ("a.b.c", "PGRST301", "No suitable key or wrong key type"),
        (
            jwt.encode({"role": "service_role"}, "another secret, long enough for it all"),
            "PGRST301",
            "No suitable key or wrong key type",
        ),
        (
            jwt.encode({}, JWT_SECRET + "x" * 32, algorithm="HS512"),
            "PGRST301",
            "Wrong or unsupported encoding algorithm",
        ),
        (jwt.encode({"exp": 1}, JWT_SECRET), "PGRST303", "JWT expired"),
        (jwt.encode({"nbf": 4e9}, JWT_SECRET), "PGRST303", "JWT not yet valid"),
        (jwt.encode({"iat": 4e9}, JWT_SECRET), "PGRST303", "JWT issued at future"),
    ],
)
async def test_bad_tokens(supabase_mock: SupabaseMock, token: str, code: str, message: str) -> None:
    supabase_mock.create_table("items", {"id": "int"})
    client = supabase_mock.client()
    headers = {"Authorization": f"Bearer {token}"}
    with pytest.raises(UnauthorizedError) as caught:
        await client.request("GET", "/rest/v1/items", headers=headers)
    assert (caught.value.code, caught.value.message) == (code, message)
    reply = await client.http_client.get(
        f"{client.url}/rest/v1/items", headers={"apikey": ANON_KEY, **headers}
    )
    assert reply.headers["www-authenticate"].startswith('Bearer error="invalid_token"')


def test_claims_of_another_type() -> None:
    keyring = Keyring()
    for name in ("exp", "nbf", "iat"):
        keyring._verified["t"] = keyring.identify(ANON_KEY).__class__("anon", {name: "x"})
        with pytest.raises(TokenError, match=f"'{name}' claim must be a number"):
            keyring.identify("t")


async def test_rs256(supabase_mock: SupabaseMock) -> None:
    supabase_mock.create_table("items", {"id": "int"})
    client = supabase_mock.client()
    path = "/auth/v1/.well-known/jwks.json"
    assert (await client.request("GET", path)).json() == {"keys": []}
    supabase_mock.auth.use_rs256()
    mine = supabase_mock.signed_in(ANA)
    assert await mine.select("items") == []
    keys = jwt.PyJWKSet.from_dict((await client.request("GET", path)).json())
    assert mine.access_token is not None
    kid = jwt.get_unverified_header(mine.access_token)["kid"]
    claims = jwt.decode(
        mine.access_token, keys[kid], algorithms=["RS256"], audience="authenticated"
    )
    assert claims["email"] == ANA


async def test_keys(supabase_mock: SupabaseMock, supabase_client: SupabaseAsync) -> None:
    for key, role in ((ANON_KEY, "anon"), (SERVICE_KEY, "service_role")):
        assert jwt.decode(key, JWT_SECRET, algorithms=["HS256"])["role"] == role

    @supabase_mock.rpc("whoami")
    def whoami() -> str:
        return "me"

    path = f"{supabase_client.url}/rest/v1/rpc/whoami"
    http = supabase_client.http_client
    for headers, status in [
        ({}, 401),
        ({"apikey": "wrong"}, 401),
        ({"apikey": ANON_KEY}, 200),
        ({"apikey": "sb_secret_truasync"}, 200),
        ({"apikey": ANON_KEY, "Authorization": "Basic eDp5"}, 200),
    ]:
        reply = await http.post(path, json={}, headers=headers)
        assert reply.status_code == status
    assert (await http.get(f"{path}?apikey={ANON_KEY}")).json() == "me"
    reply = await http.get(f"{supabase_client.url}/auth/v1/settings")
    assert "apikey" in reply.json()["hint"]
    supabase_mock.require_key = False
    assert (await http.post(path, json={})).status_code == 200


async def test_what_the_platform_serves_besides(supabase_client: SupabaseAsync) -> None:
    for path, status in [
        ("/graphql/v1", 501),
        ("/realtime/v1/api/broadcast", 501),
        ("/nothing", 404),
        ("/rest/v12/items", 404),
    ]:
        with pytest.raises(ResponseError) as caught:
            await supabase_client.request("POST", path, json={})
        assert caught.value.status == status
        if status == 501:
            assert "does not model" in caught.value.message


def test_users_at_set_up(supabase_mock: SupabaseMock) -> None:
    auth = supabase_mock.auth
    user = auth.add_user("A@example.com", id="9d6d9d0e-0000-4000-8000-000000000001")
    assert auth.find("a@EXAMPLE.com") is user
    assert auth.find("") is None
    with pytest.raises(ValueError, match="already"):
        auth.add_user("a@example.com")
    with pytest.raises(ValueError, match="a phone"):
        auth.add_user()
    assert json.dumps(user.shown())
