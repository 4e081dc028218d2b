"""Buckets and files, and who may touch them."""

from __future__ import annotations

import hashlib
import re
import uuid
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Any, Literal

__all__ = ["Bucket", "StorageError", "StoragePolicy", "StoredFile", "Upload"]

Command = Literal["select", "insert", "update", "delete"]
Predicate = Callable[["StoredFile", Mapping[str, Any]], bool]

VALID_KEY = re.compile(r"[A-Za-z0-9_/!.*'() &$=@;:+,?-]+")
VALID_BUCKET = re.compile(r"[A-Za-z0-9_!.*'() &$=@;:+,?-]{1,100}")
_UNITS = {"B": 1, "KB": 1024, "MB": 1024**2, "GB": 1024**3}


class StorageError(Exception):
    """A refusal of the storage service.

    Attributes:
        status: What the body says; the HTTP status is 400 all the same, as the service has it.
        code: The service's code.
        error: The service's older word for it.
        message: Its words.
    """

    def __init__(self, status: int, code: str, message: str, error: str | None = None) -> None:
        super().__init__(f"{status} {code}: {message}")
        self.status = status
        self.code = code
        self.message = message
        self.error = error or code


def no_bucket() -> StorageError:
    """Return the refusal of a bucket that is not there, or not for the caller."""
    return StorageError(404, "NoSuchBucket", "Bucket not found", "Bucket not found")


def no_object() -> StorageError:
    """Return the refusal of a file that is not there, or not for the caller."""
    return StorageError(404, "NoSuchKey", "Object not found", "not_found")


def denied() -> StorageError:
    """Return the refusal of a write that no policy allows."""
    message = "new row violates row-level security policy"
    return StorageError(403, "AccessDenied", message, "Unauthorized")


@dataclass(slots=True)
class Upload:
    """What an upload carries."""

    body: bytes
    mimetype: str = "application/octet-stream"
    cache_control: str = "no-cache"
    metadata: dict[str, Any] | None = None


@dataclass(slots=True)
class StoredFile:
    """One file.

    Attributes:
        bucket: The bucket's id.
        name: The path inside the bucket.
        body: The bytes.
        mimetype: The content type.
        metadata: What the uploader said about it.
        owner: The user id of the uploader; empty for a server.
    """

    bucket: str
    name: str
    body: bytes = field(repr=False)
    mimetype: str
    cache_control: str
    metadata: dict[str, Any] | None
    owner: str
    created_at: float
    updated_at: float
    id: str = field(default_factory=lambda: str(uuid.uuid4()))
    version: str = field(default_factory=lambda: str(uuid.uuid4()))

    @property
    def etag(self) -> str:
        """The quoted digest of the bytes."""
        return f'"{hashlib.md5(self.body, usedforsecurity=False).hexdigest()}"'

    def system_metadata(self) -> dict[str, Any]:
        """Return what the service knows of the bytes."""
        return {
            "eTag": self.etag,
            "size": len(self.body),
            "mimetype": self.mimetype,
            "cacheControl": self.cache_control,
            "lastModified": iso(self.updated_at),
            "contentLength": len(self.body),
            "httpStatusCode": 200,
        }

    def listed(self, name: str | None = None) -> dict[str, Any]:
        """Return the file as a listing shows it."""
        return {
            "name": self.name if name is None else name,
            "id": self.id,
            "updated_at": iso(self.updated_at),
            "created_at": iso(self.created_at),
            "last_accessed_at": iso(self.created_at),
            "metadata": self.system_metadata(),
        }

    def row(self) -> dict[str, Any]:
        """Return the file as its row in ``storage.objects``."""
        return {
            "bucket_id": self.bucket,
            "owner": self.owner,
            "owner_id": self.owner,
            "version": self.version,
            "user_metadata": self.metadata,
            **self.listed(),
        }

    def info(self) -> dict[str, Any]:
        """Return what ``/object/info`` says of the file."""
        return {
            "id": self.id,
            "name": self.name,
            "version": self.version,
            "bucket_id": self.bucket,
            "size": len(self.body),
            "content_type": self.mimetype,
            "cache_control": self.cache_control,
            "etag": self.etag,
            "metadata": self.metadata,
            "last_modified": iso(self.updated_at),
            "created_at": iso(self.created_at),
        }

    def headers(self) -> tuple[tuple[str, str], ...]:
        """Return the headers of a download."""
        modified = format_datetime(datetime.fromtimestamp(self.updated_at, UTC), usegmt=True)
        return (
            ("content-type", self.mimetype),
            ("cache-control", self.cache_control),
            ("etag", self.etag),
            ("last-modified", modified),
            ("accept-ranges", "bytes"),
        )


