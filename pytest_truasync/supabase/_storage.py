"""The storage service: buckets, files and signed URLs, in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from pytest_truasync.supabase._engine import Reply
from pytest_truasync.supabase._storage_objects import (
    VALID_BUCKET,
    Bucket,
    Command,
    Predicate,
    StorageError,
    Upload,
    denied,
    no_bucket,
    size_limit,
)
from pytest_truasync.supabase._storage_signed import SignedPart
from pytest_truasync.supabase._wire import MALFORMED, ServiceRequest, json_reply, not_modelled

__all__ = ["StorageServer"]

#: First part of a path that the true service answers and this one does not → what it is.
NOT_MODELLED = {
    "render": "image transformation",
    "upload": "resumable uploads (TUS)",
    "s3": "the S3 protocol",
    "iceberg": "analytics buckets",
    "vector": "vector buckets",
    "cdn": "the CDN's cache",
}
_COMMANDS: tuple[Command, ...] = ("select", "insert", "update", "delete")


class StorageServer(SignedPart):
    """The storage service of one project."""

    # For the test

    def create_bucket(
        self,
        name: str,
        *,
        public: bool = False,
        file_size_limit: int | str | None = None,
        allowed_mime_types: Iterable[str] | None = None,
    ) -> None:
        """Create a bucket at set-up.

        Args:
            name: Its id and name.
            public: Let everyone read its files by their public URL.
            file_size_limit: Bytes, or text like ``20MB``.
            allowed_mime_types: ``image/png``, ``image/*``.
        """
        now = self._keyring.now()
        types = None if allowed_mime_types is None else list(allowed_mime_types)
        limit = size_limit(file_size_limit)
        self._buckets[name] = Bucket(name, public, now, now, "", limit, types)

    def put(
        self, bucket: str, path: str, body: bytes, *, mimetype: str = "application/octet-stream"
    ) -> None:
        """Store a file at set-up; the bucket is there already."""
        self._store(self._buckets[bucket], path, Upload(body, mimetype), owner="")

    def read(self, bucket: str, path: str) -> bytes:
        """Return a file's bytes.

        Raises:
            KeyError: There is no such file.
        """
        return self._buckets[bucket].files[path].body

    def paths(self, bucket: str) -> list[str]:
        """Return the paths of all files of a bucket, sorted."""
        return sorted(self._buckets[bucket].files)

    def protect(self) -> None:
        """Switch row-level security on: only `allow` and ``service_role`` open it again."""
        self._policy.protect()

    def allow(
        self,
        bucket: str,
        predicate: Predicate | bool = True,
        *,
        roles: Iterable[str] = ("anon", "authenticated"),
        commands: Iterable[Command] = _COMMANDS,
    ) -> None:
        """Add a policy on ``storage.objects``; all files are protected from now on.

        Args:
            bucket: The bucket whose files it lets through.
            predicate: ``predicate(file, claims)``, or True for all of them.
            roles: The roles that it speaks of.
            commands: What it allows.
        """
        self._policy.allow(bucket, predicate, roles, commands)

    # The service

    def answer(self, request: ServiceRequest) -> Reply:
        """Answer one request."""
        try:
            return self._route(request)
        except StorageError as error:
            body = {
                "statusCode": str(error.status),
                "code": error.code,
                "error": error.error,
                "message": error.message,
            }
            return json_reply(500 if error.status == 500 else 400, body)
        except MALFORMED as error:
            body = {
                "statusCode": "400",
                "code": "InvalidRequest",
                "error": "Error",
                "message": f"body is not valid: {error}",
            }
            return json_reply(400, body)

    def _route(self, request: ServiceRequest) -> Reply:
        first, *rest = request.segments
        if first in NOT_MODELLED:
            return not_modelled(NOT_MODELLED[first])
        if first == "status" or first == "health":
            return json_reply(200, {"healthy": True})
        if first == "bucket":
            self._authenticate(request)
            return self._bucket_route(request, rest)
        if first == "object" and rest:
            return self._object_route(request, rest)
        message = f"Route {request.method}:{request.path} not found"
        return json_reply(404, {"message": message, "error": "Not Found", "statusCode": 404})

    # Buckets

    def _bucket_route(self, request: ServiceRequest, rest: list[str]) -> Reply:
        method = request.method
        if not self._policy.allows_buckets(request.role):
            if method == "GET":
                if rest:
                    raise no_bucket()
                return json_reply(200, [])
            raise denied() if method == "POST" and not rest else no_bucket()
        if not rest:
            if method == "POST":
                return self._create(request)
            return json_reply(200, [bucket.shown() for bucket in self._buckets.values()])
        bucket = self._bucket(rest[0])
        if rest[1:] == ["empty"] and method == "POST":
            bucket.files.clear()
            message = "Empty bucket has been queued. Completion may take up to an hour."
            return json_reply(200, {"message": message})
        if method == "PUT":
            return self._update(request, bucket)
        if method == "DELETE":
            if bucket.files:
                message = "The bucket you tried to delete is not empty"
                raise StorageError(409, "ResourceNotEmpty", message)
            del self._buckets[bucket.id]
            return json_reply(200, {"message": "Successfully deleted"})
        return json_reply(200, bucket.shown())

    def _create(self, request: ServiceRequest) -> Reply:
        body = request.json()
        if not isinstance(body.get("name"), str):
            message = "body must have required property 'name'"
            raise StorageError(400, "InvalidRequest", message, "Error")
        name = str(body.get("id") or body["name"])
        if not VALID_BUCKET.fullmatch(name):
            message = "Bucket name invalid"
            raise StorageError(400, "InvalidBucketName", message, "Invalid Input")
        if name in self._buckets:
            message = "The resource already exists"
            raise StorageError(409, "ResourceAlreadyExists", message, "Duplicate")
        if body.get("type") == "ANALYTICS":
            return not_modelled("analytics buckets")
        self.create_bucket(
            name,
            public=bool(body.get("public")),
            file_size_limit=body.get("file_size_limit"),
            allowed_mime_types=body.get("allowed_mime_types"),
        )
        self._buckets[name].owner = str(request.claims.get("sub", ""))
        return json_reply(200, {"name": name})

    def _update(self, request: ServiceRequest, bucket: Bucket) -> Reply:
        body = request.json()
        if "public" in body:
            bucket.public = bool(body["public"])
        if "file_size_limit" in body:
            bucket.file_size_limit = size_limit(body["file_size_limit"])
        if "allowed_mime_types" in body:
            bucket.allowed_mime_types = body["allowed_mime_types"]
        bucket.updated_at = self._keyring.now()
        return json_reply(200, {"message": "Successfully updated"})

    # Files

    def _object_route(self, request: ServiceRequest, rest: list[str]) -> Reply:
        method, first = request.method, rest[0]
        reads = method in ("GET", "HEAD")
        if first == "public" and reads:
            return self._download(request, rest[1:], as_public=True)
        if first == "sign" and reads:
            return self._download_signed(request, rest[1:])
        if first == "upload" and rest[1:2] == ["sign"] and method == "PUT":
            return self._upload_signed(request, rest[2:])
        if first == "info" and reads:
            public = rest[1:2] == ["public"]
            named = rest[2:] if rest[1:2] in (["public"], ["authenticated"]) else rest[1:]
            return json_reply(200, self._readable(request, named, as_public=public).info())
        if reads and first != "authenticated":
            return self._download(request, rest)
        self._authenticate(request)
        if reads:
            return self._download(request, rest[1:])
        by_word: dict[tuple[str, str], Callable[[ServiceRequest, list[str]], Reply]] = {
            ("POST", "list"): self._list,
            ("POST", "list-v2"): self._list_v2,
            ("POST", "sign"): self._sign,
            ("POST", "upload"): self._sign_upload,
            ("POST", "move"): self._move,
            ("POST", "copy"): self._copy,
        }
        handler = by_word.get((method, first))
        if handler is not None:
            return handler(request, rest[1:])
        if method in ("POST", "PUT"):
            return self._upload(request, rest)
        if method == "DELETE":
            return self._remove(request, rest)
        raise StorageError(404, "InvalidRequest", f"Route {method}:{request.path} not found")
