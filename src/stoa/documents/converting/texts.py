"""Formats that are text already: decoding, tables, and what is refused."""

import csv
import io
import itertools
import re
from typing import Final

from stoa.documents.types import ConversionError

BYTES_MAX: Final = 32 * 2**20
ROWS_MAX: Final = 500_000
COLUMNS_MAX: Final = 1_000
CELLS_MAX: Final = 5_000_000
"""Short rows are filled up to the widest one, so rows times columns is what a small file can grow to."""
CELL_CHARACTERS_MAX: Final = 100_000

_ENTITY: Final = re.compile(r"<!\s*ENTITY", re.IGNORECASE)
_BACKTICKS: Final = re.compile(r"`{3,}")
_CONTROL: Final = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")


def decode(data: bytes, name: str) -> tuple[str, str | None]:
    """The text and, where the encoding had to be guessed, a warning. Never fails: unreadable bytes become U+FFFD."""
    for mark, encoding in ((b"\xef\xbb\xbf", "utf-8-sig"), (b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16")):
        if data.startswith(mark):
            text = data.decode(encoding, errors="replace")
            return _clean(text), None if "\ufffd" not in text else f"{name}: unreadable characters were replaced."
    try:
        return _clean(data.decode("utf-8")), None
    except UnicodeDecodeError:
        pass
    # Mostly UTF-8 with a few broken bytes is UTF-8; text whose every special character is broken is an old Windows file.
    replaced = data.decode("utf-8", errors="replace")
    good = sum(1 for character in replaced if ord(character) > 127 and character != "\ufffd")
    if good < replaced.count("\ufffd"):
        try:
            return _clean(data.decode("cp1252")), f"{name} is not UTF-8; it was read as Windows-1252."
        except UnicodeDecodeError:
            pass
    return _clean(replaced), f"{name} is not valid UTF-8; unreadable characters were replaced."


def _clean(text: str) -> str:
    return _CONTROL.sub("", text.replace("\r\n", "\n").replace("\r", "\n"))


def refuse_entities(text: str, name: str) -> None:
    """XML that declares entities of its own is how a small file becomes a huge one, or reads others. It is refused."""
    if _ENTITY.search(text):
        raise ConversionError("unsupported_format", f"{name} declares XML entities; send it without a document type.")


def table(text: str, name: str, *, tabs: bool) -> str:
    """CSV or TSV as one Markdown table whose header is the first row. Formulas are text like any other.

    Raises:
        ConversionError: `too_large` beyond 500,000 rows or 1,000 columns, `corrupt_file` where a cell never ends.
    """
    csv.field_size_limit(CELL_CHARACTERS_MAX)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter="\t" if tabs else _delimiter(text))
    try:
        rows = [row for row in itertools.islice(reader, ROWS_MAX + 1) if any(cell.strip() for cell in row)]
    except csv.Error as error:
        raise ConversionError(
            "corrupt_file", f"{name} is no readable table: {error} (line {reader.line_num})."
        ) from error
    if len(rows) > ROWS_MAX:
        raise ConversionError("too_large", f"{name} has more than {ROWS_MAX:,} rows.")
    if not rows:
        return ""
    width = max(len(row) for row in rows)
    if width > COLUMNS_MAX:
        raise ConversionError("too_large", f"{name} has {width:,} columns; at most {COLUMNS_MAX:,} are read.")
    if width * len(rows) > CELLS_MAX:
        raise ConversionError("too_large", f"{name} has more than {CELLS_MAX:,} cells.")
    lines = [markdown_row(rows[0], width), "|" + " --- |" * width]
    lines.extend(markdown_row(row, width) for row in rows[1:])
    return "\n".join(lines)


def markdown_row(cells: list[str], width: int) -> str:
    escaped = (" ".join(cell.split()).replace("|", "\\|") for cell in cells + [""] * (width - len(cells)))
    return "| " + " | ".join(escaped) + " |"


def _delimiter(text: str) -> str:
    """The sign that stands most often in the first line, outside quotes."""
    first = re.sub(r'"[^"]*"', "", text[:10_000].partition("\n")[0])
    return max(",;\t|", key=first.count)


def fenced(text: str, language: str) -> str:
    """JSON, XML and program code as a code block: their signs are not Markdown."""
    fence = "`" * max(3, 1 + max(map(len, _BACKTICKS.findall(text)), default=0))
    return f"{fence}{language}\n{text.strip()}\n{fence}" if text.strip() else ""


def plain(text: str) -> str:
    """Plain text as Markdown: only a line that would read as a heading is escaped, since that is what passages follow."""
    return re.sub(r"^(#{1,6}[ \t])", r"\\\1", text, flags=re.MULTILINE)
