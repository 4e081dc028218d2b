"""The storage service and the edge functions."""

import json
from collections.abc import Mapping
from typing import Any

import anyio
import anyio.lowlevel
import httpx
import pytest

from pytest_truasync.supabase import (
    EdgeRequest,
    EdgeResponse,
    SupabaseAsync,
    SupabaseMock,
)
from pytest_truasync.supabase._jwt import ANON_KEY
from pytest_truasync.supabase._storage_objects import StorageError, form_parts, size_limit

pytestmark = pytest.mark.anyio

TEXT = {"Content-Type": "text/plain"}


@pytest.fixture
def files(supabase_mock: SupabaseMock) -> SupabaseMock:
    supabase_mock.storage.create_bucket("docs")
    supabase_mock.storage.create_bucket("web", public=True)
    for path in ("a.txt", "b/c.txt", "b/d/e.txt", "z.txt"):
        supabase_mock.storage.put("docs", path, path.encode(), mimetype="text/plain")
    return supabase_mock


async def call(
    client: SupabaseAsync,
    method: str,
    path: str,
    body: Any = None,
    *,
    content: bytes | None = None,
    headers: Mapping[str, str] | None = None,
    token: str | None = ANON_KEY,
) -> httpx.Response:
    """Send a request as it is; a refusal is a reply, too."""
    sent = {} if token is None else {"Authorization": f"Bearer {token}"}
    return await client.http_client.request(
        method,
        f"{client.url}/storage/v1/{path}",
        content=json.dumps(body).encode() if body is not None else content,
        headers={**sent, **(headers or {})},
    )


def refusal(reply: httpx.Response) -> tuple[str, str]:
    assert reply.status_code == 400
    return reply.json()["statusCode"], reply.json()["error"]


async def test_buckets(supabase_mock: SupabaseMock, supabase_client: SupabaseAsync) -> None:
    body = {
        "id": "pics",
        "name": "pics",
        "public": True,
        "file_size_limit": "1KB",
        "allowed_mime_types": ["image/*", "text/plain"],
    }
    assert (await call(supabase_client, "POST", "bucket", body)).json() == {"name": "pics"}
    assert refusal(await call(supabase_client, "POST", "bucket", body)) == ("409", "Duplicate")
    shown = (await call(supabase_client, "GET", "bucket/pics")).json()
    assert (shown["public"], shown["file_size_limit"]) == (True, 1024)
    assert (await call(supabase_client, "GET", "bucket")).json() == [shown]
    change = {"public": False, "file_size_limit": 3, "allowed_mime_types": None}
    await call(supabase_client, "PUT", "bucket/pics", change)
    shown = (await call(supabase_client, "GET", "bucket/pics")).json()
    assert (shown["public"], shown["allowed_mime_types"]) == (False, None)
    supabase_mock.storage.put("pics", "x", b"1")
    reply = await call(supabase_client, "DELETE", "bucket/pics")
    assert refusal(reply) == ("409", "ResourceNotEmpty")
    assert (await call(supabase_client, "POST", "bucket/pics/empty")).status_code == 200
    assert (await call(supabase_client, "DELETE", "bucket/pics")).status_code == 200
    assert refusal(await call(supabase_client, "GET", "bucket/pics")) == (
        "404",
        "Bucket not found",
    )


