"""Cells of a workbook as a spreadsheet program shows them: number formats applied, merged cells repeated.

The library gives raw values: `1067` where `01067` is shown. So the package is rewritten before the library reads it;
what is not understood stays as it is. Runs in the converting process only.
"""

import re
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from decimal import ROUND_HALF_UP, Decimal, InvalidOperation
from io import BytesIO
from typing import Final
from xml.etree.ElementTree import Element, SubElement, tostring

from defusedxml import ElementTree
from defusedxml.common import DefusedXmlException

from stoa.documents.converting import archives

PART_BYTES_MAX: Final = 16 * 2**20
"""Of one sheet: a larger one is read with its raw values."""
REPEATED_MAX: Final = 100_000
"""Cells that merged ranges are repeated in, of one sheet."""
UNPACKED_BYTES_MAX: Final = 256 * 2**20
DIGITS_MAX: Final = 12
"""Of a number before and behind the point: with more a sheet shows an exponent, too."""
_MAIN: Final = "{http://schemas.openxmlformats.org/spreadsheetml/2006/main}"
_BUILT_IN: Final = {
    "1": "0",
    "2": "0.00",
    "3": "#,##0",
    "4": "#,##0.00",
    "9": "0%",
    "10": "0.00%",
    "37": "#,##0",
    "38": "#,##0",
    "39": "#,##0.00",
    "40": "#,##0.00",
}
_LITERAL: Final = re.compile(r'"([^"]*)"|\\(.)|\[\$([^\]-]*)[^\]]*\]|([$€£¥ ()-])|_.|\*.|\[[^\]]*\]')
_NUMBER: Final = re.compile(r"(?P<whole>[#0?,]*[#0?])(?:\.(?P<places>[0#?]+))?(?P<percent>%?)")
_CELL: Final = re.compile(r"([A-Z]{1,3})(\d{1,7})")
_SHEET: Final = re.compile(r"xl/worksheets/[^/]+\.xml")


def as_shown(data: bytes) -> bytes:
    """The same workbook with formatted texts for numbers; itself where nothing changes or it cannot be read."""
    try:
        with zipfile.ZipFile(BytesIO(data)) as archive:
            if sum(entry.file_size for entry in archive.infolist()) > UNPACKED_BYTES_MAX:
                return data
            formats = _formats(archive)
            changed = {
                entry.filename: made
                for entry in archive.infolist()
                if _SHEET.fullmatch(entry.filename)
                and entry.file_size <= PART_BYTES_MAX
                and (made := _sheet(archive.read(entry), formats)) is not None
            }
            return _rewritten(archive, changed) if changed else data
    except (ElementTree.ParseError, DefusedXmlException, ValueError, KeyError, *archives.BROKEN):
        return data


def _rewritten(archive: zipfile.ZipFile, changed: Mapping[str, bytes]) -> bytes:
    target = BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as made:
        for entry in archive.infolist():
            made.writestr(entry.filename, changed.get(entry.filename) or archive.read(entry))
    return target.getvalue()


def _formats(archive: zipfile.ZipFile) -> Sequence[str | None]:
    """The number format of each style, None where there is none that matters."""
    if "xl/styles.xml" not in archive.namelist() or archive.getinfo("xl/styles.xml").file_size > PART_BYTES_MAX:
        return ()
    root = ElementTree.fromstring(archive.read("xl/styles.xml"))
    codes = {one.get("numFmtId", ""): one.get("formatCode", "") for one in root.iter(f"{_MAIN}numFmt")}
    styles = root.find(f"{_MAIN}cellXfs")
    return [
        codes.get(number) or _BUILT_IN.get(number)
        for number in (one.get("numFmtId", "") for one in (styles if styles is not None else ()))
    ]


def _sheet(data: bytes, formats: Sequence[str | None]) -> bytes | None:
    root = ElementTree.fromstring(data)
    changed = False
    for cell in root.iter(f"{_MAIN}c"):
        changed = _formatted(cell, formats) or changed
    changed = _repeated(root) or changed
    return tostring(root, encoding="utf-8", xml_declaration=True) if changed else None


