"""Dates and times: PostgreSQL's texts to Python's values and back."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, time, timedelta, timezone, tzinfo
from functools import lru_cache, total_ordering
from typing import Any
from zoneinfo import ZoneInfo, available_timezones

from pytest_truasync.supabase._errors import sql_error, unsupported


@total_ordering
class Infinity:
    """``infinity`` and ``-infinity``: later, or earlier, than every date."""

    __slots__ = ("sign",)

    def __init__(self, sign: int) -> None:
        self.sign = sign

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Infinity) and other.sign == self.sign

    def __lt__(self, other: Any) -> bool:
        return self.sign < other.sign if isinstance(other, Infinity) else self.sign < 0

    def __hash__(self) -> int:
        return hash(("infinity", self.sign))

    def __str__(self) -> str:
        return "infinity" if self.sign > 0 else "-infinity"


INFINITIES = {"infinity": Infinity(1), "+infinity": Infinity(1), "-infinity": Infinity(-1)}

_MONTHS = {
    name: number
    for number, names in enumerate(
        (
            ("jan", "january"),
            ("feb", "february"),
            ("mar", "march"),
            ("apr", "april"),
            ("may",),
            ("jun", "june"),
            ("jul", "july"),
            ("aug", "august"),
            ("sep", "sept", "september"),
            ("oct", "october"),
            ("nov", "november"),
            ("dec", "december"),
        ),
        start=1,
    )
    for name in names
}
_DATE = re.compile(
    r"(?P<y>\d{4,5})-(?P<m>\d{1,2})-(?P<d>\d{1,2})"
    r"|(?P<y2>\d{4})(?P<m2>\d{2})(?P<d2>\d{2})(?![\d:])"
    r"|(?P<m3>\d{1,2})/(?P<d3>\d{1,2})/(?P<y3>\d{4})"
    r"|(?P<y5>\d{4})/(?P<m5>\d{1,2})/(?P<d5>\d{1,2})"
    r"|(?P<mon>[A-Za-z]{3,9})\.?[ -](?P<d4>\d{1,2}),?[ -](?P<y4>\d{4})"
    r"|(?P<y7>\d{4})-(?P<mon3>[A-Za-z]{3,9})-(?P<d7>\d{1,2})"
    r"|(?P<d6>\d{1,2})[ -](?P<mon2>[A-Za-z]{3,9})[ -](?P<y6>\d{4})"
)
_TIME = re.compile(
    r"(?P<H>\d{1,2}):(?P<M>\d{1,2})(?::(?P<S>\d{1,2})(?:\.(?P<f>\d*))?)?(?:\s*(?P<p>[AaPp][Mm])\b)?"
    r"|(?P<H2>\d{2})(?P<M2>\d{2})(?P<S2>\d{2})(?:\.(?P<f2>\d*))?"
)
_OFFSET = re.compile(r"(?P<s>[+-])(?P<h>\d{1,2})(?::?(?P<m>\d{2}))?(?::?(?P<x>\d{2}))?$")
_WEEKDAY = re.compile(r"(?:mon|tue|wed|thu|fri|sat|sun)[a-z]*\.?,?\s+", re.IGNORECASE)


def invalid(type_name: str, text: str) -> Exception:
    """Make the error to a text that is no date or time."""
    return sql_error("22007", f'invalid input syntax for type {type_name}: "{text}"')


def out_of_range(text: str, hint: bool = False) -> Exception:
    """Make the error to a date or time that no calendar has."""
    return sql_error(
        "22008",
        f'date/time field value out of range: "{text}"',
        None,
        'Perhaps you need a different "datestyle" setting.' if hint else None,
    )


@lru_cache(maxsize=256)
def zone(name: str) -> tzinfo:
    """Return the time zone *name*, as ``set timezone`` takes it.

    Raises:
        ApiError: PostgreSQL knows no such zone.
    """
    text = name.strip()
    if text.upper() in {"UTC", "Z", "GMT", "ZULU"}:
        return UTC
    if found := _HOURS.fullmatch(text):
        return timezone(timedelta(hours=float(found[0])))
    if found := _POSIX.fullmatch(text):  # there, + is west of Greenwich
        if found["x"]:
            message = f'time zone "{name}" appears to use leap seconds'
            raise sql_error("22023", message, "PostgreSQL does not support leap seconds.")
        west = timedelta(hours=int(found["h"]), minutes=int(found["m"] or 0))
        return timezone(west if found["s"] == "-" else -west)
    if (place := _place(text)) is not None:
        return place
    raise sql_error("22023", f'invalid value for parameter "TimeZone": "{name}"')


_HOURS = re.compile(r"[+-]?(?:0?\d|1[0-5])(?:\.\d{1,4})?", re.ASCII)
_POSIX = re.compile(
    r"[A-Za-z]{0,6}(?P<s>[+-]?)(?P<h>0?\d|1[0-5])(?::(?P<m>[0-5]\d))?(?::(?P<x>\d\d))?", re.ASCII
)


@lru_cache(maxsize=1)
def _places() -> dict[str, str]:
    return {name.lower(): name for name in available_timezones()}


def _place(name: str) -> tzinfo | None:
    """Return a named zone, in any case; names that could be paths are none."""
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_+\-/]*", name):
        return None
    try:
        return ZoneInfo(_places().get(name.lower(), name))
    except (KeyError, ValueError, OSError):
        return None


def _parse_offset(text: str, whole: str, type_name: str) -> tzinfo:
    if found := _OFFSET.match(text):
        hours, minutes = int(found["h"]), int(found["m"] or 0)
        if hours > 15 or minutes > 59:
            raise sql_error("22009", f'time zone displacement out of range: "{whole}"')
        delta = timedelta(hours=hours, minutes=minutes, seconds=int(found["x"] or 0))
        return timezone(-delta if found["s"] == "-" else delta)
    if text.upper() in {"Z", "UTC", "GMT", "ZULU"}:
        return UTC
    if (place := _place(text)) is not None:
        return place
    if "/" in text:
        raise sql_error("22023", f'time zone "{text.lower()}" not recognized')
    raise invalid(type_name, whole)


def _pick(found: re.Match[str], *names: str) -> str | None:
    return next((found[n] for n in names if found[n] is not None), None)


def _read_date(text: str, whole: str, type_name: str) -> tuple[date, str]:
    text = _WEEKDAY.sub("", text, count=1)
    found = _DATE.match(text)
    if found is None:
        raise invalid(type_name, whole)
    year = _pick(found, "y", "y2", "y3", "y4", "y5", "y6", "y7")
    day = _pick(found, "d", "d2", "d3", "d4", "d5", "d6", "d7")
    word = _pick(found, "mon", "mon2", "mon3")
    month = _MONTHS.get(word.lower()) if word else _pick(found, "m", "m2", "m3", "m5")
    if month is None:
        raise invalid(type_name, whole)
    rest = text[found.end() :]
    if rest.strip().upper().endswith("BC") or int(year or 0) > 9999:
        raise unsupported(f"dates outside of the years 1 to 9999, such as {whole!r}")
    try:
        return date(int(year or 0), int(month), int(day or 0)), rest
    except ValueError:
        raise out_of_range(whole, hint=not 1 <= int(month) <= 12) from None


def _read_time(text: str, whole: str, type_name: str) -> tuple[tuple[int, int, int, int], str]:
    found = _TIME.match(text)
    if found is None:
        raise invalid(type_name, whole)
    hour = int(_pick(found, "H", "H2") or 0)
    minute, second = int(_pick(found, "M", "M2") or 0), int(_pick(found, "S", "S2") or 0)
    fraction = _pick(found, "f", "f2") or ""
    micro = round(int(fraction[:9] or "0") * 10 ** (6 - len(fraction[:9])))
    if found["p"]:
        if not 1 <= hour <= 12:
            raise out_of_range(whole)
        hour = hour % 12 + (12 if found["p"].lower() == "pm" else 0)
    end_of_day = hour == 24 and minute == second == micro == 0
    if not (end_of_day or hour < 24) or minute > 59 or second > 60:
        raise out_of_range(whole)
    return (hour, minute, second, micro), text[found.end() :]


def _special(text: str, tz: tzinfo) -> datetime | None:
    word = text.lower()
    if word == "epoch":
        return datetime(1970, 1, 1, tzinfo=UTC)
    if word not in {"now", "today", "tomorrow", "yesterday"}:
        return None
    now = datetime.now(tz)
    if word == "now":
        return now
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
    return midnight + timedelta(days={"today": 0, "tomorrow": 1, "yesterday": -1}[word])


def _read_stamp(text: str, type_name: str, tz: tzinfo) -> tuple[datetime, tzinfo | None]:
    stripped = text.strip()
    if (special := _special(stripped, tz)) is not None:
        return special, special.tzinfo
    day, rest = _read_date(stripped, text, type_name)
    rest = rest.removeprefix("T").removeprefix("t") if rest[:1] in "Tt" else rest
    rest = rest.strip()
    clock = (0, 0, 0, 0)
    if rest[:1].isdigit():
        clock, rest = _read_time(rest, text, type_name)
    hour, minute, second, micro = clock
    stamp = datetime(day.year, day.month, day.day)
    try:
        stamp += timedelta(hours=hour, minutes=minute, seconds=second, microseconds=micro)
    except OverflowError:
        raise unsupported(f"dates outside of the years 1 to 9999, such as {text!r}") from None
    rest = rest.strip()
    if not rest:
        return stamp, None
    if not re.fullmatch(r"[+\-A-Za-z][\w+\-:/]*", rest):
        raise invalid(type_name, text)
    return stamp, _parse_offset(rest, text, type_name)


def parse_timestamptz(text: str, tz: tzinfo = UTC) -> Any:
    """Read a ``timestamptz``; without an offset it is meant in *tz*. The value is in UTC."""
    if (endless := INFINITIES.get(text.strip().lower())) is not None:
        return endless
    stamp, offset = _read_stamp(text, "timestamp with time zone", tz)
    try:
        return stamp.replace(tzinfo=offset or tz).astimezone(UTC)
    except OverflowError:
        raise unsupported(f"dates outside of the years 1 to 9999, such as {text!r}") from None


def parse_timestamp(text: str, tz: tzinfo = UTC) -> Any:
    """Read a ``timestamp``; an offset in the text is ignored, as PostgreSQL does."""
    if (endless := INFINITIES.get(text.strip().lower())) is not None:
        return endless
    return _read_stamp(text, "timestamp", tz)[0].replace(tzinfo=None)


def parse_date(text: str, tz: tzinfo = UTC) -> Any:
    """Read a ``date``; a time in the text is dropped."""
    if (endless := INFINITIES.get(text.strip().lower())) is not None:
        return endless
    return _read_stamp(text, "date", tz)[0].date()


def parse_time(text: str, tz: tzinfo = UTC) -> Any:
    """Read a ``time``; a date and an offset in the text are dropped."""
    return _clock_and_zone(text, "time", tz)[0]


def parse_timetz(text: str, tz: tzinfo = UTC) -> Any:
    """Read a ``timetz``."""
    clock, offset = _clock_and_zone(text, "time with time zone", tz)
    if offset is None:
        today = datetime.now(tz).date()
        offset = timezone(datetime.combine(today, clock, tz).utcoffset() or timedelta())
    return clock.replace(tzinfo=offset)


def _clock_and_zone(text: str, type_name: str, tz: tzinfo) -> tuple[time, tzinfo | None]:
    stripped = text.strip()
    if _DATE.match(stripped) or stripped.lower() == "now":
        if ":" not in stripped and stripped.lower() != "now":
            raise invalid(type_name, text)
        stamp, offset = _read_stamp(text, type_name, tz)
        return stamp.time(), offset
    (hour, minute, second, micro), rest = _read_time(stripped, text, type_name)
    if hour == 24 or second == 60:
        raise unsupported(f"the time {text!r}")
    rest = rest.strip()
    if rest and not re.fullmatch(r"[+-][\d:]+|[A-Za-z][\w/+-]*", rest):
        raise invalid(type_name, text)
    offset = _parse_offset(rest, text, type_name) if rest else None
    if isinstance(offset, ZoneInfo):
        raise unsupported(f"a time of day in a named zone: {text!r}")
    return time(hour, minute, second, micro), offset


def offset_text(offset: timedelta) -> str:
    """Return a UTC offset as PostgreSQL prints it: ``+00``, ``-03:30``."""
    seconds = int(offset.total_seconds())
    sign = "-" if seconds < 0 else "+"
    hours, rest = divmod(abs(seconds), 3600)
    minutes, seconds = divmod(rest, 60)
    text = f"{sign}{hours:02d}"
    if minutes or seconds:
        text += f":{minutes:02d}"
    return f"{text}:{seconds:02d}" if seconds else text


def clock_text(value: time | datetime) -> str:
    """Return the time of day, with its fraction only where there is one."""
    text = f"{value.hour:02d}:{value.minute:02d}:{value.second:02d}"
    return text + f".{value.microsecond:06d}".rstrip("0") if value.microsecond else text


def timestamp_text(value: Any, separator: str = " ") -> str:
    """Print a ``timestamp``."""
    if isinstance(value, Infinity):
        return str(value)
    return f"{value.year:04d}-{value.month:02d}-{value.day:02d}{separator}{clock_text(value)}"


def timestamptz_text(value: Any, tz: tzinfo = UTC, *, as_json: bool = False) -> str:
    """Print a ``timestamptz`` in *tz*; JSON has a T and always the minutes of the offset."""
    if isinstance(value, Infinity):
        return str(value)
    if tz is UTC and as_json:
        text = value.isoformat()  # in C, and alike but for the zeros at the end of a fraction
        return f"{text[:-6].rstrip('0')}+00:00" if value.microsecond else text
    if tz is not UTC:
        try:
            value = value.astimezone(tz)
        except OverflowError:
            raise unsupported("dates outside of the years 1 to 9999") from None
    text = timestamp_text(value, "T" if as_json else " ")
    suffix = offset_text(value.utcoffset() or timedelta())
    return text + (f"{suffix}:00" if as_json and len(suffix) == 3 else suffix)


def timetz_text(value: time) -> str:
    """Print a ``timetz``."""
    return clock_text(value) + offset_text(value.utcoffset() or timedelta())