@pytest.mark.parametrize(
    ("method", "path", "body", "expected"),
    [
        ("POST", "bucket", {}, ("400", "Error")),
        ("POST", "bucket", {"name": "a/b"}, ("400", "Invalid Input")),
        ("POST", "bucket", {"name": "a", "file_size_limit": "big"}, ("400", "InvalidRequest")),
        ("POST", "bucket", [], ("400", "Error")),
        ("GET", "object/docs/none", None, ("404", "not_found")),
        ("GET", "object/none/a.txt", None, ("404", "Bucket not found")),
        ("GET", "object/public/docs/a.txt", None, ("404", "Bucket not found")),
        ("GET", "object/info/docs/none", None, ("404", "not_found")),
        ("PUT", "object/docs/none", {}, ("404", "not_found")),
        ("POST", "object/docs/a.txt", {}, ("409", "Duplicate")),
        ("POST", "object/docs/%E2%82%AC", {}, ("400", "InvalidKey")),
        ("DELETE", "object/docs/none", None, ("404", "not_found")),
        ("DELETE", "object/docs", {}, ("400", "Error")),
        ("POST", "object/move", {"bucketId": "docs"}, ("400", "Error")),
        (
            "POST",
            "object/move",
            {"bucketId": "docs", "sourceKey": "none", "destinationKey": "x"},
            ("404", "not_found"),
        ),
        (
            "POST",
            "object/copy",
            {"bucketId": "docs", "sourceKey": "a.txt", "destinationKey": "z.txt"},
            ("409", "Duplicate"),
        ),
        ("POST", "object/sign/docs/none", {"expiresIn": 1}, ("404", "not_found")),
        ("POST", "object/sign/docs/a.txt", {}, ("400", "Error")),
        ("POST", "object/upload/sign/docs/a.txt", {}, ("409", "Duplicate")),
        ("GET", "object/sign/docs/a.txt", None, ("400", "Error")),
        ("GET", "object/sign/docs/a.txt?token=x", None, ("400", "InvalidJWT")),
        ("GET", "object/sign/docs/a.txt?token=sign.99.x", None, ("400", "InvalidSignature")),
        ("POST", "object/list/docs", {"sortBy": {"column": "size"}}, ("400", "Error")),
        ("PATCH", "object/docs/a.txt", None, ("404", "InvalidRequest")),
    ],
)
async def test_refusals(
    files: SupabaseMock,
    supabase_client: SupabaseAsync,
    method: str,
    path: str,
    body: Any,
    expected: tuple[str, str],
) -> None:
    before = files.storage.paths("docs")
    assert refusal(await call(supabase_client, method, path, body)) == expected
    assert files.storage.paths("docs") == before


async def test_upload_and_download(files: SupabaseMock, supabase_client: SupabaseAsync) -> None:
    headers = {**TEXT, "Cache-Control": "max-age=60"}
    reply = await call(
        supabase_client, "POST", "object/docs/n/1.txt", content=b"one", headers=headers
    )
    assert reply.json()["Key"] == "docs/n/1.txt"
    assert files.storage.read("docs", "n/1.txt") == b"one"
    for path in ("object/docs/n/1.txt", "object/authenticated/docs/n/1.txt"):
        reply = await call(supabase_client, "GET", path)
        assert reply.content == b"one"
        assert reply.headers["content-type"] == "text/plain"
        assert reply.headers["cache-control"] == "max-age=60"
        head = await call(supabase_client, "HEAD", path)
        assert (head.status_code, head.content) == (200, b"")
        assert head.headers["etag"] == reply.headers["etag"]
    reply = await call(supabase_client, "GET", "object/docs/n/1.txt?download=%C3%A4.txt")
    assert "filename=%C3%A4.txt" in reply.headers["content-disposition"]
    reply = await call(supabase_client, "GET", "object/docs/n/1.txt?download")
    assert reply.headers["content-disposition"] == "attachment"
    first = (await call(supabase_client, "GET", "object/info/docs/n/1.txt")).json()
    reply = await call(supabase_client, "PUT", "object/docs/n/1.txt", content=b"two")
    second = (await call(supabase_client, "GET", "object/info/authenticated/docs/n/1.txt")).json()
    assert (first["id"], first["size"]) == (second["id"], second["size"])
    assert first["etag"] != second["etag"]
    upsert = {"x-upsert": "true"}
    await call(supabase_client, "POST", "object/docs/n/1.txt", content=b"three", headers=upsert)
    assert files.storage.read("docs", "n/1.txt") == b"three"