def _formatted(cell: Element, formats: Sequence[str | None]) -> bool:
    """Whether the cell was a number that is shown in another way."""
    style, value = cell.get("s", ""), cell.find(f"{_MAIN}v")
    if cell.get("t", "n") != "n" or value is None or not value.text or not style.isdigit():
        return False
    code = formats[int(style)] if int(style) < len(formats) else None
    text = formatted(value.text, code) if code else None
    if text is None or text == value.text:
        return False
    for inner in list(cell):
        cell.remove(inner)
    cell.set("t", "inlineStr")
    SubElement(SubElement(cell, f"{_MAIN}is"), f"{_MAIN}t").text = text
    return True


def formatted(raw: str, code: str) -> str | None:
    """A number as its format shows it; None for dates, fractions and what else is no plain number.

    >>> formatted("1067", "00000"), formatted("0.075", "0.0%"), formatted("1234.5", "#,##0.00")
    ('01067', '7.5%', '1,234.50')
    """
    try:
        number = Decimal(raw)
    except InvalidOperation:
        return None
    if not number.is_finite() or number.adjusted() > DIGITS_MAX:
        return None
    sections = code.split(";")
    section = sections[1] if number < 0 and len(sections) > 1 else sections[0]
    own_sign = number < 0 and len(sections) > 1
    literals: list[str] = []

    def keep(match: re.Match[str]) -> str:
        literals.append(next((group for group in match.groups() if group), ""))
        return "\x00"

    pattern = _LITERAL.sub(keep, section)
    found = _NUMBER.search(pattern)
    rest = pattern if found is None else pattern[: found.start()] + "\x00" + pattern[found.end() :]
    if found is None or rest.strip("\x00"):
        return None
    if len(found["places"] or "") > DIGITS_MAX or len(found["whole"]) > DIGITS_MAX:
        return None
    before = pattern[: found.start()].count("\x00")
    text = _number(abs(number), found["whole"], found["places"] or "", percent=bool(found["percent"]))
    sign = "-" if number < 0 and not own_sign else ""
    return (sign + "".join(literals[:before]) + text + "".join(literals[before:])).strip()


def _number(number: Decimal, whole: str, places: str, *, percent: bool) -> str:
    value = (number * 100 if percent else number).quantize(Decimal(1).scaleb(-len(places)), ROUND_HALF_UP)
    digits, _, decimals = f"{value:f}".partition(".")
    least = len(places.rstrip("#?"))
    while len(decimals) > least and decimals.endswith("0"):
        decimals = decimals[:-1]
    digits = digits.zfill(whole.count("0"))
    if "," in whole:
        digits = f"{int(digits):,}" if len(digits.lstrip("0") or "0") >= len(digits) else digits
    return digits + (f".{decimals}" if decimals else "") + ("%" if percent else "")


def _repeated(root: Element) -> bool:
    """Whether merged cells were written into every cell of their range."""
    ranges = [one.get("ref", "") for one in root.iter(f"{_MAIN}mergeCell")]
    if not ranges:
        return False
    rows = {row.get("r", ""): row for row in root.iter(f"{_MAIN}row")}
    cells = {cell.get("r", ""): cell for row in rows.values() for cell in row}
    left = REPEATED_MAX
    for name in ranges:
        first, _, _ = name.partition(":")
        source = cells.get(first)
        if source is None or not len(source):
            continue
        for target in _places(name):
            left -= 1
            row = rows.get(_CELL.fullmatch(target)[2]) if target != first else None  # type: ignore[index]
            if left < 0:
                return True
            if row is not None and not len(cells.get(target, ())):
                _put(row, cells, target, source)
    return True


def _put(row: Element, cells: dict[str, Element], target: str, source: Element) -> None:
    if (old := cells.get(target)) is not None:
        row.remove(old)
    made = deepcopy(source)
    made.set("r", target)
    column = _column(target)
    at = next((number for number, cell in enumerate(row) if _column(cell.get("r", "A1")) > column), len(row))
    row.insert(at, made)
    cells[target] = made


def _column(name: str) -> int:
    found = 0
    for letter in name.rstrip("0123456789"):
        found = found * 26 + ord(letter) - 64
    return found


def _places(name: str) -> Iterator[str]:
    """The cells of a range, row by row."""
    match = re.fullmatch(rf"{_CELL.pattern}:{_CELL.pattern}", name)
    if match is None:
        return
    first, last = _column(match[1]), _column(match[3])
    for row in range(int(match[2]), int(match[4]) + 1):
        for column in range(first, last + 1):
            yield f"{_letters(column)}{row}"


def _letters(column: int) -> str:
    found = ""
    while column:
        column, rest = divmod(column - 1, 26)
        found = chr(65 + rest) + found
    return found
