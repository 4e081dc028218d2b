"""Users, sessions and the one-time tokens sent to them."""

from __future__ import annotations

import hashlib
import re
import secrets
import string
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from pytest_truasync.supabase._jwt import Keyring

__all__ = ["AuthError", "Directory", "Message", "OneTimeToken", "Session", "User"]

EMAIL = re.compile(r"[^@\s]+@[^@\s]+\.[^@\s.]+")
#: Seconds in which the token before the last may be used once more: two tabs of one browser.
REUSE_INTERVAL_S = 10
OTP_LIFETIME_S = 3600


class AuthError(Exception):
    """A refusal of the auth service.

    Attributes:
        status: The HTTP status.
        code: One of the service's error codes.
        message: Its words.
        extra: More keys of the body.
    """

    def __init__(
        self, status: int, code: str, message: str, extra: Mapping[str, Any] | None = None
    ) -> None:
        super().__init__(f"{status} {code}: {message}")
        self.status = status
        self.code = code
        self.message = message
        self.extra = dict(extra or {})


@dataclass(slots=True)
class User:
    """A user as stored; the password is plain text, for nobody real has it."""

    id: str
    email: str = ""
    phone: str = ""
    password: str | None = field(default=None, repr=False)
    role: str = "authenticated"
    user_metadata: dict[str, Any] = field(default_factory=dict)
    app_metadata: dict[str, Any] = field(default_factory=dict)
    identities: list[dict[str, Any]] = field(default_factory=list)
    is_anonymous: bool = False
    new_email: str = ""
    #: Name of the API's time → seconds since the epoch: ``created_at``, ``banned_until``, ...
    times: dict[str, float] = field(default_factory=dict)

    @property
    def confirmed(self) -> bool:
        """True for a user who may sign in by e-mail."""
        return "email_confirmed_at" in self.times

    def shown(self) -> dict[str, Any]:
        """Return the user as the API shows it."""
        times = {name: iso(at) for name, at in self.times.items()}
        confirmed = times.get("email_confirmed_at", times.get("phone_confirmed_at"))
        if confirmed is not None:
            times["confirmed_at"] = confirmed
        return {
            "id": self.id,
            "aud": "authenticated",
            "role": self.role,
            "email": self.email,
            "phone": self.phone,
            **({"new_email": self.new_email} if self.new_email else {}),
            **times,
            "app_metadata": self.app_metadata,
            "user_metadata": self.user_metadata,
            "identities": self.identities,
            "is_anonymous": self.is_anonymous,
        }


@dataclass(slots=True)
class Session:
    """One sign-in.

    Attributes:
        refresh_token: The token that is good for the next refresh.
        used: Earlier refresh tokens → when they were used.
    """

    id: str
    user_id: str
    method: str
    started_at: float
    refresh_token: str
    used: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class OneTimeToken:
    """A code that proves that its receiver reads a mailbox or a phone."""

    user_id: str
    purpose: str
    receiver: str
    otp: str
    sent_at: float
    challenge: tuple[str, str] | None = None


@dataclass(frozen=True, slots=True)
class Message:
    """A mail or text message that the service would have sent.

    Attributes:
        to: The address or phone number.
        kind: ``signup``, ``magiclink``, ``recovery``, ``invite``, ``email_change``, ``sms`` or
            ``reauthentication``.
        otp: The code of six digits.
        token_hash: What a link carries instead of the code.
        link: The link; empty in a text message.
    """

    to: str
    kind: str
    otp: str
    token_hash: str
    link: str