async def test_public_files(files: SupabaseMock, supabase_client: SupabaseAsync) -> None:
    files.storage.put("web", "x.css", b"body {}", mimetype="text/css")
    for path in ("object/public/web/x.css", "object/web/x.css", "object/info/public/web/x.css"):
        assert (await call(supabase_client, "GET", path, token=None)).status_code == 200
    assert refusal(await call(supabase_client, "GET", "object/docs/a.txt", token=None)) == (
        "404",
        "Bucket not found",
    )


async def test_form_uploads(files: SupabaseMock, supabase_client: SupabaseAsync) -> None:
    binary = b"\r\n--\x00\xff\r\n"
    reply = await supabase_client.http_client.post(
        f"{supabase_client.url}/storage/v1/object/docs/form.bin",
        files={"file": ("form.bin", binary, "image/png")},
        data={"cacheControl": "60", "metadata": '{"a": 1}', "contentType": "image/webp"},
        headers={"Authorization": f"Bearer {ANON_KEY}"},
    )
    assert reply.status_code == 200
    info = (await call(supabase_client, "GET", "object/info/docs/form.bin")).json()
    assert (info["content_type"], info["cache_control"]) == ("image/webp", "max-age=60")
    assert info["metadata"] == {"a": 1}
    assert files.storage.read("docs", "form.bin") == binary
    reply = await call(
        supabase_client,
        "POST",
        "object/docs/none.bin",
        content=b'--x\r\nContent-Disposition: form-data; name="a"\r\n\r\n1\r\n--x--\r\n',
        headers={"Content-Type": "multipart/form-data; boundary=x"},
    )
    assert reply.json()["message"] == "No content provided"
    with pytest.raises(StorageError, match="boundary"):
        form_parts("multipart/form-data", b"")


async def test_limits_of_a_bucket(
    supabase_mock: SupabaseMock, supabase_client: SupabaseAsync
) -> None:
    supabase_mock.storage.create_bucket(
        "pics", file_size_limit=3, allowed_mime_types=["image/*", "text/plain"]
    )
    for body, kind, expected in [
        (b"1234", "text/plain", ("413", "Payload too large")),
        (b"1", "text/html", ("415", "invalid_mime_type")),
    ]:
        reply = await call(
            supabase_client,
            "POST",
            "object/pics/x",
            content=body,
            headers={"Content-Type": kind},
        )
        assert refusal(reply) == expected
    for n, kind in enumerate(["image/png", "text/plain;charset=UTF-8"]):
        reply = await call(
            supabase_client,
            "POST",
            f"object/pics/{n}",
            content=b"1",
            headers={"Content-Type": kind},
        )
        assert reply.status_code == 200


@pytest.mark.parametrize(
    ("value", "limit"), [(None, None), (5, 5), ("3B", 3), ("2kb", 2048), ("1GB", 1 << 30)]
)
def test_size_limit(value: Any, limit: int | None) -> None:
    assert size_limit(value) == limit


@pytest.mark.parametrize(
    ("body", "names"),
    [
        ({}, ["b", "a.txt", "z.txt"]),
        ({"prefix": "b/"}, ["d", "c.txt"]),
        ({"prefix": "b/d"}, ["e.txt"]),
        ({"prefix": "none"}, []),
        ({"limit": 1, "offset": 1}, ["a.txt"]),
        ({"search": "Z"}, ["z.txt"]),
        ({"sortBy": {"column": "name", "order": "desc"}}, ["b", "z.txt", "a.txt"]),
    ],
)
async def test_list(
    files: SupabaseMock, supabase_client: SupabaseAsync, body: Any, names: list[str]
) -> None:
    reply = await call(supabase_client, "POST", "object/list/docs", body)
    assert [entry["name"] for entry in reply.json()] == names
    for entry in reply.json():
        assert (entry["id"] is None) == ("." not in entry["name"])


