"""Numbers: PostgreSQL's integers, ``numeric``, floats and ``money`` as texts and values."""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Callable
from decimal import ROUND_HALF_EVEN, ROUND_HALF_UP, Context, Decimal, InvalidOperation
from typing import Any

from pytest_truasync.supabase._errors import ApiError, bad_text, sql_error, unsupported

#: Wide enough for what a test adds up; PostgreSQL itself goes to 131072 digits.
CONTEXT = Context(prec=1200, rounding=ROUND_HALF_UP)
INT_BITS = {"smallint": 15, "integer": 31, "bigint": 63}

_INT = re.compile(r"\s*[+-]?\d+\s*", re.ASCII)
_NUMERIC = re.compile(r"\s*[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?\s*", re.ASCII)
_SPECIAL = re.compile(r"\s*([+-]?)(nan|inf|infinity)\s*", re.IGNORECASE)


class NotANumber:
    """``NaN`` as PostgreSQL has it: equal to itself and greater than every number."""

    __slots__ = ()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, NotANumber)

    def __hash__(self) -> int:
        return 0

    def __lt__(self, other: object) -> bool:
        return False

    def __le__(self, other: object) -> bool:
        return isinstance(other, NotANumber)

    def __gt__(self, other: object) -> bool:
        return not isinstance(other, NotANumber)

    def __ge__(self, other: object) -> bool:
        return True

    def __str__(self) -> str:
        return "NaN"


NAN = NotANumber()


def int_parser(name: str) -> Callable[[str], int]:
    """Return the input function of an integer type."""
    limit = 1 << INT_BITS[name]

    def parse(text: str) -> int:
        if not _INT.fullmatch(text):
            raise bad_text(name, text)
        if len(text) > 40 or not -limit <= (number := int(text)) < limit:
            raise int_out_of_range(name, text)
        return number

    return parse


def int_out_of_range(name: str, text: str) -> ApiError:
    """Make the error to the text of a number that the type cannot hold."""
    return sql_error("22003", f'value "{text}" is out of range for type {name}')


def parse_oid(text: str) -> int:
    """Read an ``oid``."""
    if not _INT.fullmatch(text) or len(text) > 40:
        raise bad_text("oid", text)
    number = int(text)
    if not -(1 << 31) <= number < 1 << 32:
        raise int_out_of_range("oid", text)
    return number % (1 << 32)


def check_int(number: int, name: str) -> int:
    """Return *number* where the type can hold it."""
    limit = 1 << INT_BITS[name]
    if not -limit <= number < limit:
        raise sql_error("22003", f"{name} out of range")
    return number


def parse_numeric(text: str) -> Any:
    """Read a ``numeric``; trailing zeros stay."""
    if special := _SPECIAL.fullmatch(text):
        return _special(special)
    if not _NUMERIC.fullmatch(text):
        raise bad_text("numeric", text)
    if len(text) > 1000:
        raise unsupported("numbers of more than 1000 digits")
    number = Decimal(text.strip())
    return plain_decimal(number)


def _special(found: re.Match[str]) -> Any:
    if found[2].lower() == "nan":
        return NAN
    return Decimal("-Infinity" if found[1] == "-" else "Infinity")


def plain_decimal(number: Decimal) -> Decimal:
    """Return *number* without a positive exponent and without a negative zero."""
    exponent = number.as_tuple().exponent
    if isinstance(exponent, int):
        if abs(number.adjusted()) > 1000 or exponent < -1000:
            raise unsupported("numbers of more than 1000 digits")
        if exponent > 0:
            number = number.quantize(Decimal(1), context=CONTEXT)
        if not number and number.is_signed():
            number = -number if exponent >= 0 else number.copy_abs()
    return number


def numeric_with(precision: int, scale: int) -> Callable[[Any], Any]:
    """Return the rounding of ``numeric(precision, scale)``."""
    step = Decimal(1).scaleb(-scale)
    limit = Decimal(10) ** (precision - scale)

    def fit(number: Any) -> Any:
        if isinstance(number, NotANumber):
            return number
        try:
            rounded = number.quantize(step, rounding=ROUND_HALF_UP, context=CONTEXT)
        except InvalidOperation:
            rounded = number
        if not rounded.is_finite() or abs(rounded) >= limit:
            details = (
                f"A field with precision {precision}, scale {scale} must round to an absolute "
                f"value less than {'10^' + str(precision - scale) if precision > scale else '1'}."
            )
            raise sql_error("22003", "numeric field overflow", details)
        return plain_decimal(rounded)

    return fit


def numeric_text(number: Any) -> str:
    """Print a ``numeric``."""
    if isinstance(number, NotANumber) or not number.is_finite():
        return str(number)
    return f"{number:f}"


