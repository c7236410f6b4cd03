"""Splits Markdown into passages: small enough to quote, large enough to be understood. Pure.

Borders follow the structure of the text (headings, paragraphs, lists, sentences), so an edit in one section does not
move the borders in another. A table that has to be split repeats its header row in every chunk, because a row without
its header is meaningless.
"""

import re
from collections.abc import Iterator, Sequence
from functools import cache
from typing import Final, TypeAlias
from zlib import crc32

from semantic_text_splitter import MarkdownSplitter

from stoa.documents.types import Passage, Rows

_Piece: TypeAlias = tuple[str, Rows | None]

CHARACTERS_MAX: Final = 1000
HEADING_CHARACTERS_MAX: Final = 200

_HEADING: Final = re.compile(r"^#{1,6}[ \t]+(.+?)[ \t#]*$")
_FENCE: Final = re.compile(r"^\s*(`{3,}(?=[^`]*$)|~{3,})(.*)$")
"""An info string contains no backtick: otherwise it is code within a line (CommonMark 4.5)."""
_TABLE_RULE: Final = re.compile(r"^\s*\|?\s*:?-+:?\s*(\|\s*:?-+:?\s*)*\|?\s*$")
_MARKS: Final = re.compile(r"[*_`]+")

_UNITS: Final = (
    re.compile(r"(?s).+?(?:\n[ \t]*\n\s*|\Z)"),
    re.compile(r"[^\n]*\n|[^\n]+"),
    re.compile(r"[^.!?]+[.!?]*\s*|[.!?]+\s*"),
    re.compile(r"\S+\s*|\s+"),
    re.compile(r"(?s).{1,200}"),
)