async def test_list_of_no_bucket(supabase_client: SupabaseAsync) -> None:
    assert (await call(supabase_client, "POST", "object/list/none", {})).json() == []


async def test_list_v2(files: SupabaseMock, supabase_client: SupabaseAsync) -> None:
    seen: list[str] = []
    cursor = None
    while True:
        body = {"limit": 2, "cursor": cursor, "sortBy": {"column": "name", "order": "desc"}}
        page = (await call(supabase_client, "POST", "object/list-v2/docs", body)).json()
        seen += [entry["name"] for entry in page["objects"]]
        if not page["hasNext"]:
            break
        cursor = page["nextCursor"]
    assert seen == ["z.txt", "b/d/e.txt", "b/c.txt", "a.txt"]
    body = {"prefix": "b/", "with_delimiter": True}
    page = (await call(supabase_client, "POST", "object/list-v2/docs", body)).json()
    assert [entry["name"] for entry in page["folders"]] == ["b/d/"]
    assert [entry["name"] for entry in page["objects"]] == ["b/c.txt"]


async def test_move_copy_remove(files: SupabaseMock, supabase_client: SupabaseAsync) -> None:
    body = {"bucketId": "docs", "sourceKey": "a.txt", "destinationKey": "n/a.txt"}
    info = (await call(supabase_client, "GET", "object/info/docs/a.txt")).json()
    moved = (await call(supabase_client, "POST", "object/move", body)).json()
    assert moved == {"message": "Successfully moved", "Id": info["id"], "Key": "n/a.txt"}
    body = {
        "bucketId": "docs",
        "sourceKey": "n/a.txt",
        "destinationBucket": "web",
        "destinationKey": "a.txt",
    }
    copied = (await call(supabase_client, "POST", "object/copy", body)).json()
    assert copied["Key"] == "web/a.txt"
    assert files.storage.read("web", "a.txt") == b"a.txt"
    gone_body = {"prefixes": ["n/a.txt", "none", "z.txt"]}
    gone = (await call(supabase_client, "DELETE", "object/docs", gone_body)).json()
    assert [row["name"] for row in gone] == ["n/a.txt", "z.txt"]
    assert (await call(supabase_client, "DELETE", "object/docs/b/c.txt")).status_code == 200
    assert files.storage.paths("docs") == ["b/d/e.txt"]


async def test_signed_urls(files: SupabaseMock, supabase_client: SupabaseAsync) -> None:
    reply = await call(supabase_client, "POST", "object/sign/docs/b/c.txt", {"expiresIn": 60})
    path = reply.json()["signedURL"].lstrip("/")
    reply = await call(supabase_client, "GET", f"{path}&download=c.txt", token=None)
    assert reply.content == b"b/c.txt"
    other = path.replace("c.txt", "d/e.txt")
    assert refusal(await call(supabase_client, "GET", other, token=None))[1] == "InvalidSignature"
    body = {"expiresIn": 60, "paths": ["a.txt", "none"]}
    signed = (await call(supabase_client, "POST", "object/sign/docs", body)).json()
    assert [bool(entry["signedURL"]) for entry in signed] == [True, False]
    assert "does not exist" in signed[1]["error"]
    await call(supabase_client, "DELETE", "object/docs", {"prefixes": ["b/c.txt"]})
    assert refusal(await call(supabase_client, "GET", path, token=None)) == ("404", "not_found")
    files.auth.advance(61)
    assert refusal(await call(supabase_client, "GET", path, token=None)) == ("400", "InvalidJWT")


