"""Texts to values, for the types that are neither numbers nor dates."""

from __future__ import annotations

import ipaddress
import re
from typing import Any

from pytest_truasync.supabase._errors import bad_text, sql_error
from pytest_truasync.supabase._json import Json, loads
from pytest_truasync.supabase._json_error import json_error


def parse_bool(text: str) -> bool:
    """Read a ``boolean``; any unambiguous start of a word will do."""
    word = text.strip().lower()
    if word:
        if "true".startswith(word) or "yes".startswith(word) or word in {"on", "1"}:
            return True
        if "false".startswith(word) or "no".startswith(word) or word in {"of", "off", "0"}:
            return False
    raise bad_text("boolean", text)


_UUID = re.compile(r"\{?([0-9a-fA-F]{4}-?){8}\}?")


def parse_uuid(text: str) -> str:
    """Read a ``uuid`` into its usual form."""
    if not _UUID.fullmatch(text) or text.startswith("{") != text.endswith("}"):
        raise bad_text("uuid", text)
    digits = text.strip("{}").replace("-", "").lower()
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


def parse_bytea(text: str) -> bytes:
    r"""Read a ``bytea``: hex after ``\x``, else with escapes."""
    if text.startswith("\\x"):
        digits = re.sub(r"\s", "", text[2:])
        if bad := re.search(r"[^0-9a-fA-F]", digits):
            raise sql_error("22023", f'invalid hexadecimal digit: "{bad[0]}"')
        if len(digits) % 2:
            raise sql_error("22023", "invalid hexadecimal data: odd number of digits")
        return bytes.fromhex(digits)
    out = bytearray()
    at = 0
    while at < len(text):
        if text[at] != "\\":
            out += text[at].encode()
        elif text[at + 1 : at + 2] == "\\":
            out += b"\\"
            at += 1
        elif re.match(r"[0-3][0-7]{2}", text[at + 1 :]):
            out.append(int(text[at + 1 : at + 4], 8))
            at += 3
        else:
            raise sql_error("22P02", "invalid input syntax for type bytea")
        at += 1
    return bytes(out)


def parse_json(text: str) -> Json:
    """Read a ``json``: checked, and kept as written."""
    try:
        value = loads(text)
    except ValueError:
        raise json_error(text) from None
    return Json(text, value)


def parse_jsonb(text: str) -> Json:
    """Read a ``jsonb``: spaces, order and repeats of keys are lost."""
    try:
        value = loads(text)
    except ValueError:
        raise json_error(text) from None
    if "\\u0000" in text:
        check_no_nul(value)
    return Json(None, value)


def check_no_nul(value: Any) -> None:
    """Refuse a JSON value with a NUL character in it, which PostgreSQL cannot store."""
    if isinstance(value, str) and "\0" in value:
        details = "\\u0000 cannot be converted to text."
        raise sql_error("22P05", "unsupported Unicode escape sequence", details)
    if isinstance(value, dict):
        for key, item in value.items():
            check_no_nul(key)
            check_no_nul(item)
    elif isinstance(value, list):
        for item in value:
            check_no_nul(item)


def parse_inet(text: str) -> Any:
    """Read an ``inet``: an address, with its network's size or without."""
    try:
        return ipaddress.ip_interface(text.strip())
    except ValueError:
        raise bad_text("inet", text) from None


def parse_cidr(text: str) -> Any:
    """Read a ``cidr``: a network, with no bits set beyond its size."""
    try:
        return ipaddress.ip_network(text.strip())
    except ValueError:
        pass
    try:
        ipaddress.ip_network(text.strip(), strict=False)
    except ValueError:
        raise bad_text("cidr", text) from None
    details = "Value has bits set to right of mask."
    raise sql_error("22P02", f'invalid cidr value: "{text}"', details)


def inet_text(value: Any) -> str:
    """Print an ``inet``; the mask of a single address is left out."""
    text = str(value)
    return text.removesuffix("/32" if value.version == 4 else "/128")


def inet_key(value: Any) -> tuple[int, int, int]:
    """Return what addresses and networks compare by."""
    network = getattr(value, "network", value)
    address = getattr(value, "ip", None) or value.network_address
    return value.version, int(address), network.prefixlen


_MAC = re.compile(r"([0-9A-Fa-f]{2})[:-]?" * 5 + r"([0-9A-Fa-f]{2})")


def parse_mac(text: str) -> str:
    """Read a ``macaddr``."""
    found = _MAC.fullmatch(text.strip())
    if found is None:
        raise bad_text("macaddr", text)
    return ":".join(found.groups()).lower()


def hex_bits(digits: str) -> str:
    """Return hexadecimal digits as bits."""
    if bad := re.search(r"[^0-9a-fA-F]", digits):
        raise sql_error("22P02", f'"{bad[0]}" is not a valid hexadecimal digit')
    return "".join(f"{int(digit, 16):04b}" for digit in digits)
