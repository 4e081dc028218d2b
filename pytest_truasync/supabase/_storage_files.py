"""Files: written, read, moved, listed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from pytest_truasync.supabase._engine import Reply
from pytest_truasync.supabase._storage_base import StorageBase, key_of, sent
from pytest_truasync.supabase._storage_objects import (
    Bucket,
    Command,
    StorageError,
    StoredFile,
    Upload,
    denied,
    form_parts,
    no_bucket,
    no_object,
)
from pytest_truasync.supabase._wire import ServiceRequest, json_reply

__all__ = ["FilesPart"]


class FilesPart(StorageBase):
    """Handlers of ``/object``, but for signed URLs."""

    def _upload(self, request: ServiceRequest, rest: list[str]) -> Reply:
        bucket, path = self._bucket(rest[0]), key_of(rest[1:])
        upsert = request.method == "PUT" or request.headers.get("x-upsert") == "true"
        return self._write(request, bucket, path, upsert=upsert)

    def _write(
        self,
        request: ServiceRequest,
        bucket: Bucket,
        path: str,
        *,
        upsert: bool,
        trusted: bool = False,
    ) -> Reply:
        upload = _upload_of(request)
        bucket.check(upload)
        before = bucket.files.get(path)
        if request.method == "PUT" and before is None and not trusted:
            raise no_object()
        if before is not None and not upsert:
            message = "The resource already exists"
            raise StorageError(409, "KeyAlreadyExists", message, "Duplicate")
        owner = str(request.claims.get("sub", ""))
        new = self._file(bucket, path, upload, owner)
        commands: tuple[Command, ...] = ("insert",) if before is None else ("insert", "update")
        if not trusted and not all(self._may(request, command, new) for command in commands):
            raise denied()
        stored = self._store(bucket, path, upload, owner)
        return json_reply(200, {"Id": stored.id, "Key": f"{bucket.id}/{path}"})

    def _readable(
        self, request: ServiceRequest, rest: list[str], *, as_public: bool = False
    ) -> StoredFile:
        bucket = self._buckets.get(rest[0]) if rest else None
        if bucket is None or (as_public and not bucket.public):
            raise no_bucket()
        if not bucket.public and not as_public:
            if not request.headers.get("authorization"):
                raise no_bucket()
            self._authenticate(request)
        file = bucket.files.get("/".join(rest[1:]))
        if file is None or not (bucket.public or self._may(request, "select", file)):
            raise no_object()
        return file

    def _download(
        self, request: ServiceRequest, rest: list[str], *, as_public: bool = False
    ) -> Reply:
        file = self._readable(request, rest, as_public=as_public)
        return sent(file, request.query.get("download"))

    def _remove(self, request: ServiceRequest, rest: list[str]) -> Reply:
        bucket = self._bucket(rest[0])
        if len(rest) > 1:
            file = bucket.files.get(key_of(rest[1:]))
            if file is None or not self._may(request, "delete", file):
                raise no_object()
            del bucket.files[file.name]
            return json_reply(200, {"message": "Successfully deleted"})
        gone = []
        for name in request.json()["prefixes"]:
            file = bucket.files.get(str(name))
            if file is not None and self._may(request, "delete", file):
                gone.append(bucket.files.pop(file.name).row())
        return json_reply(200, gone)

    def _move(self, request: ServiceRequest, rest: list[str]) -> Reply:
        source, target, path = self._source(request)
        if not self._may(request, "update", source):
            raise no_object()
        moved = self._copied(request, source, target, path)
        moved.id, moved.created_at = source.id, source.created_at
        del self._buckets[source.bucket].files[source.name]
        return json_reply(200, {"message": "Successfully moved", "Id": moved.id, "Key": moved.name})

    def _copy(self, request: ServiceRequest, rest: list[str]) -> Reply:
        source, target, path = self._source(request)
        copied = self._copied(request, source, target, path)
        return json_reply(200, {"Id": copied.id, "Key": f"{target.id}/{path}", **copied.row()})

    def _source(self, request: ServiceRequest) -> tuple[StoredFile, Bucket, str]:
        body = request.json()
        bucket = self._bucket(body["bucketId"])
        target = self._bucket(body.get("destinationBucket") or bucket.id)
        source = bucket.files.get(body["sourceKey"])
        if source is None or not self._may(request, "select", source):
            raise no_object()
        return source, target, key_of([body["destinationKey"]])

    def _copied(
        self, request: ServiceRequest, source: StoredFile, target: Bucket, path: str
    ) -> StoredFile:
        if path in target.files and request.headers.get("x-upsert") != "true":
            message = "The resource already exists"
            raise StorageError(409, "KeyAlreadyExists", message, "Duplicate")
        upload = Upload(source.body, source.mimetype, source.cache_control, source.metadata)
        owner = str(request.claims.get("sub", ""))
        if not self._may(request, "insert", self._file(target, path, upload, owner)):
            raise denied()
        return self._store(target, path, upload, owner)

    def _visible(self, request: ServiceRequest, name: str) -> list[StoredFile]:
        bucket = self._buckets.get(name)
        files = [] if bucket is None else sorted(bucket.files.values(), key=lambda f: f.name)
        return [file for file in files if self._may(request, "select", file)]

    def _list(self, request: ServiceRequest, rest: list[str]) -> Reply:
        body = request.json()
        folder = str(body.get("prefix") or "").strip("/")
        start = f"{folder}/" if folder else ""
        wanted = str(body.get("search") or "").lower()
        folders: dict[str, None] = {}
        files = []
        for file in self._visible(request, rest[0]):
            if not file.name.startswith(start):
                continue
            name, below, _ = file.name.removeprefix(start).partition("/")
            if not name.lower().startswith(wanted):
                continue
            if below:
                folders[name] = None
            else:
                files.append(file.listed(name))
        sort = body.get("sortBy") or {}
        column = sort.get("column") or "name"
        if column not in ("name", "updated_at", "created_at", "last_accessed_at", "id"):
            message = f"body/sortBy/column must be equal to one of the allowed values: {column}"
            raise StorageError(400, "InvalidRequest", message, "Error")
        backwards = sort.get("order") == "desc"
        files.sort(key=lambda f: str(f[column]), reverse=backwards)
        names = sorted(folders, reverse=backwards and column == "name")
        empty = dict.fromkeys(("id", "updated_at", "created_at", "last_accessed_at", "metadata"))
        found = [*({"name": name, **empty} for name in names), *files]
        offset, limit = int(body.get("offset") or 0), int(body.get("limit") or 100)
        return json_reply(200, found[offset : offset + limit])

    def _list_v2(self, request: ServiceRequest, rest: list[str]) -> Reply:
        body = request.json()
        prefix, limit = str(body.get("prefix") or ""), int(body.get("limit") or 1000)
        folders: dict[str, None] = {}
        objects = []
        for file in self._visible(request, rest[0]):
            if not file.name.startswith(prefix):
                continue
            below = file.name.removeprefix(prefix)
            if body.get("with_delimiter") and "/" in below:
                folders[f"{prefix}{below.partition('/')[0]}/"] = None
            else:
                objects.append(file)
        sort = body.get("sortBy") or {}
        column, backwards = sort.get("column") or "name", sort.get("order") == "desc"
        objects.sort(key=lambda f: getattr(f, column), reverse=backwards)
        entries = [*folders, *objects]
        start = int(body.get("cursor") or 0)
        page, more = entries[start : start + limit], start + limit < len(entries)
        shown: dict[str, Any] = {
            "hasNext": more,
            "folders": [{"name": e, "key": e} for e in page if isinstance(e, str)],
            "objects": [{**e.listed(), "key": e.name} for e in page if isinstance(e, StoredFile)],
        }
        return json_reply(200, {**shown, **({"nextCursor": str(start + limit)} if more else {})})


def _upload_of(request: ServiceRequest) -> Upload:
    headers: Mapping[str, str] = request.headers
    kind = headers.get("content-type", "application/octet-stream")
    if not kind.startswith("multipart/form-data"):
        return Upload(request.body, kind, headers.get("cache-control", "no-cache"))
    upload = None
    fields: dict[str, str] = {}
    for name, file_name, mimetype, content in form_parts(kind, request.body):
        if file_name is None:
            fields[name] = content.decode("utf-8", "replace")
        else:
            upload = Upload(content, mimetype)
    if upload is None:
        raise StorageError(400, "InvalidRequest", "No content provided")
    upload.mimetype = fields.get("contentType", upload.mimetype)
    if fields.get("cacheControl"):
        upload.cache_control = f"max-age={fields['cacheControl']}"
    if fields.get("metadata"):
        upload.metadata = json.loads(fields["metadata"])
    return upload