async def test_signed_uploads(files: SupabaseMock, supabase_client: SupabaseAsync) -> None:
    reply = await call(supabase_client, "POST", "object/upload/sign/docs/new.txt")
    path = reply.json()["url"].lstrip("/")
    reply = await call(supabase_client, "PUT", path, content=b"new", token=None)
    assert reply.json()["Key"] == "docs/new.txt"
    assert refusal(await call(supabase_client, "PUT", path, content=b"x", token=None)) == (
        "409",
        "Duplicate",
    )
    upsert = {"x-upsert": "true"}
    reply = await call(supabase_client, "POST", "object/upload/sign/docs/new.txt", headers=upsert)
    path = reply.json()["url"].lstrip("/")
    await call(supabase_client, "PUT", path, content=b"newer", token=None)
    assert files.storage.read("docs", "new.txt") == b"newer"


async def test_policies(files: SupabaseMock) -> None:
    ana = files.auth.add_user("ana@example.com")
    files.storage.allow(
        "docs", lambda file, claims: file.owner == claims["sub"], roles=["authenticated"]
    )
    files.storage.allow("web", commands=["insert"])
    mine, other, server = files.signed_in(ana), files.client(), files.client(service_role=True)
    token = mine.access_token
    reply = await call(mine, "POST", "object/docs/m.txt", content=b"m", token=token)
    assert reply.status_code == 200
    assert (await call(mine, "GET", "object/docs/m.txt", token=token)).content == b"m"
    listed = (await call(mine, "POST", "object/list/docs", {}, token=token)).json()
    assert [entry["name"] for entry in listed] == ["m.txt"]
    hidden = ("404", "not_found")
    assert refusal(await call(other, "GET", "object/docs/m.txt")) == hidden
    assert refusal(await call(other, "DELETE", "object/docs/m.txt")) == hidden
    denied = ("403", "Unauthorized")
    assert refusal(await call(other, "POST", "object/docs/o.txt", content=b"o")) == denied
    assert refusal(await call(other, "POST", "object/upload/sign/docs/o.txt")) == denied
    assert (await call(other, "POST", "object/web/o.txt", content=b"o")).status_code == 200
    upsert = {"x-upsert": "true"}
    reply = await call(other, "POST", "object/web/o.txt", content=b"p", headers=upsert)
    assert refusal(reply) == denied
    move = {"bucketId": "docs", "sourceKey": "m.txt", "destinationKey": "n.txt"}
    assert refusal(await call(other, "POST", "object/move", move)) == hidden
    move["destinationBucket"] = "web"
    copy = await call(mine, "POST", "object/copy", move, token=token)
    assert copy.status_code == 200
    files.storage.create_bucket("closed")
    move["destinationBucket"] = "closed"
    assert refusal(await call(mine, "POST", "object/copy", move, token=token)) == denied
    assert (await call(other, "GET", "bucket")).json() == []
    assert refusal(await call(other, "GET", "bucket/docs")) == ("404", "Bucket not found")
    assert refusal(await call(other, "POST", "bucket", {"name": "x"})) == denied
    assert len((await call(server, "GET", "bucket", token=files.service_key)).json()) == 3


async def test_what_reads_may_not_move(files: SupabaseMock) -> None:
    files.storage.protect()
    files.storage.allow("docs", commands=["select"])
    body = {"bucketId": "docs", "sourceKey": "a.txt", "destinationKey": "n.txt"}
    assert refusal(await call(files.client(), "POST", "object/move", body)) == (
        "404",
        "not_found",
    )


async def test_who_is_asking(files: SupabaseMock, supabase_client: SupabaseAsync) -> None:
    for path in ("bucket", "object/authenticated/docs/a.txt"):
        reply = await call(supabase_client, "GET", path, token=None)
        assert "authorization" in reply.json()["message"]
        assert refusal(await call(supabase_client, "GET", path, token="a.b.c")) == (
            "403",
            "Unauthorized",
        )


@pytest.mark.parametrize(
    "path", ["render/image/public/web/x", "upload/resumable", "s3/x", "iceberg/x", "vector/x"]
)
async def test_what_is_not_modelled(supabase_client: SupabaseAsync, path: str) -> None:
    reply = await call(supabase_client, "GET", path)
    assert reply.status_code == 501
    assert "does not model" in reply.json()["message"]


