"""What the parts of the auth service share: its state, sessions, and mails."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

from pytest_truasync.supabase._auth_users import AuthError, Directory, Message, Session, User
from pytest_truasync.supabase._jwt import Keyring, TokenError
from pytest_truasync.supabase._wire import ServiceRequest

__all__ = ["AuthBase", "challenge_of"]

MAX_PASSWORD = 72


class AuthBase:
    """The state of the service, and what its handlers have in common.

    Attributes:
        autoconfirm: Let people sign in without a mail to confirm, as `supabase start` does.
        allow_anonymous: Let people sign in without an e-mail; the platform's default is not to.
        allow_signup: Let people sign up.
        min_password: The length that a password needs.
        token_lifetime_s: Seconds that an access token is good for.
        site_url: Where links of mails lead to, when a request names no place.
        outbox: The mails and text messages "sent", in order.
    """

    def __init__(self, url: str, keyring: Keyring) -> None:
        self._url = url
        self._keyring = keyring
        self._offset_s = 0.0
        self._clock = keyring.now
        keyring.now = self.now
        self._people = Directory(keyring)
        self._codes: dict[str, tuple[str, tuple[str, str]]] = {}
        self.autoconfirm = True
        self.allow_anonymous = False
        self.allow_signup = True
        self.min_password = 6
        self.token_lifetime_s = 3600
        self.site_url = "http://localhost:3000"
        self.outbox: list[Message] = []

    def now(self) -> float:
        """Return the project's time, in seconds since the epoch."""
        return self._clock() + self._offset_s

    def find(self, receiver: str) -> User | None:
        """Return the user with this e-mail or phone; None if there is none."""
        return self._people.find(receiver)

    def sign_in(self, user: User) -> dict[str, Any]:
        """Sign *user* in without a password; return the session as the API shows it."""
        return self._session_of(user, self._people.start_session(user, "password"))

    def _signed_in(self, request: ServiceRequest) -> tuple[User, Session | None]:
        if not request.token:
            message = "This endpoint requires a valid Bearer token"
            raise AuthError(401, "no_authorization", message)
        try:
            claims = self._keyring.identify(request.token).claims
            # The service allows no skew of clocks, other than PostgREST.
            if claims.get("exp", 0) <= self.now():
                raise TokenError("PGRST303", "token is expired")
        except TokenError as error:
            message = f"invalid JWT: unable to parse or verify signature, {error.message}"
            raise AuthError(403, "bad_jwt", message) from error
        if not claims.get("sub"):
            raise AuthError(403, "bad_jwt", "invalid claim: missing sub claim")
        user = self._people.users.get(str(claims["sub"]))
        if user is None:
            message = "User from sub claim in JWT does not exist"
            raise AuthError(403, "user_not_found", message)
        if self._people.banned(user):
            raise AuthError(403, "user_banned", "User is banned")
        session_id = claims.get("session_id")
        session = self._people.sessions.get(str(session_id)) if session_id else None
        if session_id and session is None:
            message = "Session from session_id claim in JWT does not exist"
            raise AuthError(403, "session_not_found", message)
        return user, session

    def _session_of(self, user: User, session: Session) -> dict[str, Any]:
        now = int(self.now())
        claims = {
            "iss": f"{self._url}/auth/v1",
            "sub": user.id,
            "aud": "authenticated",
            "exp": now + self.token_lifetime_s,
            "iat": now,
            "email": user.email,
            "phone": user.phone,
            "app_metadata": user.app_metadata,
            "user_metadata": user.user_metadata,
            "role": user.role,
            "aal": "aal1",
            "amr": [{"method": session.method, "timestamp": int(session.started_at)}],
            "session_id": session.id,
            "is_anonymous": user.is_anonymous,
        }
        return {
            "access_token": self._keyring.sign(claims),
            "token_type": "bearer",
            "expires_in": self.token_lifetime_s,
            "expires_at": now + self.token_lifetime_s,
            "refresh_token": session.refresh_token,
            "user": user.shown(),
        }

    def _check_password(self, password: Any) -> None:
        if not password or not isinstance(password, str):
            raise AuthError(400, "validation_failed", "Signup requires a valid password")
        if len(password) > MAX_PASSWORD:
            message = f"Password cannot be longer than {MAX_PASSWORD} characters"
            raise AuthError(400, "validation_failed", message)
        if len(password) < self.min_password:
            message = f"Password should be at least {self.min_password} characters."
            extra = {"weak_password": {"reasons": ["length"]}}
            raise AuthError(422, "weak_password", message, extra)

    def _check_free(self, user: User | None, *, email: str = "", phone: str = "") -> None:
        for kind, value, noun in (
            ("email", email, "email address"),
            ("phone", phone, "phone number"),
        ):
            other = self.find(value) if value else None
            if other is not None and other is not user:
                message = f"A user with this {noun} has already been registered"
                raise AuthError(422, f"{kind}_exists", message)

    def _set_email(self, user: User, email: str) -> None:
        self._set_identity(user, "email", email)
        user.email, user.new_email = email, ""
        user.user_metadata = {**user.user_metadata, "email": email}
        user.is_anonymous = False
        self._people.confirm(user)

    def _set_phone(self, user: User, phone: str) -> None:
        self._set_identity(user, "phone", phone)
        user.phone = phone
        user.is_anonymous = False
        self._people.confirm(user, "phone")

    def _set_identity(self, user: User, provider: str, receiver: str) -> None:
        for identity in user.identities:
            if identity["provider"] == provider:
                identity["identity_data"][provider] = receiver
                if provider == "email":
                    identity["email"] = receiver
                return
        user.identities.append(self._people.identity(user, provider, receiver))

    def _send(
        self,
        user: User,
        kind: str,
        purpose: str,
        request: ServiceRequest,
        challenge: tuple[str, str] | None,
        receiver: str | None = None,
    ) -> Message:
        receiver = user.email if receiver is None else receiver
        otp, digest = self._people.issue(user, purpose, receiver, challenge)
        sent = "confirmation_sent_at" if purpose == "confirmation" else "recovery_sent_at"
        if purpose in ("confirmation", "recovery"):
            user.times[sent] = self.now()
        to = request.query.get("redirect_to") or self.site_url
        query = urlencode({"token": digest, "type": kind, "redirect_to": to})
        message = Message(receiver, kind, otp, digest, f"{self._url}/auth/v1/verify?{query}")
        self.outbox.append(message)
        return message

    def _text(self, user: User, purpose: str, phone: str) -> str:
        otp, digest = self._people.issue(user, purpose, phone)
        self.outbox.append(Message(phone, purpose, otp, digest, ""))
        return digest


def challenge_of(body: Mapping[str, Any]) -> tuple[str, str] | None:
    """Return method and challenge of a PKCE request; None without."""
    challenge = body.get("code_challenge")
    return (str(body.get("code_challenge_method") or "plain"), challenge) if challenge else None
