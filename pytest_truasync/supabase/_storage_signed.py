"""URLs that are good for a while, without a token of their user."""

from __future__ import annotations

import hashlib
import hmac
from urllib.parse import quote

from pytest_truasync.supabase._engine import Reply
from pytest_truasync.supabase._storage_base import key_of, sent
from pytest_truasync.supabase._storage_files import FilesPart
from pytest_truasync.supabase._storage_objects import (
    StorageError,
    StoredFile,
    Upload,
    denied,
    no_object,
)
from pytest_truasync.supabase._wire import ServiceRequest, json_reply

__all__ = ["SignedPart"]


class SignedPart(FilesPart):
    """Handlers of ``/object/sign`` and ``/object/upload/sign``."""

    def _sign(self, request: ServiceRequest, rest: list[str]) -> Reply:
        body = request.json()
        expires_s = int(body["expiresIn"])
        if len(rest) > 1:
            bucket = self._bucket(rest[0])
            file = bucket.files.get(key_of(rest[1:]))
            if file is None or not self._may(request, "select", file):
                raise no_object()
            return json_reply(200, {"signedURL": self._signed_path(file, expires_s)})
        bucket = self._bucket(rest[0])
        signed = []
        for path in body["paths"]:
            file = bucket.files.get(str(path))
            ok = file is not None and self._may(request, "select", file)
            error = "Either the object does not exist or you do not have access to it"
            signed.append(
                {
                    "error": None if ok else error,
                    "path": path,
                    "signedURL": self._signed_path(file, expires_s) if ok and file else None,
                }
            )
        return json_reply(200, signed)

    def _signed_path(self, file: StoredFile, expires_s: int) -> str:
        token = self._token("sign", f"{file.bucket}/{file.name}", expires_s)
        return f"/object/sign/{quote(f'{file.bucket}/{file.name}')}?token={token}"

    def _download_signed(self, request: ServiceRequest, rest: list[str]) -> Reply:
        self._check_token("sign", "/".join(rest), request)
        file = self._bucket(rest[0]).files.get("/".join(rest[1:]))
        if file is None:
            raise no_object()
        return sent(file, request.query.get("download"))

    def _sign_upload(self, request: ServiceRequest, rest: list[str]) -> Reply:
        bucket, path = self._bucket(rest[1]), key_of(rest[2:])
        upsert = request.headers.get("x-upsert") == "true"
        if path in bucket.files and not upsert:
            message = "The resource already exists"
            raise StorageError(409, "KeyAlreadyExists", message, "Duplicate")
        owner = str(request.claims.get("sub", ""))
        if not self._may(request, "insert", self._file(bucket, path, Upload(b""), owner)):
            raise denied()
        scope = "upsert" if upsert else "upload"
        token = self._token(scope, f"{bucket.id}/{path}", 7200)
        url = f"/object/upload/sign/{quote(f'{bucket.id}/{path}')}?token={token}"
        return json_reply(200, {"url": url, "token": token})

    def _upload_signed(self, request: ServiceRequest, rest: list[str]) -> Reply:
        scope = request.query.get("token", "").partition(".")[0]
        upsert = scope == "upsert"
        self._check_token("upsert" if upsert else "upload", "/".join(rest), request)
        bucket = self._bucket(rest[0])
        return self._write(request, bucket, key_of(rest[1:]), upsert=upsert, trusted=True)

    def _token(self, scope: str, target: str, expires_s: int) -> str:
        until = int(self._keyring.now()) + expires_s
        return f"{scope}.{until}.{self._signature(scope, target, str(until))}"

    def _signature(self, *parts: str) -> str:
        text = "\n".join(parts).encode()
        return hmac.new(self._keyring.secret.encode(), text, hashlib.sha256).hexdigest()

    def _check_token(self, scope: str, target: str, request: ServiceRequest) -> None:
        token = request.query.get("token")
        if token is None:
            message = "querystring must have required property 'token'"
            raise StorageError(400, "InvalidRequest", message, "Error")
        said, _, rest = token.partition(".")
        until, _, signature = rest.partition(".")
        if said != scope or not until.isdigit():
            raise StorageError(400, "InvalidJWT", "Invalid Compact JWS")
        if not hmac.compare_digest(signature, self._signature(scope, target, until)):
            raise StorageError(400, "InvalidSignature", "Invalid signature")
        if int(until) < self._keyring.now():
            message = '"exp" claim timestamp check failed'
            raise StorageError(400, "InvalidJWT", message)