def round_half_even(number: Any) -> int:
    """Round a float as PostgreSQL does on the way to an integer."""
    return int(Decimal(number).to_integral_value(rounding=ROUND_HALF_EVEN, context=CONTEXT))


def float_parser(name: str) -> Callable[[str], Any]:
    """Return the input function of a float type."""
    single = name == "real"

    def parse(text: str) -> Any:
        if special := _SPECIAL.fullmatch(text):
            number = _special(special)
            return number if number is NAN else float(number)
        if not _NUMERIC.fullmatch(text) or len(text) > 1000:
            raise bad_text(name, text)
        value = float(text)
        if single:
            value = to_single(value)
        if math.isinf(value) or (value == 0.0 and re.search(r"[1-9]", text.lower().split("e")[0])):
            raise sql_error("22003", f'"{text}" is out of range for type {name}')
        return value

    return parse


def to_single(value: float) -> float:
    """Round to single precision."""
    try:
        return float(struct.unpack("f", struct.pack("f", value))[0])
    except OverflowError:
        return math.copysign(math.inf, value)


def float_text(value: Any) -> str:
    """Print a ``double precision``: the shortest text that reads back the same."""
    if isinstance(value, NotANumber) or math.isinf(value):
        return _float_special(value)
    return _shortest(repr(value), 15)


def real_text(value: Any) -> str:
    """Print a ``real``."""
    if isinstance(value, NotANumber) or math.isinf(value):
        return _float_special(value)
    for digits in range(1, 9):
        text = f"{value:.{digits}g}"
        if to_single(float(text)) == value:
            return _shortest(text, 6)
    return _shortest(f"{value:.9g}", 6)


def _float_special(value: Any) -> str:
    return "NaN" if isinstance(value, NotANumber) else "Infinity" if value > 0 else "-Infinity"


def _shortest(text: str, digits_before_exponent: int) -> str:
    number = Decimal(text)
    if not number:
        return "-0" if number.is_signed() else "0"
    sign, digits, _ = number.as_tuple()
    shown = "".join(map(str, digits)).rstrip("0") or "0"
    exponent = number.adjusted()
    minus = "-" if sign else ""
    if -5 < exponent < digits_before_exponent:
        return minus + f"{abs(number):f}".removesuffix(".0")
    mantissa = shown[0] + ("." + shown[1:] if shown[1:] else "")
    return f"{minus}{mantissa}e{'-' if exponent < 0 else '+'}{abs(exponent):02d}"


_MONEY = re.compile(r"\s*(\()?\s*([+-]?)\s*\$?\s*([+-]?)([\d,]*(?:\.\d*)?)\s*(\))?\s*")


def parse_money(text: str) -> Decimal:
    """Read a ``money`` in the C locale's dollars."""
    found = _MONEY.fullmatch(text)
    digits = found[4].replace(",", "") if found else ""
    if found is None or not re.search(r"\d", digits):
        raise bad_text("money", text)
    value = Decimal(digits).quantize(Decimal("0.01"), rounding=ROUND_HALF_UP, context=CONTEXT)
    if value >= Decimal(2**63) / 100:
        raise sql_error("22003", f'value "{text}" is out of range for type money')
    return -value if "-" in (found[2], found[3]) or found[1] else value


def money_text(value: Decimal) -> str:
    """Print a ``money``."""
    return f"-${-value:,.2f}" if value < 0 else f"${value:,.2f}"


def divide(dividend: Decimal, divisor: Decimal) -> Decimal:
    """Divide as ``numeric`` does: at least 16 significant digits."""
    scale = max(_division_scale(dividend, divisor), 0)
    step = Decimal(1).scaleb(-scale)
    return CONTEXT.divide(dividend, divisor).quantize(step, ROUND_HALF_UP, context=CONTEXT)


def _division_scale(dividend: Decimal, divisor: Decimal) -> int:
    weight1, first1 = _base_10000(dividend)
    weight2, first2 = _base_10000(divisor)
    quotient_weight = weight1 - weight2 - (1 if first1 <= first2 else 0)
    return min(max(16 - quotient_weight * 4, _scale(dividend), _scale(divisor)), 1000)


def _scale(number: Decimal) -> int:
    exponent = number.as_tuple().exponent
    return -exponent if isinstance(exponent, int) and exponent < 0 else 0


def _base_10000(number: Decimal) -> tuple[int, int]:
    if not number:
        return 0, 0
    weight = number.adjusted() // 4
    first = int(abs(number).scaleb(-4 * weight, context=CONTEXT))
    return weight, first


def check_json_int(number: int, name: str) -> int:
    """Return a JSON integer where the type can hold it."""
    limit = 1 << INT_BITS[name]
    if not -limit <= number < limit:
        raise int_out_of_range(name, str(number))
    return number