@dataclass(slots=True)
class Bucket:
    """One bucket and its files, by name."""

    id: str
    public: bool
    created_at: float
    updated_at: float
    owner: str = ""
    file_size_limit: int | None = None
    allowed_mime_types: list[str] | None = None
    files: dict[str, StoredFile] = field(default_factory=dict)

    def shown(self) -> dict[str, Any]:
        """Return the bucket as the API shows it."""
        return {
            "id": self.id,
            "name": self.id,
            "owner": self.owner,
            "public": self.public,
            "type": "STANDARD",
            "file_size_limit": self.file_size_limit,
            "allowed_mime_types": self.allowed_mime_types,
            "created_at": iso(self.created_at),
            "updated_at": iso(self.updated_at),
        }

    def check(self, upload: Upload) -> None:
        """Raise for bytes that the bucket does not take.

        Raises:
            StorageError: Too large, or of a type that is not allowed.
        """
        if self.file_size_limit is not None and len(upload.body) > self.file_size_limit:
            message = "The object exceeded the maximum allowed size"
            raise StorageError(413, "EntityTooLarge", message, "Payload too large")
        kind = upload.mimetype.partition(";")[0].strip().lower()
        allowed = self.allowed_mime_types
        if allowed and not any(
            a == kind or (a.endswith("/*") and kind.startswith(a[:-1])) for a in allowed
        ):
            message = f"mime type {upload.mimetype} is not supported"
            raise StorageError(415, "InvalidMimeType", message, "invalid_mime_type")


@dataclass(frozen=True, slots=True)
class _Rule:
    bucket: str
    predicate: Predicate | bool
    roles: frozenset[str]
    commands: frozenset[str]


class StoragePolicy:
    """Row-level security of ``storage.objects``; everything is allowed until it is protected."""

    def __init__(self) -> None:
        self._rules: list[_Rule] = []
        self._protected = False

    def protect(self) -> None:
        """Switch row-level security on."""
        self._protected = True

    def allow(
        self,
        bucket: str,
        predicate: Predicate | bool,
        roles: Iterable[str],
        commands: Iterable[str],
    ) -> None:
        """Add a policy; the files of all buckets are protected from now on."""
        self._protected = True
        self._rules.append(_Rule(bucket, predicate, frozenset(roles), frozenset(commands)))

    def allows(self, command: Command, file: StoredFile, role: str, claims: Any) -> bool:
        """Tell whether *role* may do *command* with *file*."""
        if not self._protected or role == "service_role":
            return True
        return any(
            rule.bucket == file.bucket
            and role in rule.roles
            and command in rule.commands
            and (
                rule.predicate if isinstance(rule.predicate, bool) else rule.predicate(file, claims)
            )
            for rule in self._rules
        )

    def allows_buckets(self, role: str) -> bool:
        """Tell whether *role* may see and change buckets."""
        return not self._protected or role == "service_role"


def iso(at: float) -> str:
    """Return a time as the API shows it."""
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def size_limit(value: Any) -> int | None:
    """Return a bucket's limit in bytes; ``20MB`` is one too.

    Raises:
        StorageError: It is no size.
    """
    if value is None or (isinstance(value, int) and not isinstance(value, bool)):
        return value
    match = re.fullmatch(r"(\d+)\s*(GB|MB|KB|B)?", str(value), re.IGNORECASE)
    if match is None:
        message = "Invalid file size format, hint: use 20GB / 20MB / 30KB / 3B"
        raise StorageError(400, "InvalidRequest", message)
    return int(match[1]) * _UNITS[(match[2] or "B").upper()]


def form_parts(content_type: str, body: bytes) -> list[tuple[str, str | None, str, bytes]]:
    """Part a multipart body; each part is name, file name, content type, bytes.

    Raises:
        StorageError: It is no such body.
    """
    match = re.search(r'boundary="?([^";,]+)"?', content_type)
    if match is None:
        raise StorageError(400, "InvalidRequest", "multipart: boundary not found")
    parts = []
    for raw in (b"\r\n" + body).split(b"\r\n--" + match[1].encode("latin-1"))[1:-1]:
        head, _, content = raw.removeprefix(b"\r\n").partition(b"\r\n\r\n")
        text = head.decode("utf-8", "replace")
        name = re.search(r'\bname="([^"]*)"', text)
        file_name = re.search(r'filename="([^"]*)"', text)
        kind = re.search(r"content-type:\s*([^\r\n]+)", text, re.IGNORECASE)
        parts.append(
            (
                name[1] if name else "",
                file_name[1] if file_name else None,
                kind[1].strip() if kind else "text/plain",
                content,
            )
        )
    return parts
