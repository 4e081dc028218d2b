"""Who sends a request: keys and tokens → role and claims."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from types import ModuleType
from typing import Any, Literal

__all__ = ["ANON_KEY", "JWT_SECRET", "SERVICE_KEY", "Identity", "Keyring", "TokenError", "preload"]

#: The secret of `supabase start`: it protects nothing, and every tool of the local stack knows it.
JWT_SECRET = "super-secret-jwt-token-with-at-least-32-characters-long"

# Signed once with JWT_SECRET, valid until 2100: the keys are needed in every test, PyJWT is not.
_HEADER = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9"
ANON_KEY = (
    f"{_HEADER}.eyJpc3MiOiJzdXBhYmFzZSIsInJlZiI6InRydWFzeW5jIiwicm9sZSI6ImFub24iLCJpYXQiOjE3MDAw"
    "MDAwMDAsImV4cCI6NDEwMjQ0NDgwMH0.rxr-MaFfnun0FQuS92hQZdbs8eTUAOQbCSNjSpOO59I"
)
SERVICE_KEY = (
    f"{_HEADER}.eyJpc3MiOiJzdXBhYmFzZSIsInJlZiI6InRydWFzeW5jIiwicm9sZSI6InNlcnZpY2Vfcm9sZSIsIml"
    "hdCI6MTcwMDAwMDAwMCwiZXhwIjo0MTAyNDQ0ODAwfQ.c1A7fexlP8IXWJrR3Q--vSJnvIgBltNWIyTDH8RClhw"
)

#: Seconds that PostgREST lets a clock be wrong.
CLOCK_SKEW_S = 30


@dataclass(frozen=True, slots=True)
class Identity:
    """The role that a request runs as, and the claims that policies and functions see."""

    role: str
    claims: Mapping[str, Any]
    is_key: bool = False


class TokenError(Exception):
    """A token that is not accepted; each service says so in its own words.

    Attributes:
        code: PostgREST's code.
        message: PostgREST's message.
        details: PostgREST's details.
    """

    def __init__(self, code: str, message: str, details: str | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.details = details


def _identity_of_key(role: str) -> Identity:
    claims = {"iss": "supabase", "ref": "truasync", "role": role}
    return Identity(role, {**claims, "iat": 1700000000, "exp": 4102444800}, is_key=True)


class Keyring:
    """The keys of one project, and its way of signing tokens."""

    def __init__(self, *, secret: str = JWT_SECRET, now: Callable[[], float] = time.time) -> None:
        self.secret = secret
        self.algorithm: Literal["HS256", "RS256"] = "HS256"
        self.now = now
        self._keys = {
            ANON_KEY: _identity_of_key("anon"),
            SERVICE_KEY: _identity_of_key("service_role"),
            # What new projects hand out instead of two tokens.
            "sb_publishable_truasync": _identity_of_key("anon"),
            "sb_secret_truasync": _identity_of_key("service_role"),
        }
        self._verified: dict[str, Identity] = {}

    def add_key(self, key: str, role: str = "anon") -> None:
        """Let *key* be one of the project's keys."""
        self._keys[key] = _identity_of_key(role)

    def is_key(self, key: str) -> bool:
        """Tell whether *key* is one of the project's own."""
        return key in self._keys

    def identify(self, token: str) -> Identity:
        """Return whom *token* stands for.

        Raises:
            TokenError: It is malformed, signed by somebody else, or expired.
        """
        known = self._keys.get(token)
        if known is not None:
            return known
        identity = self._verified.get(token)
        if identity is None:
            claims = self._decode(token)
            identity = Identity(str(claims.get("role", "anon")), claims)
            self._verified[token] = identity
        self._check_times(identity.claims)
        return identity

    def sign(self, claims: Mapping[str, Any]) -> str:
        """Return a token with *claims*.

        Raises:
            RuntimeError: PyJWT is not installed.
        """
        headers = {"kid": RSA_KEY_ID} if self.algorithm == "RS256" else None
        key = _rsa_key() if self.algorithm == "RS256" else self.secret
        token: str = _pyjwt().encode(dict(claims), key, algorithm=self.algorithm, headers=headers)
        return token

    def jwks(self) -> dict[str, Any]:
        """Return the public keys, as ``/auth/v1/.well-known/jwks.json`` serves them."""
        if self.algorithm == "HS256":
            return {"keys": []}
        jwk = json.loads(_pyjwt().algorithms.RSAAlgorithm.to_jwk(_rsa_key().public_key()))
        return {"keys": [{**jwk, "kid": RSA_KEY_ID, "alg": "RS256", "use": "sig"}]}

    def _decode(self, token: str) -> dict[str, Any]:
        if not token:
            raise TokenError("PGRST301", "Empty JWT is sent in Authorization header")
        parts = token.count(".") + 1
        if parts != 3:
            raise TokenError("PGRST301", f"Expected 3 parts in JWT; got {parts}")
        pyjwt = _pyjwt()
        key = self.secret if self.algorithm == "HS256" else _rsa_key().public_key()
        # Only the signature: the times are judged by the project's own clock.
        options = dict.fromkeys(("verify_exp", "verify_nbf", "verify_iat", "verify_aud"), False)
        options |= {"verify_sub": False, "verify_jti": False, "verify_iss": False}
        try:
            claims: dict[str, Any] = pyjwt.decode(
                token, key, algorithms=[self.algorithm], options=options
            )
        except pyjwt.InvalidAlgorithmError as error:
            raise TokenError(
                "PGRST301", "Wrong or unsupported encoding algorithm", str(error)
            ) from error
        except pyjwt.InvalidTokenError as error:
            raise TokenError(
                "PGRST301",
                "No suitable key or wrong key type",
                "None of the keys was able to decode the JWT",
            ) from error
        return claims

    def _check_times(self, claims: Mapping[str, Any]) -> None:
        now = self.now()
        for name in ("exp", "nbf", "iat"):
            value = claims.get(name)
            if value is not None and (
                isinstance(value, bool) or not isinstance(value, int | float)
            ):
                raise TokenError("PGRST303", f"The JWT '{name}' claim must be a number")
        if "exp" in claims and claims["exp"] + CLOCK_SKEW_S < now:
            raise TokenError("PGRST303", "JWT expired")
        if "nbf" in claims and claims["nbf"] - CLOCK_SKEW_S > now:
            raise TokenError("PGRST303", "JWT not yet valid")
        if "iat" in claims and claims["iat"] - CLOCK_SKEW_S > now:
            raise TokenError("PGRST303", "JWT issued at future")


