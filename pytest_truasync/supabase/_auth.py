"""The auth service: sign-up to sign-out, as Supabase Auth answers."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Callable, Mapping
from typing import Any

from pytest_truasync.supabase._auth_admin import AdminPart
from pytest_truasync.supabase._auth_base import challenge_of
from pytest_truasync.supabase._auth_mail import MailPart
from pytest_truasync.supabase._auth_users import (
    AuthError,
    Directory,
    User,
    iso,
    merged,
    valid_email,
    valid_phone,
)
from pytest_truasync.supabase._engine import Reply
from pytest_truasync.supabase._wire import MALFORMED, ServiceRequest, json_reply, not_modelled

__all__ = ["AuthServer", "User"]

API_VERSION = "2024-01-01"

#: Method and path → the method that answers; ``*`` stands for one part of the path.
ROUTES: Mapping[tuple[str, str], str] = {
    ("GET", "health"): "_health",
    ("GET", "settings"): "_settings",
    ("GET", ".well-known/jwks.json"): "_jwks",
    ("POST", "signup"): "_sign_up",
    ("POST", "token"): "_token",
    ("POST", "logout"): "_log_out",
    ("GET", "user"): "_get_user",
    ("PUT", "user"): "_update_user",
    ("GET", "reauthenticate"): "_reauthenticate",
    ("POST", "otp"): "_otp",
    ("POST", "magiclink"): "_otp",
    ("POST", "recover"): "_recover",
    ("POST", "resend"): "_resend",
    ("POST", "verify"): "_verify",
    ("GET", "verify"): "_follow_link",
    ("POST", "invite"): "_invite",
    ("GET", "admin/users"): "_list_users",
    ("POST", "admin/users"): "_create_user",
    ("GET", "admin/users/*"): "_read_user",
    ("PUT", "admin/users/*"): "_change_user",
    ("DELETE", "admin/users/*"): "_delete_user",
    ("POST", "admin/generate_link"): "_generate_link",
}

#: First part of a path that the true service answers and this one does not → what it is.
NOT_MODELLED = {
    "authorize": "sign-in through another provider (OAuth)",
    "callback": "sign-in through another provider (OAuth)",
    "sso": "single sign-on",
    "saml": "single sign-on",
    "factors": "multi-factor authentication",
    "passkeys": "passkeys",
    "oauth": "the OAuth server",
    "scim": "SCIM",
    "user": "linked identities",
    "admin": "this part of the admin API",
}


class AuthServer(AdminPart, MailPart):
    """The auth service of one project.

    See `AuthBase` for what can be set.
    """

    # For the test

    @property
    def users(self) -> list[User]:
        """The users, oldest first."""
        return list(self._people.users.values())

    def advance(self, seconds: float) -> None:
        """Move the project's clock on, so that tokens expire; the process's clock stays."""
        self._offset_s += seconds

    def use_rs256(self) -> None:
        """Sign tokens with an RSA key from now on, published as JWKS."""
        self._keyring.algorithm = "RS256"
        self._keyring.jwks()

    def add_user(
        self,
        email: str = "",
        *,
        phone: str = "",
        password: str | None = None,
        user_metadata: Mapping[str, Any] | None = None,
        app_metadata: Mapping[str, Any] | None = None,
        role: str = "authenticated",
        confirmed: bool = True,
        id: str | None = None,  # noqa: A002 the column's name
    ) -> User:
        """Create a user at set-up.

        Raises:
            ValueError: Neither an e-mail nor a phone, or they have one already.
        """
        email = email.lower()
        if not (email or phone):
            raise ValueError("a user has an e-mail or a phone")
        if self.find(email or phone) is not None:
            raise ValueError(f"there is a user {email or phone!r} already")
        user = self._people.add(
            email=email,
            phone=phone,
            password=password,
            user_metadata=user_metadata,
            app_metadata=app_metadata,
            role=role,
            user_id=id,
        )
        if confirmed:
            for provider in ("email", "phone"):
                if getattr(user, provider):
                    self._people.confirm(user, provider)
        return user

    # The service

    def answer(self, request: ServiceRequest) -> Reply:
        """Answer one request."""
        version = request.headers.get("x-supabase-api-version", "")
        try:
            return self._route(request)
        except AuthError as error:
            return _refusal(error, modern=version >= API_VERSION)
        except MALFORMED as error:
            message = f"Could not parse request body as JSON: {error}"
            return _refusal(AuthError(400, "bad_json", message), modern=version >= API_VERSION)

    def _route(self, request: ServiceRequest) -> Reply:
        path = request.path.strip("/")
        parts = path.split("/")
        pattern = "/".join([*parts[:2], "*"]) if parts[0] == "admin" and len(parts) == 3 else path
        name = ROUTES.get((request.method, pattern))
        if name is not None:
            if parts[0] in ("admin", "invite"):
                self._require_admin(request)
            handler: Callable[[ServiceRequest], Reply] = getattr(self, name)
            return handler(request)
        if any(path == known for _, known in ROUTES):
            return json_reply(405, {"code": 405, "msg": "Method not allowed"})
        if parts[0] in NOT_MODELLED:
            return not_modelled(NOT_MODELLED[parts[0]])
        return Reply(404, (("content-type", "text/plain"),), b"404 page not found\n")

    def _health(self, request: ServiceRequest) -> Reply:
        description = "GoTrue is a user registration and authentication API"
        return json_reply(200, {"version": "v2.0.0", "name": "GoTrue", "description": description})

    def _settings(self, request: ServiceRequest) -> Reply:
        external = {"email": True, "phone": True, "anonymous_users": self.allow_anonymous}
        return json_reply(
            200,
            {
                "external": external,
                "disable_signup": not self.allow_signup,
                "mailer_autoconfirm": self.autoconfirm,
                "phone_autoconfirm": self.autoconfirm,
                "sms_provider": "",
                "saml_enabled": False,
            },
        )

    def _jwks(self, request: ServiceRequest) -> Reply:
        return json_reply(200, self._keyring.jwks())

    def _sign_up(self, request: ServiceRequest) -> Reply:
        body = request.json()
        if not self.allow_signup:
            raise AuthError(422, "signup_disabled", "Signups not allowed for this instance")
        data = body.get("data") or {}
        if not body.get("email") and not body.get("phone"):
            return self._sign_up_anonymously(data, body)
        self._check_password(body.get("password"))
        if body.get("email") and body.get("phone"):
            message = "Only an email address or phone number should be provided on signup."
            raise AuthError(400, "validation_failed", message)
        provider = "email" if body.get("email") else "phone"
        receiver = valid_email(body["email"]) if provider == "email" else valid_phone(body["phone"])
        user = self.find(receiver)
        if user is not None and f"{provider}_confirmed_at" in user.times:
            if self.autoconfirm:
                raise AuthError(422, "user_already_exists", "User already registered")
            return json_reply(200, self._look_alike(provider, receiver, data))
        if user is None:
            user = self._people.add(
                email=receiver if provider == "email" else "",
                phone=receiver if provider == "phone" else "",
                password=body["password"],
                user_metadata=data,
            )
            user.user_metadata |= user.identities[0]["identity_data"]
            user.identities[0]["identity_data"] |= data
        if self.autoconfirm:
            self._people.confirm(user, provider)
            return json_reply(200, self.sign_in(user))
        if provider == "email":
            self._send(user, "signup", "confirmation", request, challenge_of(body))
        else:
            self._text(user, "sms", user.phone)
        return json_reply(200, user.shown())

    def _sign_up_anonymously(self, data: Mapping[str, Any], body: Mapping[str, Any]) -> Reply:
        if body.get("password"):
            message = "To signup, please provide your email or phone number"
            raise AuthError(422, "validation_failed", message)
        if not self.allow_anonymous:
            message = "Anonymous sign-ins are disabled"
            raise AuthError(422, "anonymous_provider_disabled", message)
        user = self._people.add(user_metadata=data, anonymous=True)
        return json_reply(
            200, self._session_of(user, self._people.start_session(user, "anonymous"))
        )

    def _look_alike(self, provider: str, receiver: str, data: Mapping[str, Any]) -> dict[str, Any]:
        # Nobody may find out who has an account: a user that does not exist, in the same shape.
        fake = Directory(self._keyring).add(user_metadata=data, **{provider: receiver})  # type: ignore[arg-type]
        shown = {**fake.shown(), "identities": [], "role": ""}
        return {**shown, "confirmation_sent_at": iso(self.now())}

    def _token(self, request: ServiceRequest) -> Reply:
        grant = request.query.get("grant_type")
        body = request.json()
        if grant == "password":
            return json_reply(200, self.sign_in(self._by_password(body)))
        if grant == "refresh_token":
            token = body.get("refresh_token")
            if not isinstance(token, str) or len(token) < 12:
                raise AuthError(400, "validation_failed", "Refresh token is not valid")
            session = self._people.refresh(token)
            user = self._people.users[session.user_id]
            if self._people.banned(user):
                raise AuthError(400, "user_banned", "Invalid Refresh Token: User Banned")
            return json_reply(200, self._session_of(user, session))
        if grant == "pkce":
            return json_reply(200, self._by_code(body))
        if grant in ("id_token", "web3"):
            return not_modelled(f"the grant {grant!r}")
        raise AuthError(400, "invalid_credentials", "unsupported_grant_type")

    def _by_password(self, body: Mapping[str, Any]) -> User:
        email, phone = body.get("email"), body.get("phone")
        if email and phone:
            message = "Only an email address or phone number should be provided on login."
            raise AuthError(400, "validation_failed", message)
        if not email and not phone:
            raise AuthError(400, "validation_failed", "missing email or phone")
        user = self.find(str(email) if email else re.sub(r"[\s+]", "", str(phone)))
        if user is None or user.password is None:
            raise AuthError(400, "invalid_credentials", "Invalid login credentials")
        if self._people.banned(user):
            raise AuthError(400, "user_banned", "User is banned")
        if user.password != body.get("password"):
            raise AuthError(400, "invalid_credentials", "Invalid login credentials")
        provider = "email" if email else "phone"
        if f"{provider}_confirmed_at" not in user.times:
            message = f"{provider.capitalize()} not confirmed"
            raise AuthError(400, f"{provider}_not_confirmed", message)
        return user

    def _by_code(self, body: Mapping[str, Any]) -> dict[str, Any]:
        code, verifier = body.get("auth_code"), body.get("code_verifier")
        if not code or not verifier:
            message = "invalid request: both auth code and code verifier should be non-empty"
            raise AuthError(400, "validation_failed", message)
        if code not in self._codes:
            message = "invalid flow state, no valid flow state found"
            raise AuthError(404, "flow_state_not_found", message)
        user_id, (method, challenge) = self._codes[code]
        digest = hashlib.sha256(str(verifier).encode()).digest()
        hashed = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
        if challenge != (verifier if method == "plain" else hashed):
            message = "code challenge does not match previously saved code verifier"
            raise AuthError(400, "bad_code_verifier", message)
        del self._codes[code]
        return self.sign_in(self._people.users[user_id])

    def _log_out(self, request: ServiceRequest) -> Reply:
        user, session = self._signed_in(request)
        scope = request.query.get("scope") or "global"
        if scope not in ("global", "local", "others"):
            raise AuthError(400, "validation_failed", f'Unsupported logout scope "{scope}"')
        for other in self._people.sessions_of(user.id):
            mine = session is not None and other.id == session.id
            if scope == "global" or mine == (scope == "local"):
                del self._people.sessions[other.id]
        return Reply(204, (), b"")

    def _get_user(self, request: ServiceRequest) -> Reply:
        user, _ = self._signed_in(request)
        return json_reply(200, user.shown())

    def _update_user(self, request: ServiceRequest) -> Reply:
        user, _ = self._signed_in(request)
        body = request.json()
        if body.get("app_metadata") is not None:
            message = "Updating app_metadata requires admin privileges"
            raise AuthError(403, "not_admin", message)
        email = valid_email(body["email"]) if body.get("email") else user.email
        phone = valid_phone(body["phone"]) if body.get("phone") else user.phone
        if body.get("password") is not None:
            self._check_password(body["password"])
            if body["password"] == user.password:
                message = "New password should be different from the old password."
                raise AuthError(422, "same_password", message)
        self._check_free(user, email=email, phone=phone)
        if body.get("password") is not None:
            user.password = body["password"]
        if body.get("data"):
            user.user_metadata = merged(user.user_metadata, body["data"])
        if email != user.email:
            self._change_email(user, email, request, challenge_of(body))
        if phone != user.phone:
            if self.autoconfirm:
                self._set_phone(user, phone)
            else:
                self._text(user, "phone_change", phone)
        self._people.touch(user)
        return json_reply(200, user.shown())

    def _change_email(
        self,
        user: User,
        email: str,
        request: ServiceRequest,
        challenge: tuple[str, str] | None,
    ) -> None:
        user.new_email = email
        if self.autoconfirm:
            self._set_email(user, email)
            return
        user.times["email_change_sent_at"] = self.now()
        # Both the old and the new address have to agree.
        for receiver in (user.email, email) if user.email else (email,):
            self._send(user, "email_change", "email_change", request, challenge, receiver)


def _refusal(error: AuthError, *, modern: bool) -> Reply:
    if modern:
        body = {"code": error.code, "message": error.message, **error.extra}
        return json_reply(error.status, body, {"x-supabase-api-version": API_VERSION})
    body = {"code": error.status, "error_code": error.code, "msg": error.message, **error.extra}
    return json_reply(error.status, body)
