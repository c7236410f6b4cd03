"""Formats numbers, dates and times as a spreadsheet program does, by its format codes (ECMA-376, 18.8.31). Pure.

Locale-dependent formats have one result: dates of the built-in formats as 2024-03-05, names of months in English.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import ROUND_HALF_UP, Context, Decimal, InvalidOperation, localcontext
from functools import lru_cache
from typing import Final

GENERAL: Final = "General"
DIGITS_MAX: Final = 15
"""The precision of spreadsheet programs."""
DAYS_MAX: Final = 2_958_466
"""The last day that has a date: the end of the year 9999."""
_WHOLE_MAX: Final = 30
_EXACT: Final = Context(prec=100)
"""More digits than any format has."""
BUILT_IN: Final = {
    0: GENERAL, 1: "0", 2: "0.00", 3: "#,##0", 4: "#,##0.00", 9: "0%", 10: "0.00%", 11: "0.00E+00", 12: "# ?/?",
    13: "# ??/??", 14: "yyyy-mm-dd", 15: "d-mmm-yy", 16: "d-mmm", 17: "mmm-yy", 18: "h:mm AM/PM", 19: "h:mm:ss AM/PM",
    20: "h:mm", 21: "h:mm:ss", 22: "yyyy-mm-dd h:mm", 37: "#,##0;(#,##0)", 38: "#,##0;(#,##0)",
    39: "#,##0.00;(#,##0.00)", 40: "#,##0.00;(#,##0.00)", 41: "#,##0;-#,##0;-", 42: "$#,##0;-$#,##0;-",
    43: "#,##0.00;-#,##0.00;-", 44: "$#,##0.00;-$#,##0.00;-", 45: "mm:ss", 46: "[h]:mm:ss", 47: "mm:ss.0",
    48: "##0.0E+0", 49: "@",
    **dict.fromkeys((27, 28, 29, 30, 31, 36, 50, 51, 52, 53, 54, 57, 58), "yyyy-mm-dd"),
    **dict.fromkeys((32, 33, 34, 35, 55, 56), "h:mm:ss"),
}  # fmt: skip
"""Built-in formats, which files name by number alone."""

_TOKEN: Final = re.compile(
    r'"(?P<quoted>[^"]*)"?|\\(?P<escaped>.)|\[\$(?P<money>[^\]-]*)[^\]]*\]|\[(?P<elapsed>h+|m+|s+)\]|\[[^\]]*\]|_(?P<gap>.)|\*.'
    r"|(?P<general>General)|(?P<half>AM/PM|A/P)|(?P<fraction>\.0+(?=[^0-9]|$))|(?P<exponent>E[+-])"
    r"|(?P<date>y+|m+|d+|h+|s+|e+|b+|g+)|(?P<digit>[0#?])|(?P<other>.)",
    re.IGNORECASE | re.DOTALL,
)
_CONDITION: Final = re.compile(r"\[(<=|>=|<>|<|>|=)(-?\d+(?:\.\d+)?)\]")
_MONTHS: Final = (
    "January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November",
    "December",
)  # fmt: skip
_DAYS: Final = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")


@dataclass(frozen=True, slots=True)
class _Piece:
    """`kind` is the group of `_TOKEN` that matched."""

    kind: str
    text: str


def shown(raw: str, code: str, *, since_1904: bool = False) -> str:
    """A stored number as its format shows it; unchanged where number or format is invalid.

    >>> shown("1067", "00000"), shown("0.075", "0.0%"), shown("45356", "dd.mm.yyyy"), shown("1.5", "# ?/?")
    ('01067', '7.5%', '05.03.2024', '1 1/2')
    """
    try:
        number = Decimal(raw)
        if not number.is_finite() or abs(number.adjusted()) > 308:
            return raw
        with localcontext(_EXACT):
            return _shown(number, code, since_1904=since_1904)
    except InvalidOperation:  # Not a number, or one with more digits than any program writes.
        return raw


def _shown(number: Decimal, code: str, *, since_1904: bool) -> str:
    section, magnitude = _section(_sections(code), number)
    if section is None:
        return general(number)
    pieces = _pieces(section)
    kinds = {one.kind for one in pieces}
    if "general" in kinds:
        return "".join(general(magnitude) if one.kind == "general" else one.text for one in pieces).strip()
    if kinds & {"date", "elapsed", "half"}:
        return _moment(number, pieces, since_1904=since_1904) or general(number)
    return _number(magnitude, pieces) if "digit" in kinds else _words(pieces)


def shown_text(text: str, code: str) -> str:
    """A text cell; the fourth section of its format may add text."""
    sections = _sections(code)
    if "@" not in sections[-1] or code in ("@", GENERAL):
        return text
    return "".join(text if one.kind == "other" and one.text == "@" else one.text for one in _pieces(sections[-1]))


def general(number: Decimal) -> str:
    """The General format: fifteen digits, no exponent where there is room."""
    if number == number.to_integral_value() and number.adjusted() < 21:
        return f"{number.to_integral_value():f}" if number else "0"
    rounded = Decimal(f"{number:.{DIGITS_MAX - 1}E}")
    if -7 <= rounded.adjusted() < 21:
        text = f"{rounded:f}"
        return text.rstrip("0").rstrip(".") if "." in text else text
    mantissa, _, exponent = f"{rounded:E}".partition("E")
    mantissa = mantissa.rstrip("0").rstrip(".") if "." in mantissa else mantissa
    return f"{mantissa}E{exponent}"


@lru_cache(maxsize=1_000)
def _sections(code: str) -> Sequence[str]:
    """Splits at semicolons outside of quotes."""
    found, start, at, quoted = list[str](), 0, 0, False
    while at < len(code):
        if code[at] == '"':
            quoted = not quoted
        elif code[at] == "\\" and not quoted:
            at += 1
        elif code[at] == ";" and not quoted:
            found.append(code[start:at])
            start = at + 1
        at += 1
    return [*found, code[start:]]


def _section(sections: Sequence[str], number: Decimal) -> tuple[str | None, Decimal]:
    """The section that applies, and the number without the sign if the section shows the sign itself."""
    conditions = [_CONDITION.search(one) for one in sections[:2]]
    if any(conditions):
        for section, condition in zip(sections, conditions, strict=False):
            if condition is None or _holds(number, condition[1], Decimal(condition[2])):
                return section, number
        return (sections[2] if len(sections) > 2 else sections[-1]), number
    numbers = [one for one in sections if "@" not in one] or sections
    if number < 0 and len(numbers) > 1:
        return numbers[1], abs(number)
    if number == 0 and len(numbers) > 2:
        return numbers[2], number
    return (numbers[0] if "@" not in numbers[0] else None), number


def _holds(number: Decimal, sign: str, edge: Decimal) -> bool:
    return {
        "<": number < edge, ">": number > edge, "=": number == edge, "<=": number <= edge, ">=": number >= edge,
        "<>": number != edge,
    }[sign]  # fmt: skip


@lru_cache(maxsize=1_000)
def _pieces(section: str) -> Sequence[_Piece]:
    found: list[_Piece] = []
    for match in _TOKEN.finditer(section):
        kind = match.lastgroup or ""
        text = match[kind] if kind else ""
        if kind in ("quoted", "escaped", "money"):
            found.append(_Piece("text", text))
        elif kind == "gap":
            found.append(_Piece("text", " " if found else ""))
        elif kind == "fraction" and not _holds_seconds(found):
            found += [_Piece("other", "."), *(_Piece("digit", digit) for digit in text[1:])]
        elif kind:
            found.append(_Piece(kind, text))
    return found


def _holds_seconds(pieces: Sequence[_Piece]) -> bool:
    return any(one.kind in ("date", "elapsed") and "s" in one.text.lower() for one in pieces)


def _words(pieces: Sequence[_Piece]) -> str:
    return "".join(one.text for one in pieces).strip()


# --- numbers ----------------------------------------------------------------------------------------------------------
def _number(number: Decimal, pieces: Sequence[_Piece]) -> str:
    places = [at for at, one in enumerate(pieces) if one.kind == "digit"]
    first, last = places[0], places[-1]
    signs = [one.text for one in pieces if one.kind == "other"]
    sign = "-" if number < 0 else ""
    number = abs(number)
    if "/" in signs:
        return f"{sign}{_fraction(number, pieces, first)}".strip()
    scaled = number * 100 ** signs.count("%")
    after = last + 1
    while after < len(pieces) and pieces[after].text == ",":
        scaled /= 1000
        after += 1
    if any(one.kind == "exponent" for one in pieces):
        return f"{sign}{_scientific(scaled, pieces)}"
    point = next((at for at in range(len(pieces)) if pieces[at].kind == "other" and pieces[at].text == "."), None)
    before = [one for one in pieces[:point] if one.kind == "digit"]
    behind = [one.text for one in pieces[point:] if one.kind == "digit"] if point is not None else []
    grouped = any(pieces[at].text == "," and pieces[at].kind == "other" for at in range(first, last))
    if len(before) > _WHOLE_MAX or len(behind) > _WHOLE_MAX or scaled.adjusted() > _WHOLE_MAX:
        return sign + general(scaled)
    digits, decimals = _rounded(scaled, behind)
    if not (digits.strip("0") or decimals.strip("0")):
        sign = ""
    digits = digits.lstrip("0").zfill(sum(one.text == "0" for one in before))
    return (sign + _placed(digits, decimals, pieces, point, after, grouped=grouped)).strip()


def _rounded(number: Decimal, behind: Sequence[str]) -> tuple[str, str]:
    """Digits before and after the decimal point, the latter as many as the format keeps."""
    value = number.quantize(Decimal(1).scaleb(-len(behind)), ROUND_HALF_UP)
    digits, _, decimals = f"{value:f}".partition(".")
    kept = len(behind)
    while kept and behind[kept - 1] in "#?" and decimals[kept - 1] == "0":
        kept -= 1
    return digits, decimals[:kept]


def _placed(
    digits: str, decimals: str, pieces: Sequence[_Piece], point: int | None, after: int, *, grouped: bool
) -> str:
    """Digits in their positions, with the literal text between them: `000-00-0000`."""
    places = [at for at, one in enumerate(pieces) if one.kind == "digit" and (point is None or at < point)]
    spare = len(digits) - len(places)
    found: list[str] = []
    used = 0
    written = behind = 0
    for at, one in enumerate(pieces):
        if one.kind == "digit" and (point is None or at < point):
            count = (spare + 1 if used == 0 else 1) if spare >= 0 else (0 if used < -spare else 1)
            for _ in range(count):
                left = len(digits) - written
                if grouped and written and left % 3 == 0:
                    found.append(",")
                found.append(digits[written])
                written += 1
            used += 1
        elif point is not None and at == point:
            found.append(digits[written:] + ("." if decimals else ""))
            written = len(digits)
        elif one.kind == "digit":
            found.append(decimals[behind : behind + 1])
            behind += 1
        elif not (one.kind == "other" and one.text == "," and at < after):
            found.append(one.text)
    return "".join(found)


def _scientific(number: Decimal, pieces: Sequence[_Piece]) -> str:
    at = next(at for at, one in enumerate(pieces) if one.kind == "exponent")
    mantissa = pieces[:at]
    point = next((place for place, one in enumerate(mantissa) if one.text == "."), len(mantissa))
    places = sum(one.kind == "digit" for one in mantissa[point:])
    wide = max(1, sum(one.kind == "digit" for one in mantissa[:point]))
    width = sum(one.kind == "digit" for one in pieces[at:])
    exponent = number.adjusted() // wide * wide if number else 0
    value = number.scaleb(-exponent).quantize(Decimal(1).scaleb(-min(places, _WHOLE_MAX)), ROUND_HALF_UP)
    if value.adjusted() >= wide:
        exponent += wide
        value = number.scaleb(-exponent).quantize(Decimal(1).scaleb(-min(places, _WHOLE_MAX)), ROUND_HALF_UP)
    sign = "-" if exponent < 0 else "+" if pieces[at].text.endswith("+") else ""
    return f"{value:f}E{sign}{str(abs(exponent)).zfill(width)}"


def _fraction(number: Decimal, pieces: Sequence[_Piece], first: int) -> str:
    """`1 1/2`: with the format's number of digits in the denominator, or with the denominator that it fixes."""
    stroke = next(at for at, one in enumerate(pieces) if one.text == "/")
    fixed = re.match(r"\d+", "".join(one.text for one in pieces[stroke + 1 :]))
    has_whole = any(one.text == " " for one in pieces[first:stroke])
    whole = int(number) if has_whole else 0
    rest = number - whole
    if fixed and int(fixed[0]) > 0:
        below = int(fixed[0])
        above = int((rest * below).to_integral_value(ROUND_HALF_UP))
    else:
        width = sum(one.kind == "digit" for one in pieces[stroke:])
        above, below = _nearest(rest, 10 ** min(width, 4) - 1)
    if above == below and has_whole:
        whole, above = whole + 1, 0
    if not above:
        return str(whole)
    return f"{whole} {above}/{below}" if whole else f"{above}/{below}"