RSA_KEY_ID = "truasync-rs256"
# Two primes in place of a key in PEM: signing needs no search for primes (a tenth of a second on
# the loop), and no scanner takes this for a secret that somebody lost.
_P = int(
    "ee6251f6ff7164a85525b17219c83b402fd303f52d87d72a815986cc65d30b529884f18982506b56"
    "83f3838ab571c393fbd45da807f742123aa1ae9a88ae85f44a5327bbdf95baeada56948846574d0c"
    "dfaa9bce8e4c125f24a03a39a0cce6dbc67a6b4d9bec32809863c5bbee1d6cd2f67fed0fd574e310"
    "76ae41c2f9de053b",
    16,
)
_Q = int(
    "c26f26b6cfc3b4bc0f076de16c2fa1d642a50ea63bc1b54a3f295d90d3188c4c6adf44ef59e186aa"
    "726fb88f9786509ae9899899ee8fc13bfaa9adb0adafc970de2a83ed169cf7ccd24363602159d135"
    "a29ace99bddc6692b07d308e0d692eb4645e3dd829bf8a8e8da18ef844ea05e1a7e10dc34cc14167"
    "d5564645f8aa51b5",
    16,
)


@lru_cache(maxsize=1)
def _rsa_key() -> Any:
    from cryptography.hazmat.primitives.asymmetric import rsa

    d = rsa.rsa_recover_private_exponent(65537, _P, _Q)
    numbers = rsa.RSAPrivateNumbers(
        p=_P,
        q=_Q,
        d=d,
        dmp1=rsa.rsa_crt_dmp1(d, _P),
        dmq1=rsa.rsa_crt_dmq1(d, _Q),
        iqmp=rsa.rsa_crt_iqmp(_P, _Q),
        public_numbers=rsa.RSAPublicNumbers(65537, _P * _Q),
    )
    return numbers.private_key(unsafe_skip_rsa_key_validation=True)


def preload() -> None:
    """Import what signs tokens, where it is installed: at set-up, not later on the loop."""
    with suppress(RuntimeError):
        _pyjwt()


def _pyjwt() -> ModuleType:
    try:
        import jwt
    except ImportError as error:
        raise RuntimeError(
            "tokens of users need PyJWT: pip install 'pytest-truasync[auth]'"
        ) from error
    return jwt
