"""What the parts of the storage service share: buckets, policies, who is asking."""

from __future__ import annotations

from urllib.parse import quote

from pytest_truasync.supabase._engine import Reply
from pytest_truasync.supabase._jwt import Keyring, TokenError
from pytest_truasync.supabase._storage_objects import (
    VALID_KEY,
    Bucket,
    Command,
    StorageError,
    StoragePolicy,
    StoredFile,
    Upload,
    no_bucket,
)
from pytest_truasync.supabase._wire import ServiceRequest

__all__ = ["StorageBase", "key_of", "sent"]


class StorageBase:
    """The state of the service."""

    def __init__(self, keyring: Keyring) -> None:
        self._keyring = keyring
        self._buckets: dict[str, Bucket] = {}
        self._policy = StoragePolicy()

    def _authenticate(self, request: ServiceRequest) -> None:
        if not request.headers.get("authorization"):
            message = "headers must have required property 'authorization'"
            raise StorageError(400, "InvalidRequest", message, "Error")
        try:
            self._keyring.identify(request.token)
        except TokenError as error:
            raise StorageError(403, "AccessDenied", error.message, "Unauthorized") from error

    def _bucket(self, name: str) -> Bucket:
        bucket = self._buckets.get(name)
        if bucket is None:
            raise no_bucket()
        return bucket

    def _may(self, request: ServiceRequest, command: Command, file: StoredFile) -> bool:
        return self._policy.allows(command, file, request.role, request.claims)

    def _file(self, bucket: Bucket, path: str, upload: Upload, owner: str) -> StoredFile:
        now = self._keyring.now()
        return StoredFile(
            bucket=bucket.id,
            name=path,
            body=upload.body,
            mimetype=upload.mimetype,
            cache_control=upload.cache_control,
            metadata=upload.metadata,
            owner=owner,
            created_at=now,
            updated_at=now,
        )

    def _store(self, bucket: Bucket, path: str, upload: Upload, owner: str) -> StoredFile:
        file = self._file(bucket, path, upload, owner)
        before = bucket.files.get(path)
        if before is not None:
            file.id, file.created_at = before.id, before.created_at
        bucket.files[path] = file
        return file


def key_of(parts: list[str]) -> str:
    """Return the path of a file.

    Raises:
        StorageError: It holds what no path may.
    """
    path = "/".join(parts)
    if not VALID_KEY.fullmatch(path):
        raise StorageError(400, "InvalidKey", f"Invalid key: {path}")
    return path


def sent(file: StoredFile, download: str | None) -> Reply:
    """Return *file* as a download, under the name *download* if there is one."""
    headers = file.headers()
    if download is not None:
        name = f"; filename={quote(download)}; filename*=UTF-8''{quote(download)};"
        headers += (("content-disposition", f"attachment{name if download else ''}"),)
    return Reply(200, headers, file.body)