class Directory:
    """All users and sessions of one project."""

    def __init__(self, keyring: Keyring) -> None:
        self.keyring = keyring
        self.users: dict[str, User] = {}
        self.sessions: dict[str, Session] = {}
        self.tokens: dict[str, OneTimeToken] = {}

    def now(self) -> float:
        """Return the service's time, in seconds since the epoch."""
        return self.keyring.now()

    def find(self, receiver: str) -> User | None:
        """Return the user with this e-mail or phone."""
        wanted = receiver.lower()
        return next(
            (u for u in self.users.values() if wanted and wanted in (u.email, u.phone)), None
        )

    def add(
        self,
        *,
        email: str = "",
        phone: str = "",
        password: str | None = None,
        user_metadata: Mapping[str, Any] | None = None,
        app_metadata: Mapping[str, Any] | None = None,
        role: str = "authenticated",
        user_id: str | None = None,
        anonymous: bool = False,
    ) -> User:
        """Create a user, not confirmed yet."""
        now = self.now()
        providers = [name for name, value in (("email", email), ("phone", phone)) if value]
        named = {"provider": providers[0], "providers": providers} if providers else {}
        user = User(
            id=user_id or str(uuid.uuid4()),
            email=email,
            phone=phone,
            password=password,
            role=role,
            user_metadata=dict(user_metadata or {}),
            app_metadata={**named, **(app_metadata or {})},
            is_anonymous=anonymous,
            times={"created_at": now, "updated_at": now},
        )
        user.identities = [
            self.identity(user, provider, email if provider == "email" else phone)
            for provider in providers
        ]
        self.users[user.id] = user
        return user

    def identity(self, user: User, provider: str, receiver: str) -> dict[str, Any]:
        """Return a new identity of *user*."""
        now = iso(self.now())
        return {
            "identity_id": str(uuid.uuid4()),
            "id": user.id,
            "user_id": user.id,
            "identity_data": {
                provider: receiver,
                "email_verified": False,
                "phone_verified": False,
                "sub": user.id,
            },
            "provider": provider,
            "last_sign_in_at": now,
            "created_at": now,
            "updated_at": now,
            **({"email": receiver} if provider == "email" else {}),
        }

    def confirm(self, user: User, provider: str = "email") -> None:
        """Note that *user* reads their mail, or has their phone."""
        user.times.setdefault(f"{provider}_confirmed_at", self.now())
        user.user_metadata[f"{provider}_verified"] = True
        for identity in user.identities:
            if identity["provider"] == provider:
                identity["identity_data"][f"{provider}_verified"] = True

    def touch(self, user: User) -> None:
        """Note that *user* was changed."""
        user.times["updated_at"] = self.now()

    def banned(self, user: User) -> bool:
        """Tell whether *user* may not sign in now."""
        return user.times.get("banned_until", 0.0) > self.now()

    def start_session(self, user: User, method: str) -> Session:
        """Sign *user* in."""
        now = self.now()
        session = Session(str(uuid.uuid4()), user.id, method, now, refresh_token())
        self.sessions[session.id] = session
        user.times["last_sign_in_at"] = now
        return session

    def refresh(self, token: str) -> Session:
        """Return the session of a refresh token, which is replaced.

        Raises:
            AuthError: There is none, or the token was used before.
        """
        now = self.now()
        for session in self.sessions.values():
            if session.refresh_token == token:
                session.used[token] = now
                session.refresh_token = refresh_token()
                return session
            if token in session.used:
                newest = max(session.used, key=session.used.__getitem__)
                if token == newest and now - session.used[token] <= REUSE_INTERVAL_S:
                    return session
                # A stolen token: neither the thief nor the owner keeps the session.
                del self.sessions[session.id]
                raise AuthError(
                    400, "refresh_token_already_used", "Invalid Refresh Token: Already Used"
                )
        raise AuthError(
            400, "refresh_token_not_found", "Invalid Refresh Token: Refresh Token Not Found"
        )

    def sessions_of(self, user_id: str) -> Iterator[Session]:
        """Yield the sessions of a user."""
        yield from [s for s in self.sessions.values() if s.user_id == user_id]

    def issue(
        self,
        user: User,
        purpose: str,
        receiver: str,
        challenge: tuple[str, str] | None = None,
    ) -> tuple[str, str]:
        """Make a one-time token, in place of earlier ones for the same; return code and hash."""
        for old in [
            digest
            for digest, token in self.tokens.items()
            if (token.user_id, token.purpose, token.receiver) == (user.id, purpose, receiver)
        ]:
            del self.tokens[old]
        otp = "".join(secrets.choice(string.digits) for _ in range(6))
        prefix = "" if challenge is None else "pkce_"
        digest = prefix + token_hash(receiver, otp)
        self.tokens[digest] = OneTimeToken(user.id, purpose, receiver, otp, self.now(), challenge)
        return otp, digest

    def redeem(self, digest: str, purposes: tuple[str, ...]) -> OneTimeToken | None:
        """Use a one-time token up; None if there is none, or it is too old."""
        for candidate in (digest, f"pkce_{digest}"):
            token = self.tokens.get(candidate)
            if token is not None and token.purpose in purposes:
                del self.tokens[candidate]
                return token if self.now() - token.sent_at <= OTP_LIFETIME_S else None
        return None


def iso(at: float) -> str:
    """Return a time as the API shows it."""
    return datetime.fromtimestamp(at, UTC).isoformat().replace("+00:00", "Z")


def refresh_token() -> str:
    """Return a new refresh token: twelve letters and digits."""
    alphabet = string.ascii_lowercase + string.digits
    return "".join(secrets.choice(alphabet) for _ in range(12))


def token_hash(receiver: str, otp: str) -> str:
    """Return what the service stores of a code."""
    return hashlib.sha224((receiver + otp).encode()).hexdigest()


def valid_email(email: Any) -> str:
    """Return *email*, lower case.

    Raises:
        AuthError: It is not one.
    """
    if not email:
        raise AuthError(400, "validation_failed", "An email address is required")
    if not isinstance(email, str) or not EMAIL.fullmatch(email):
        raise AuthError(
            400, "validation_failed", "Unable to validate email address: invalid format"
        )
    return email.lower()


def valid_phone(phone: Any) -> str:
    """Return *phone*, its digits alone.

    Raises:
        AuthError: It is not one.
    """
    digits = re.sub(r"[\s+]", "", phone) if isinstance(phone, str) else ""
    if not re.fullmatch(r"[1-9]\d{1,14}", digits):
        raise AuthError(400, "validation_failed", "Invalid phone number format (E.164 required)")
    return digits


def merged(data: dict[str, Any], update: Mapping[str, Any]) -> dict[str, Any]:
    """Return *data* with *update*; a null takes a key away."""
    return {name: value for name, value in {**data, **update}.items() if value is not None}
