"""Codes and links sent by mail or SMS, and what they open."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from urllib.parse import urlencode

from pytest_truasync.supabase._auth_base import AuthBase, challenge_of
from pytest_truasync.supabase._auth_users import (
    AuthError,
    OneTimeToken,
    User,
    token_hash,
    valid_email,
    valid_phone,
)
from pytest_truasync.supabase._engine import Reply
from pytest_truasync.supabase._wire import ServiceRequest, json_reply

__all__ = ["MailPart"]

#: Kind of a request to verify → purposes of the tokens that are good for it.
PURPOSES: Mapping[str, tuple[str, ...]] = {
    "signup": ("confirmation",),
    "invite": ("confirmation",),
    "recovery": ("recovery",),
    "magiclink": ("recovery",),
    "email": ("confirmation", "recovery"),
    "email_change": ("email_change",),
    "sms": ("sms",),
    "phone_change": ("phone_change",),
}


class MailPart(AuthBase):
    """Handlers of ``/otp``, ``/recover``, ``/resend``, ``/verify`` and ``/reauthenticate``."""

    def _reauthenticate(self, request: ServiceRequest) -> Reply:
        user, _ = self._signed_in(request)
        self._send(user, "reauthentication", "reauthentication", request, None)
        return json_reply(200, {})

    def _otp(self, request: ServiceRequest) -> Reply:
        body = request.json()
        if bool(body.get("email")) == bool(body.get("phone")):
            message = "One of email or phone must be set"
            raise AuthError(400, "validation_failed", message)
        provider = "email" if body.get("email") else "phone"
        receiver = valid_email(body["email"]) if provider == "email" else valid_phone(body["phone"])
        user = self.find(receiver)
        if user is None:
            if body.get("create_user") is False or not self.allow_signup:
                raise AuthError(422, "otp_disabled", "Signups not allowed for otp")
            user = self._people.add(user_metadata=body.get("data"), **{provider: receiver})  # type: ignore[arg-type]
            if self.autoconfirm and provider == "email":
                self._people.confirm(user)
        if provider == "phone":
            digest = self._text(user, "sms", user.phone)
            return json_reply(200, {"message_id": digest[:32]})
        kind, purpose = ("magiclink", "recovery") if user.confirmed else ("signup", "confirmation")
        self._send(user, kind, purpose, request, challenge_of(body))
        return json_reply(200, {})

    def _recover(self, request: ServiceRequest) -> Reply:
        body = request.json()
        if not body.get("email"):
            raise AuthError(400, "validation_failed", "Password recovery requires an email")
        user = self.find(valid_email(body["email"]))
        if user is not None:
            self._send(user, "recovery", "recovery", request, challenge_of(body))
        return json_reply(200, {})

    def _resend(self, request: ServiceRequest) -> Reply:
        body = request.json()
        kind = body.get("type")
        if kind not in ("signup", "email_change", "sms", "phone_change"):
            message = "Missing one of these types: signup, email_change, sms, phone_change"
            raise AuthError(400, "validation_failed", message)
        user = self.find(str(body.get("email") or body.get("phone") or ""))
        if user is None:
            return json_reply(200, {})
        if kind == "signup" and not user.confirmed:
            self._send(user, "signup", "confirmation", request, None)
        elif kind == "email_change" and user.new_email:
            for receiver in (user.email, user.new_email):
                self._send(user, "email_change", "email_change", request, None, receiver)
        elif kind == "sms" and "phone_confirmed_at" not in user.times:
            return json_reply(200, {"message_id": self._text(user, "sms", user.phone)[:32]})
        return json_reply(200, {})

    def _verify(self, request: ServiceRequest) -> Reply:
        body = request.json()
        kind = body.get("type")
        if not kind:
            raise AuthError(400, "validation_failed", "Verify requires a verification type")
        if bool(body.get("token")) == bool(body.get("token_hash")):
            message = "Verify requires either a token or a token hash"
            raise AuthError(400, "validation_failed", message)
        if kind not in PURPOSES:
            raise AuthError(400, "validation_failed", "Unsupported verification type")
        if body.get("token_hash"):
            digest = str(body["token_hash"])
        else:
            phone, email = body.get("phone"), body.get("email")
            if bool(phone) == bool(email):
                message = "Only an email address or phone number should be provided on verify"
                raise AuthError(400, "validation_failed", message)
            receiver = valid_phone(phone) if phone else valid_email(email)
            digest = token_hash(receiver, str(body["token"]))
        token = self._people.redeem(digest, PURPOSES[kind])
        if token is None or token.user_id not in self._people.users:
            by_link = "Email link is invalid or has expired"
            by_code = "Token has expired or is invalid"
            raise AuthError(403, "otp_expired", by_link if body.get("token_hash") else by_code)
        user = self._proved(token)
        if user is None:
            message = (
                "Confirmation link accepted. Please proceed to confirm link sent to the other email"
            )
            return json_reply(200, {"msg": message, "code": "200"})
        return json_reply(200, self._session_of(user, self._people.start_session(user, "otp")))

    def _follow_link(self, request: ServiceRequest) -> Reply:
        query = request.query
        kind, to = query.get("type", ""), query.get("redirect_to") or self.site_url
        if not query.get("token"):
            raise AuthError(400, "validation_failed", "Verify requires a token or a token hash")
        token = self._people.redeem(query["token"], PURPOSES.get(kind, ()))
        if token is None or token.user_id not in self._people.users:
            said = {
                "error": "access_denied",
                "error_code": "otp_expired",
                "error_description": "Email link is invalid or has expired",
                "sb": "",
            }
            return _redirect(f"{to}#{urlencode(said)}")
        user = self._proved(token)
        if user is None:
            return _redirect(f"{to}#{urlencode({'message': 'Confirmation link accepted.'})}")
        if token.challenge is not None:
            code = secrets.token_hex(18)
            self._codes[code] = (user.id, token.challenge)
            return _redirect(f"{to}{'&' if '?' in to else '?'}{urlencode({'code': code})}")
        session = self._session_of(user, self._people.start_session(user, "otp"))
        del session["user"]
        return _redirect(f"{to}#{urlencode({**session, 'sb': '', 'type': kind})}")

    def _proved(self, token: OneTimeToken) -> User | None:
        """Do what *token* is for; None if one more has to come."""
        user = self._people.users[token.user_id]
        if self._people.banned(user):
            raise AuthError(403, "user_banned", "User is banned")
        if token.purpose == "email_change":
            waiting = [
                t
                for t in self._people.tokens.values()
                if (t.user_id, t.purpose) == (user.id, "email_change")
            ]
            if waiting:
                return None
            self._set_email(user, user.new_email)
        elif token.purpose == "sms":
            self._people.confirm(user, "phone")
        elif token.purpose == "phone_change":
            self._set_phone(user, token.receiver)
        else:
            self._people.confirm(user)
        self._people.touch(user)
        return user


def _redirect(location: str) -> Reply:
    return Reply(303, (("location", location),), b"")
