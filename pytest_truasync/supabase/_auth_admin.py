"""The admin API of the auth service: what a server with the service key may do."""

from __future__ import annotations

import re
import uuid
from typing import TYPE_CHECKING, Any

from pytest_truasync.supabase._auth_base import AuthBase
from pytest_truasync.supabase._auth_users import (
    AuthError,
    User,
    merged,
    valid_email,
    valid_phone,
)
from pytest_truasync.supabase._jwt import TokenError
from pytest_truasync.supabase._wire import ServiceRequest, json_reply

if TYPE_CHECKING:
    from pytest_truasync.supabase._engine import Reply

__all__ = ["AdminPart"]

ADMIN_ROLES = frozenset({"service_role", "supabase_admin"})
#: Kind of a link → purpose of its token.
LINKS = {
    "signup": "confirmation",
    "invite": "confirmation",
    "magiclink": "recovery",
    "recovery": "recovery",
    "email_change_current": "email_change",
    "email_change_new": "email_change",
}
_SECONDS = {"h": 3600.0, "m": 60.0, "s": 1.0}


class AdminPart(AuthBase):
    """Handlers of ``/admin`` and ``/invite``."""

    def _require_admin(self, request: ServiceRequest) -> None:
        if not request.token:
            message = "This endpoint requires a valid Bearer token"
            raise AuthError(401, "no_authorization", message)
        try:
            identity = self._keyring.identify(request.token)
        except TokenError as error:
            message = f"invalid JWT: unable to parse or verify signature, {error.message}"
            raise AuthError(403, "bad_jwt", message) from error
        if identity.role not in ADMIN_ROLES:
            raise AuthError(403, "not_admin", "User not allowed")

    def _list_users(self, request: ServiceRequest) -> Reply:
        page = _positive(request.query.get("page"), 1)
        per_page = _positive(request.query.get("per_page"), 50)
        users = sorted(
            self._people.users.values(), key=lambda u: u.times["created_at"], reverse=True
        )
        shown = [u.shown() for u in users[(page - 1) * per_page : page * per_page]]
        headers = {"x-total-count": str(len(users))}
        return json_reply(200, {"users": shown, "aud": "authenticated"}, headers)

    def _create_user(self, request: ServiceRequest) -> Reply:
        body = request.json()
        if not body.get("email") and not body.get("phone"):
            message = "Cannot create a user without either an email or phone"
            raise AuthError(400, "validation_failed", message)
        email = valid_email(body["email"]) if body.get("email") else ""
        phone = valid_phone(body["phone"]) if body.get("phone") else ""
        if phone and self.find(phone) is not None:
            message = "Phone number already registered by another user"
            raise AuthError(422, "phone_exists", message)
        self._check_free(None, email=email)
        if body.get("id") is not None and not _is_uuid(body["id"]):
            raise AuthError(400, "validation_failed", "ID must conform to the uuid v4 format")
        user = self._people.add(
            email=email,
            phone=phone,
            password=body.get("password"),
            user_metadata=body.get("user_metadata"),
            app_metadata=body.get("app_metadata"),
            role=body.get("role") or "authenticated",
            user_id=body.get("id"),
        )
        self._apply(user, body)
        return json_reply(200, user.shown())

    def _read_user(self, request: ServiceRequest) -> Reply:
        return json_reply(200, self._named(request).shown())

    def _change_user(self, request: ServiceRequest) -> Reply:
        user = self._named(request)
        body = request.json()
        email = valid_email(body["email"]) if body.get("email") else user.email
        phone = valid_phone(body["phone"]) if body.get("phone") else user.phone
        if body.get("password") is not None:
            self._check_password(body["password"])
        self._check_free(user, email=email, phone=phone)
        if body.get("password") is not None:
            user.password = body["password"]
        if email != user.email:
            self._set_identity(user, "email", email)
            user.email = email
        if phone != user.phone:
            self._set_identity(user, "phone", phone)
            user.phone = phone
        user.role = body.get("role") or user.role
        user.user_metadata = merged(user.user_metadata, body.get("user_metadata") or {})
        user.app_metadata = merged(user.app_metadata, body.get("app_metadata") or {})
        self._apply(user, body)
        self._people.touch(user)
        return json_reply(200, user.shown())

    def _delete_user(self, request: ServiceRequest) -> Reply:
        user = self._named(request)
        for session in self._people.sessions_of(user.id):
            del self._people.sessions[session.id]
        if request.json().get("should_soft_delete"):
            user.times["deleted_at"] = self.now()
            user.email = user.phone = ""
            user.password = None
            user.identities = []
            user.user_metadata, user.app_metadata = {}, {}
        else:
            del self._people.users[user.id]
        return json_reply(200, {})

    def _invite(self, request: ServiceRequest) -> Reply:
        body = request.json()
        user = self._invited(valid_email(body.get("email")), body.get("data"))
        self._send(user, "invite", "confirmation", request, None)
        return json_reply(200, user.shown())

    def _generate_link(self, request: ServiceRequest) -> Reply:
        body = request.json()
        kind, email = body.get("type"), valid_email(body.get("email"))
        if kind not in LINKS:
            message = f"Invalid email action link type requested: {kind}"
            raise AuthError(400, "validation_failed", message)
        user = self.find(email)
        if user is None and kind == "magiclink":
            kind = "signup"
            user = self._people.add(email=email, user_metadata=body.get("data"))
        if kind == "invite":
            user = self._invited(email, body.get("data"))
        elif kind == "signup":
            user = self._to_sign_up(user, email, body)
        if user is None:
            raise AuthError(404, "user_not_found", "User with this email not found")
        receiver = email
        if kind.startswith("email_change"):
            user.new_email = valid_email(body.get("new_email"))
            self._check_free(user, email=user.new_email)
            receiver = email if kind == "email_change_current" else user.new_email
        sent = self._send(user, kind, LINKS[kind], request, None, receiver)
        # The caller sends this one.
        self.outbox.remove(sent)
        link = (
            sent.link.replace(f"type={kind}", "type=email_change") if user.new_email else sent.link
        )
        extra = {
            "action_link": link,
            "email_otp": sent.otp,
            "hashed_token": sent.token_hash,
            "verification_type": kind,
            "redirect_to": request.query.get("redirect_to") or self.site_url,
        }
        return json_reply(200, {**user.shown(), **extra})

    def _to_sign_up(self, user: User | None, email: str, body: dict[str, Any]) -> User:
        if user is None:
            self._check_password(body.get("password"))
            return self._people.add(
                email=email, password=body.get("password"), user_metadata=body.get("data")
            )
        if user.confirmed:
            self._taken()
        return user

    def _invited(self, email: str, data: Any) -> User:
        user = self.find(email)
        if user is None:
            user = self._people.add(email=email, user_metadata=data)
        elif user.confirmed:
            self._taken()
        user.times["invited_at"] = self.now()
        return user

    def _taken(self) -> None:
        message = "A user with this email address has already been registered"
        raise AuthError(422, "email_exists", message)

    def _apply(self, user: User, body: dict[str, Any]) -> None:
        if body.get("email_confirm"):
            self._people.confirm(user)
        if body.get("phone_confirm"):
            self._people.confirm(user, "phone")
        if body.get("ban_duration"):
            seconds = _duration_s(body["ban_duration"])
            if seconds:
                user.times["banned_until"] = self.now() + seconds
            else:
                user.times.pop("banned_until", None)

    def _named(self, request: ServiceRequest) -> User:
        user_id = request.segments[2]
        if not _is_uuid(user_id):
            raise AuthError(404, "validation_failed", "user_id must be an UUID")
        user = self._people.users.get(user_id)
        if user is None:
            raise AuthError(404, "user_not_found", "User not found")
        return user


def _positive(text: str | None, default: int) -> int:
    if not text:
        return default
    if not text.isdigit() or int(text) < 1:
        message = f'Bad Pagination Parameters: strconv.ParseUint: parsing "{text}": invalid syntax'
        raise AuthError(400, "validation_failed", message)
    return int(text)


def _is_uuid(text: Any) -> bool:
    try:
        uuid.UUID(str(text))
    except ValueError:
        return False
    return True


def _duration_s(text: str) -> float:
    if text == "none":
        return 0.0
    parts = re.findall(r"(\d+(?:\.\d+)?)([hms])", text)
    if not parts or "".join(n + u for n, u in parts) != text:
        message = f'invalid format for ban duration: time: invalid duration "{text}"'
        raise AuthError(400, "validation_failed", message)
    return sum(float(number) * _SECONDS[unit] for number, unit in parts)
