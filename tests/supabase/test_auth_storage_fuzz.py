"""Whatever is sent to auth and storage is answered, and never by a 500 or an exception."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_truasync.supabase import SupabaseMock
from pytest_truasync.supabase._auth import ROUTES
from pytest_truasync.supabase._jwt import SERVICE_KEY

EMAIL, ID = "ana@example.com", "9d6d9d0e-0000-4000-8000-000000000001"

leaves = (
    st.none() | st.booleans() | st.integers() | st.sampled_from(["", EMAIL, ID, "x", "1", "1h"])
)
values = leaves | st.lists(leaves, max_size=2) | st.dictionaries(st.just("a"), leaves, max_size=1)

AUTH_KEYS = """
    email phone password data type token token_hash refresh_token auth_code code_verifier
    code_challenge create_user user_metadata app_metadata role id ban_duration new_email
    email_confirm should_soft_delete
"""
STORAGE_KEYS = """
    id name public file_size_limit allowed_mime_types prefix prefixes limit offset sortBy search
    cursor with_delimiter expiresIn paths bucketId sourceKey destinationKey destinationBucket
"""
# What gets past the first checks, so that the rest is read as well.
USUAL: dict[str, Any] = {
    "email": EMAIL,
    "password": "correct horse",
    "type": "signup",
    "expiresIn": 60,
    "bucketId": "docs",
    "sourceKey": "a.txt",
    "destinationKey": "b.txt",
    "name": "new",
}
KINDS = ("signup", "invite", "recovery", "magiclink", "email", "email_change", "sms")
GRANTS = ("", "password", "refresh_token", "pkce", "id_token", "x")

auth_paths = st.sampled_from(sorted({path for _, path in ROUTES} | {"nothing", "admin"})).map(
    lambda path: path.replace("*", ID)
)
WORDS = """
    list list-v2 sign upload info public authenticated move copy docs web none a.txt empty
    %E2%82%AC
"""
parts = st.lists(st.sampled_from([*WORDS.split(), ""]), max_size=4)
storage_paths = st.builds(
    lambda root, rest: "/".join([root, *rest]), st.sampled_from(["object", "bucket", "x"]), parts
)


def bodies(keys: str) -> st.SearchStrategy[bytes]:
    objects = st.dictionaries(st.sampled_from(keys.split()), values, max_size=3)
    usual = objects.map(lambda o: {**USUAL, **o})
    kinds = st.builds(lambda o, kind: {**o, "type": kind}, usual, st.sampled_from(KINDS))
    said = objects | usual | kinds | values
    return said.map(lambda value: json.dumps(value).encode()) | st.binary(max_size=9)


def send(mock: SupabaseMock, method: str, path: str, body: bytes, **headers: str) -> Any:
    sent = {"apikey": SERVICE_KEY, "authorization": f"Bearer {SERVICE_KEY}", **headers}
    reply = mock._router.project.answer_sync(method, path, sent, body, {})
    assert reply.status < 500 or reply.status == 501, reply.body
    return reply


@pytest.fixture(scope="module")
def mock() -> SupabaseMock:
    return SupabaseMock()


@settings(max_examples=200, deadline=None)
@given(
    method=st.sampled_from(["GET", "POST", "PUT", "DELETE"]),
    path=auth_paths,
    grant=st.sampled_from(GRANTS),
    body=bodies(AUTH_KEYS),
    as_user=st.booleans(),
    is_new=st.booleans(),
)
def test_auth(
    mock: SupabaseMock, method: str, path: str, grant: str, body: bytes, as_user: bool, is_new: bool
) -> None:
    if is_new:
        mock.auth._people.users.clear()
    headers = {}
    if as_user:
        user = mock.auth.find(EMAIL) or mock.auth.add_user(EMAIL, password="correct horse")
        headers["authorization"] = f"Bearer {mock.auth.sign_in(user)['access_token']}"
    send(mock, method, f"/auth/v1/{path}?grant_type={grant}&page={grant}", body, **headers)


@settings(max_examples=200, deadline=None)
@given(
    method=st.sampled_from(["GET", "HEAD", "POST", "PUT", "DELETE", "PATCH"]),
    path=storage_paths,
    body=bodies(STORAGE_KEYS),
    kind=st.sampled_from(["application/json", "multipart/form-data; boundary=x", ""]),
)
def test_storage(mock: SupabaseMock, method: str, path: str, body: bytes, kind: str) -> None:
    for bucket in ("docs", "web"):
        mock.storage.create_bucket(bucket, public=bucket == "web")
        mock.storage.put(bucket, "a.txt", b"a")
    headers = {"content-type": kind} if kind else {}
    send(mock, method, f"/storage/v1/{path}", body, **headers)
