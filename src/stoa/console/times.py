"""Times as pages show them: relative to now, the exact one in the tooltip."""

from datetime import UTC, datetime
from typing import Final

from markupsafe import Markup

from stoa.console.words import Translate

JUST_NOW_SECONDS: Final = 45
RELATIVE_DAYS_MAX: Final = 14
"""Times further away are dates. Both numbers are in frame.js too."""
MISSING: Final = "\u2013"


def moment(text: str) -> datetime:
    return datetime.fromisoformat(text)


def when(text: str | None, translate: Translate, now: datetime | None = None) -> Markup:
    """A time element. The page's script keeps its text up to date, and says the same when it begins: nothing moves."""
    if not text:
        return Markup.escape(MISSING)
    at = moment(text).astimezone(UTC)
    exact = at.strftime("%Y-%m-%d %H:%M:%S UTC")
    said = relative(at, now or datetime.now(UTC), translate)
    return Markup('<time datetime="{}" title="{}">{}</time>').format(text, exact, said)


def relative(at: datetime, now: datetime, translate: Translate) -> str:
    """As the script's Intl.RelativeTimeFormat says it: "2 min. ago"."""
    seconds = (at - now).total_seconds()
    far, later = abs(seconds), seconds > 0
    if far < JUST_NOW_SECONDS:
        return translate("just now")
    if far > RELATIVE_DAYS_MAX * 86_400:
        return at.strftime("%Y-%m-%d")
    size = next(size for size in (86_400, 3_600, 60, 1) if far >= size)
    number = round(far / size)
    if size == 1:
        return translate("in {number} sec.", number=number) if later else translate("{number} sec. ago", number=number)
    if size == 60:
        return translate("in {number} min.", number=number) if later else translate("{number} min. ago", number=number)
    if size == 3_600:
        return translate("in {number} hr.", number=number) if later else translate("{number} hr. ago", number=number)
    if number == 1:
        return translate("tomorrow") if later else translate("yesterday")
    return translate("in {number} days", number=number) if later else translate("{number} days ago", number=number)
