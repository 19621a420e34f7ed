"""Times and durations as an operator reads them."""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo


def clock(time: datetime | None, timezone: str | None = None) -> str:
    """Formats a time in a time zone, by default the machine's, with its offset from UTC.

    Example:
        >>> clock(datetime.fromisoformat("2026-11-25T19:30:00+00:00"), "Asia/Shanghai")
        '2026-11-26 03:30 (UTC+08:00)'
    """
    if time is None:
        return "–"
    local = time.astimezone(ZoneInfo(timezone) if timezone else None)
    offset = local.strftime("%z")
    return f"{local:%Y-%m-%d %H:%M} (UTC{offset[:3]}:{offset[3:5]})"


def duration(seconds: float | None) -> str:
    """Formats a duration in its two largest units.

    Example:
        >>> duration(3725)
        '1 h 2 min'
    """
    if seconds is None:
        return "–"
    total = round(seconds)
    for name, size, smaller, part in (("d", 86_400, "h", 3600), ("h", 3600, "min", 60), ("min", 60, "s", 1)):
        if total >= size:
            return f"{total // size} {name} {total % size // part} {smaller}"
    return f"{total} s"