def _nearest(number: Decimal, below_max: int) -> tuple[int, int]:
    from fractions import Fraction  # noqa: PLC0415 - few sheets hold fractions

    found = Fraction(number).limit_denominator(below_max)
    return found.numerator, found.denominator


# --- dates and times --------------------------------------------------------------------------------------------------
def _moment(number: Decimal, pieces: Sequence[_Piece], *, since_1904: bool) -> str | None:
    """None for a number that is not a date."""
    if not 0 <= number < DAYS_MAX:
        return None
    finest = max((len(one.text) - 1 for one in pieces if one.kind == "fraction"), default=0)
    unit = Decimal(1).scaleb(-min(finest, 6))
    seconds = (number * 86_400).quantize(unit, ROUND_HALF_UP)
    days = int(number) if int(seconds // 86_400) == int(number) else int(seconds // 86_400)
    # Day 60 is 29 February 1900, which did not exist: days before it count from one day later.
    start = datetime(1904, 1, 1) if since_1904 else datetime(1899, 12, 31 if days < 60 else 30)  # noqa: DTZ001 - a day in no zone
    try:
        moment = start + timedelta(days=days, seconds=float(seconds - days * 86_400))
    except OverflowError:
        return None
    halves = any(one.kind == "half" for one in pieces)
    found: list[str] = []
    for at, one in enumerate(pieces):
        if one.kind == "date":
            minutes = one.text[0] in "mM" and len(one.text) < 3 and _is_minutes(pieces, at)
            found.append(_part(one.text.lower(), moment, minutes=minutes, halves=halves))
        elif one.kind == "elapsed":
            size = {"h": 3600, "m": 60, "s": 1}[one.text[0].lower()]
            found.append(str(int(seconds // size)).zfill(len(one.text)))
        elif one.kind == "half":
            found.append(("AM" if moment.hour < 12 else "PM")[: 1 if len(one.text) == 3 else 2])
        elif one.kind == "fraction":
            found.append(f".{seconds % 1:.{finest}f}".replace(".0.", ".") if finest else "")
        else:
            found.append(one.text)
    return "".join(found).strip()


def _is_minutes(pieces: Sequence[_Piece], at: int) -> bool:
    """`m` after hours or before seconds means minutes."""

    def beside(others: Sequence[_Piece]) -> str:
        found = next((one.text.lower() for one in others if one.kind in ("date", "elapsed")), "")
        return found[:1]

    return beside(pieces[:at][::-1]) == "h" or beside(pieces[at + 1 :]) == "s"


def _part(code: str, moment: datetime, *, minutes: bool, halves: bool) -> str:
    letter, width = code[0], len(code)
    if letter == "m" and not minutes:
        name = _MONTHS[moment.month - 1]
        return (str(moment.month).zfill(min(width, 2)), name[:3], name, name[0])[max(0, min(width - 2, 3))]
    match letter:
        case "y" | "e":
            return f"{moment.year % 100:02}" if width <= 2 and letter == "y" else f"{moment.year:04}"
        case "b":
            return str(moment.year + 543)
        case "d":
            name = _DAYS[moment.weekday()]
            return (str(moment.day).zfill(min(width, 2)), name[:3], name)[max(0, min(width - 2, 2))]
        case "h":
            return str((moment.hour % 12 or 12) if halves else moment.hour).zfill(min(width, 2))
        case "m":
            return str(moment.minute).zfill(min(width, 2))
        case "s":
            return str(moment.second).zfill(min(width, 2))
        case _:
            return ""