async def test_other_paths(supabase_client: SupabaseAsync) -> None:
    assert (await call(supabase_client, "GET", "status")).status_code == 200
    assert (await call(supabase_client, "GET", "nothing")).status_code == 404
    body = {"name": "a", "type": "ANALYTICS"}
    assert (await call(supabase_client, "POST", "bucket", body)).status_code == 501


# Edge functions


async def invoke(
    client: SupabaseAsync, path: str, *, method: str = "POST", **options: Any
) -> httpx.Response:
    options.setdefault("headers", {"Authorization": f"Bearer {ANON_KEY}"})
    return await client.http_client.request(method, f"{client.url}/functions/v1/{path}", **options)


@pytest.mark.parametrize(
    ("value", "body", "kind"),
    [
        ({"a": [1]}, b'{"a":[1]}', "application/json"),
        ("hi", b"hi", "text/plain;charset=UTF-8"),
        (b"\x00", b"\x00", "application/octet-stream"),
        (None, b"", None),
        (EdgeResponse("x", headers={"Content-Type": "text/html"}), b"x", "text/html"),
    ],
)
async def test_what_a_function_returns(
    supabase_mock: SupabaseMock,
    supabase_client: SupabaseAsync,
    value: Any,
    body: bytes,
    kind: str | None,
) -> None:
    supabase_mock.function("f")(lambda request: value)
    reply = await invoke(supabase_client, "f")
    assert (reply.content, reply.headers.get("content-type")) == (body, kind)


async def test_what_a_function_gets(supabase_mock: SupabaseMock) -> None:
    seen: list[EdgeRequest] = []

    @supabase_mock.function("echo")
    async def echo(request: EdgeRequest) -> EdgeResponse:
        await anyio.lowlevel.checkpoint()
        seen.append(request)
        return EdgeResponse(request.json(), status=201, headers={"X-Kind": request.text})

    mine = supabase_mock.signed_in("ana@example.com")
    reply = await invoke(
        mine,
        "echo/a/b?c=d",
        method="PUT",
        content=b'{"n": 1}',
        headers={"Authorization": f"Bearer {mine.access_token}"},
    )
    assert (reply.status_code, reply.json(), reply.headers["x-kind"]) == (
        201,
        {"n": 1},
        '{"n": 1}',
    )
    [request] = seen
    assert (request.method, request.path, request.query) == ("PUT", "/a/b", {"c": "d"})
    assert request.claims["email"] == "ana@example.com"


async def test_functions_that_fail(
    supabase_mock: SupabaseMock, supabase_client: SupabaseAsync
) -> None:
    @supabase_mock.function("broken")
    def broken(request: EdgeRequest) -> None:
        raise LookupError("no such thing")

    @supabase_mock.function("checks")
    def checks(request: EdgeRequest) -> None:
        raise AssertionError("the test's own")

    reply = await invoke(supabase_client, "broken")
    assert reply.status_code == 500
    assert "LookupError: no such thing" in reply.json()["details"]
    with pytest.raises(AssertionError, match="the test's own"):
        await invoke(supabase_client, "checks")
    assert (await invoke(supabase_client, "nothing")).status_code == 404


async def test_who_may_call_a_function(
    supabase_mock: SupabaseMock, supabase_client: SupabaseAsync
) -> None:
    supabase_mock.function("closed")(lambda request: "in")
    supabase_mock.function("open", verify_jwt=False)(lambda request: "in")
    bad = {"Authorization": "Bearer a.b.c"}
    assert (await invoke(supabase_client, "closed", headers={})).status_code == 401
    assert (await invoke(supabase_client, "closed", headers=bad)).status_code == 401
    assert (await invoke(supabase_client, "open", headers={})).text == "in"
    assert (await invoke(supabase_client, "closed", method="OPTIONS", headers={})).text == "in"
