"""Intervals: months, days and microseconds, kept apart as PostgreSQL does."""

from __future__ import annotations

import re
from datetime import date, datetime, timedelta

from pytest_truasync.supabase._datetimes import invalid
from pytest_truasync.supabase._errors import unsupported

_UNITS = {
    "year": ("months", 12),
    "yr": ("months", 12),
    "y": ("months", 12),
    "decade": ("months", 120),
    "century": ("months", 1200),
    "centurie": ("months", 1200),
    "month": ("months", 1),
    "mon": ("months", 1),
    "week": ("days", 7),
    "w": ("days", 7),
    "day": ("days", 1),
    "d": ("days", 1),
    "hour": ("micros", 3_600_000_000),
    "hr": ("micros", 3_600_000_000),
    "h": ("micros", 3_600_000_000),
    "minute": ("micros", 60_000_000),
    "min": ("micros", 60_000_000),
    "m": ("micros", 60_000_000),
    "second": ("micros", 1_000_000),
    "sec": ("micros", 1_000_000),
    "s": ("micros", 1_000_000),
    "millisecond": ("micros", 1000),
    "ms": ("micros", 1000),
}
_DAY_MICROS = 86_400_000_000
_PART = re.compile(
    r"\s*(?:(?P<sign>[+-]?)(?P<H>\d+):(?P<M>\d{1,2})(?::(?P<S>\d{1,2})(?:\.(?P<f>\d+))?)?"
    r"|(?P<n>[+-]?\d+(?:\.\d+)?)\s*(?P<u>[A-Za-z]+))"
)
_ISO = re.compile(
    r"P(?:(-?\d+)Y)?(?:(-?\d+)M)?(?:(-?\d+)W)?(?:(-?\d+)D)?"
    r"(?:T(?:(-?\d+)H)?(?:(-?\d+)M)?(?:(-?\d+(?:\.\d+)?)S)?)?"
)


class Interval:
    """Months, days and microseconds, kept apart as PostgreSQL does."""

    __slots__ = ("days", "micros", "months")

    def __init__(self, months: int = 0, days: int = 0, micros: int = 0) -> None:
        self.months, self.days, self.micros = months, days, micros

    @property
    def key(self) -> int:
        """What intervals compare by: a month is 30 days, a day is 24 hours."""
        return (self.months * 30 + self.days) * _DAY_MICROS + self.micros

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Interval) and self.key == other.key

    def __lt__(self, other: Interval) -> bool:
        return self.key < other.key

    def __le__(self, other: Interval) -> bool:
        return self.key <= other.key

    def __gt__(self, other: Interval) -> bool:
        return self.key > other.key

    def __ge__(self, other: Interval) -> bool:
        return self.key >= other.key

    def __hash__(self) -> int:
        return hash(self.key)

    def __add__(self, other: Interval) -> Interval:
        return Interval(
            self.months + other.months, self.days + other.days, self.micros + other.micros
        )

    def __neg__(self) -> Interval:
        return Interval(-self.months, -self.days, -self.micros)

    def after(self, stamp: datetime) -> datetime:
        """Return *stamp* moved by this interval; the day is cut to the month's last."""
        months = stamp.year * 12 + stamp.month - 1 + self.months
        year, month = divmod(months, 12)
        day = min(stamp.day, _month_days(year, month + 1))
        moved = stamp.replace(year=year, month=month + 1, day=day)
        return moved + timedelta(days=self.days, microseconds=self.micros)

    def __str__(self) -> str:
        years, months = _divmod_to_zero(self.months, 12)
        parts = []
        negative_before = False
        for count, unit in ((years, "year"), (months, "mon"), (self.days, "day")):
            if count:
                plus = "+" if negative_before and count > 0 else ""
                parts.append(f"{plus}{count} {unit}{'' if count == 1 else 's'}")
                negative_before = count < 0
        if self.micros or not parts:
            sign = "-" if self.micros < 0 else "+" if negative_before else ""
            seconds, micros = divmod(abs(self.micros), 1_000_000)
            minutes, seconds = divmod(seconds, 60)
            hours, minutes = divmod(minutes, 60)
            text = f"{sign}{hours:02d}:{minutes:02d}:{seconds:02d}"
            parts.append(text + f".{micros:06d}".rstrip("0") if micros else text)
        return " ".join(parts)


def _divmod_to_zero(number: int, by: int) -> tuple[int, int]:
    quotient, rest = divmod(abs(number), by)
    return (-quotient, -rest) if number < 0 else (quotient, rest)


def _month_days(year: int, month: int) -> int:
    first = date(year, month, 1)
    following = date(year + month // 12, month % 12 + 1, 1)
    return (following - first).days


def parse_interval(text: str) -> Interval:
    """Read an ``interval``: ``1 day 02:03:04``, ``P1DT2H``."""
    stripped = text.strip()
    if found := _ISO.fullmatch(stripped) if stripped.startswith("P") and stripped[1:] else None:
        years, months, weeks, days, hours, minutes = (int(g or 0) for g in found.groups()[:6])
        micros = (hours * 60 + minutes) * 60_000_000 + round(float(found[7] or 0) * 1_000_000)
        return Interval(years * 12 + months, weeks * 7 + days, micros)
    ago = stripped.lower().endswith(" ago")
    stripped = (stripped[:-4] if ago else stripped).removeprefix("@")
    total, at = Interval(), 0
    if not stripped.strip():
        raise invalid("interval", text)
    if re.fullmatch(r"\s*[+-]?\d+(?:\.\d+)?\s*", stripped):
        stripped = f"{stripped.strip()} seconds"
    while at < len(stripped.rstrip()):
        found = _PART.match(stripped, at)
        if found is None:
            raise invalid("interval", text)
        total += _interval_part(found, text)
        at = found.end()
    if abs(total.months) > 120_000 or abs(total.days) > 3_650_000:
        raise unsupported(f"intervals as long as {text!r}")
    return -total if ago else total


def _interval_part(found: re.Match[str], text: str) -> Interval:
    if found["H"] is not None:
        micros = int((found["f"] or "0").ljust(6, "0")[:6])
        seconds = (int(found["H"][:9]) * 60 + int(found["M"])) * 60 + int(found["S"] or 0)
        whole = seconds * 1_000_000 + micros
        return Interval(0, 0, -whole if found["sign"] == "-" else whole)
    unit = found["u"].lower()
    field, size = _UNITS.get(unit) or _UNITS.get(unit.removesuffix("s")) or ("", 0)
    amount = float(found["n"])
    if not field or abs(amount) > 1e9:
        raise invalid("interval", text)
    count = amount * size
    if field == "months":
        if count != int(count):
            raise unsupported(f"fractions of a month, as in {text!r}")
        return Interval(months=int(count))
    if field == "days":
        whole = int(count)
        return Interval(days=whole, micros=round((count - whole) * _DAY_MICROS))
    return Interval(micros=round(count))