@cache
def _splitter(size: int) -> MarkdownSplitter:
    """The splitter stops at the first good boundary above its lower bound: with a fifth of the size, long paragraphs
    are split into fragments of two sentences; with two fifths the chunks have 400 to 800 of 1,000 characters, and the
    borders still do not depend on distant text."""
    return MarkdownSplitter((size * 2 // 5, size))


def passages(
    markdown: str, page: int | None = None, heading: str | None = None, size: int = CHARACTERS_MAX
) -> list[Passage]:
    """Splits Markdown into passages of at most `size` characters, rarely less than a fifth of it, in order.

    `heading` is the one in force where the text starts: the last one of the page before. A passage that begins with a
    heading has that heading; any other has the nearest above it. Blank text gives no passages.
    """
    found: list[Passage] = []
    for title, section in _sections(markdown, heading):
        found.extend(Passage(text, page, title, rows) for text, rows in _pieces(section, size))
    return found


def last_heading(markdown: str, heading: str | None = None) -> str | None:
    """The heading in force at the end of the text, `heading` when it has none."""
    for title, _ in _sections(markdown, heading):
        heading = title
    return heading


def _sections(markdown: str, heading: str | None) -> list[tuple[str | None, str]]:
    """The text under each heading, the heading's own line included. Marks inside code fences are no headings."""
    sections: list[tuple[str | None, list[str]]] = [(heading, [])]
    fence: str | None = None
    for line in markdown.splitlines():
        if marks := _FENCE.match(line):
            if fence is None:
                fence = marks[1]
            elif marks[1].startswith(fence) and not marks[2].strip():
                fence = None
        match = None if fence else _HEADING.match(line)
        if match:
            title = _MARKS.sub("", match.group(1)).strip()[:HEADING_CHARACTERS_MAX]
            above = sections[-1][1]
            if above and all(_HEADING.match(one) or not one.strip() for one in above):
                # A title with nothing under it belongs to the section that follows.
                sections[-1] = (title or heading, above)
            else:
                sections.append((title or heading, []))
        sections[-1][1].append(line)
    return [(title, "\n".join(lines)) for title, lines in sections if any(line.strip() for line in lines)]


def _pieces(section: str, size: int) -> list[_Piece]:
    """A section unchanged if it fits; otherwise its tables and its prose are split separately."""
    blocks = list(_blocks(section))
    if len(section.strip()) <= size:
        tables = [block for is_table, block in blocks if is_table]
        return [(section.strip(), _all_rows(tables[0]) if len(tables) == 1 else None)]
    pieces: list[_Piece] = []
    for is_table, block in blocks:
        pieces.extend(
            _table_pieces(block, size) if is_table else ((text, None) for text in _split("\n".join(block), size))
        )
    return _joined([(text.strip(), rows) for text, rows in pieces if text.strip()], size)


def _all_rows(table: list[str]) -> Rows | None:
    return (1, len(table) - 2) if len(table) > 2 else None


def _joined(pieces: list[_Piece], size: int) -> list[_Piece]:
    """Joins a fragment (a heading alone, a caption) with the next passage if both fit. Rows of two tables are not
    joined."""
    joined: list[_Piece] = []
    for text, rows in pieces:
        if joined and len(joined[-1][0]) < size // 5 and len(joined[-1][0]) + 2 + len(text) <= size:
            before, rows_before = joined[-1]
            joined[-1] = (f"{before}\n\n{text}", None if rows and rows_before else rows or rows_before)
        else:
            joined.append((text, rows))
    return joined


def _blocks(section: str) -> list[tuple[bool, list[str]]]:
    """Runs of table lines and of other lines, in order. A table is a row, a rule of dashes, and the rows below."""
    lines = section.splitlines()
    blocks: list[tuple[bool, list[str]]] = []
    in_table = False
    for number, line in enumerate(lines):
        row = "|" in line
        starts = (
            row and number + 1 < len(lines) and "|" in lines[number + 1] and bool(_TABLE_RULE.match(lines[number + 1]))
        )
        if starts and not in_table:
            blocks.append((True, []))
            in_table = True
        elif in_table and not row:
            in_table = False
            blocks.append((False, []))
        elif not blocks:
            blocks.append((False, []))
        blocks[-1][1].append(line)
    return blocks


def _table_pieces(table: list[str], size: int) -> list[_Piece]:
    """Groups of rows that fit, each under the header and with its row numbers. A row that is too long for one passage
    is split as prose.

    Above two fifths of the size a group ends after a row that its hash selects. So an inserted row changes only the
    groups around it, not all groups to the end of the table.
    """
    head, rows = table[:2], table[2:]
    head_size = sum(len(line) + 1 for line in head)
    if head_size > size // 2:
        return [(text, None) for text in _split("\n".join(table), size)]  # a header this wide cannot be repeated
    pieces: list[_Piece] = []
    group: list[str] = []
    length = head_size

    def end(last: int) -> None:
        pieces.append(("\n".join([*head, *group]), (last - len(group) + 1, last) if group else None))
        group.clear()

    for number, row in enumerate(rows, 1):
        if group and length + len(row) + 1 > size:
            end(number - 1)
            length = head_size
        if head_size + len(row) + 1 > size:
            pieces.extend(
                ("\n".join([*head, part]), (number, number)) for part in _row_parts(row, size - head_size - 1)
            )
            continue
        group.append(row)
        length += len(row) + 1
        if length >= size * 2 // 5 and _is_cut(row, size // 4):
            end(number)
            length = head_size
    if group or not pieces:
        end(len(rows))
    return pieces


def _row_parts(row: str, room: int) -> Iterator[str]:
    """Splits a row that fits no passage, between words where there are any."""
    while len(row) > room:
        end = row.rfind(" ", room // 2, room + 1)
        end = end if end > 0 else room
        yield row[:end]
        row = row[end:].lstrip(" ")
    yield row


def _split(text: str, size: int) -> Iterator[str]:
    """The splitter's pieces, window by window.

    The splitter scans a paragraph again for every piece (2 MB without an empty line take it 15 to 80 seconds, in
    windows 0.2), and in code and lists its cuts depend on all that comes before. The hash of a window's last words
    decides its end, so an edit only moves the borders up to the next such end.
    """
    splitter = _splitter(size)
    for window in _windows(text, size):
        yield from splitter.chunks(window)


def _windows(text: str, size: int) -> Iterator[str]:
    """Windows of about `size` characters on average, at least a third and at most eight times as long."""
    window = ""
    for unit in _units(text, size * 2, _UNITS):
        if window and len(window) + len(unit) > size * 8:
            yield window
            window = ""
        window += unit
        if len(window) >= size // 3 and _is_cut(unit, size):
            yield window
            window = ""
    if window:
        yield window


def _is_cut(unit: str, mean: int) -> bool:
    """Whether a window ends after this unit, decided by its contents only: on average once in `mean` characters."""
    return crc32(unit.encode("utf-8", "surrogatepass")) * mean < len(unit) << 32


def _units(text: str, length_max: int, kinds: Sequence[re.Pattern[str]]) -> Iterator[str]:
    """Paragraphs; too long ones are split into lines, sentences, words, and parts of words."""
    for found in kinds[0].finditer(text):
        if len(found[0]) <= length_max or len(kinds) == 1:
            yield found[0]
        else:
            yield from _units(found[0], length_max, kinds[1:])
