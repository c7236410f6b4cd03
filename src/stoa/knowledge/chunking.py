"""From Markdown to passages: small enough to quote, large enough to mean something. Pure.

The cuts follow the structure of the text (headings, paragraphs, lists, sentences), so an edit in one section does not move
the cuts of another. A table that has to be cut keeps its header row in every piece: a row without its header says nothing.
"""

import re
from collections.abc import Iterator
from typing import Final

from semantic_text_splitter import MarkdownSplitter

from stoa.knowledge.types import Passage

CHARACTERS_MIN: Final = 200
CHARACTERS_MAX: Final = 1000
HEADING_CHARACTERS_MAX: Final = 200

_HEADING: Final = re.compile(r"^#{1,6}[ \t]+(.+?)[ \t#]*$")
_FENCE: Final = re.compile(r"^\s*(```|~~~)")
_TABLE_RULE: Final = re.compile(r"^\s*\|?\s*:?-+:?\s*(\|\s*:?-+:?\s*)*\|?\s*$")
_MARKS: Final = re.compile(r"[*_`]+")

PARAGRAPH_CHARACTERS_MAX: Final = 8_000

# The splitter stops at the first good boundary past the lower bound: at 200 long paragraphs fall into scraps of two
# sentences, at 400 the pieces are 400 to 800 characters and the cuts still do not depend on what comes long before them.
_SPLITTER: Final = MarkdownSplitter((400, CHARACTERS_MAX))
_PARAGRAPH_END: Final = re.compile(r"\n[ \t]*\n")
_WINDOW: Final = re.compile(
    rf"(?s:.{{1,{PARAGRAPH_CHARACTERS_MAX}}})(?:(?<=\n)|\Z)|(?s:.{{1,{PARAGRAPH_CHARACTERS_MAX}}})(?:(?<=[\s,;])|\Z)|(?s:.{{1,{PARAGRAPH_CHARACTERS_MAX}}})"
)


def passages(markdown: str, page: int | None = None, heading: str | None = None) -> list[Passage]:
    """Cuts Markdown into passages of about 200 to 1,000 characters, in order.

    `heading` is the one in force where the text starts: the last one of the page before. A passage that begins with a
    heading carries that heading; any other the nearest above it. Blank text gives no passages.
    """
    found: list[Passage] = []
    for title, section in _sections(markdown, heading):
        found.extend(Passage(text, page, title) for text in _pieces(section))
    return found


def last_heading(markdown: str, heading: str | None = None) -> str | None:
    """The heading in force at the end of the text, `heading` when it has none."""
    for title, _ in _sections(markdown, heading):
        heading = title
    return heading


def _sections(markdown: str, heading: str | None) -> list[tuple[str | None, str]]:
    """The text under each heading, the heading's own line included. Marks inside code fences are no headings."""
    sections: list[tuple[str | None, list[str]]] = [(heading, [])]
    fenced = False
    for line in markdown.splitlines():
        if _FENCE.match(line):
            fenced = not fenced
        match = None if fenced else _HEADING.match(line)
        if match:
            title = _MARKS.sub("", match.group(1)).strip()[:HEADING_CHARACTERS_MAX]
            above = sections[-1][1]
            if above and all(_HEADING.match(one) or not one.strip() for one in above):
                sections[-1] = (title or heading, above)  # a title with nothing under it belongs to what follows
            else:
                sections.append((title or heading, []))
        sections[-1][1].append(line)
    return [(title, "\n".join(lines)) for title, lines in sections if any(line.strip() for line in lines)]


def _pieces(section: str) -> list[str]:
    """A section as it is when it fits; otherwise its tables and its prose cut each in its own way."""
    if len(section.strip()) <= CHARACTERS_MAX:
        return [section.strip()]
    pieces: list[str] = []
    for is_table, block in _blocks(section):
        pieces.extend(_table_pieces(block) if is_table else _split("\n".join(block)))
    return _joined([piece.strip() for piece in pieces if piece.strip()])


def _joined(pieces: list[str]) -> list[str]:
    """Puts a scrap (a heading alone, a caption) before what follows it, where both fit in one passage."""
    joined: list[str] = []
    for piece in pieces:
        if joined and len(joined[-1]) < CHARACTERS_MIN and len(joined[-1]) + 2 + len(piece) <= CHARACTERS_MAX:
            joined[-1] = f"{joined[-1]}\n\n{piece}"
        else:
            joined.append(piece)
    return joined


def _blocks(section: str) -> list[tuple[bool, list[str]]]:
    """Runs of table lines and of other lines, in order. A table is a row, a rule of dashes, and the rows below."""
    lines = section.splitlines()
    blocks: list[tuple[bool, list[str]]] = []
    in_table = False
    for number, line in enumerate(lines):
        row = "|" in line
        starts = row and number + 1 < len(lines) and "|" in lines[number + 1] and bool(_TABLE_RULE.match(lines[number + 1]))
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


def _table_pieces(table: list[str]) -> list[str]:
    """The rows in groups that fit, each under the header. A row too long for one passage is cut as prose."""
    head, rows = table[:2], table[2:]
    head_size = sum(len(line) + 1 for line in head)
    if head_size > CHARACTERS_MAX // 2:
        return list(_split("\n".join(table)))  # a header this wide cannot be repeated
    pieces: list[str] = []
    group: list[str] = []
    size = head_size
    for row in rows:
        if group and size + len(row) + 1 > CHARACTERS_MAX:
            pieces.append("\n".join([*head, *group]))
            group, size = [], head_size
        if head_size + len(row) + 1 > CHARACTERS_MAX:
            pieces.extend("\n".join([*head, part]) for part in _row_parts(row, CHARACTERS_MAX - head_size - 1))
            continue
        group.append(row)
        size += len(row) + 1
    if group or not pieces:
        pieces.append("\n".join([*head, *group]))
    return pieces


def _row_parts(row: str, room: int) -> list[str]:
    return [row[start : start + room] for start in range(0, len(row), room)]


def _split(text: str) -> Iterator[str]:
    """The splitter's pieces. A paragraph of more than 8,000 characters (no person wrote it) is handed over in windows.

    The splitter looks over the whole paragraph again for every piece: 2 MB without an empty line take it 15 to 80 seconds,
    the same text in windows 0.2. Windows end after a line, else after a word, else anywhere; text with paragraphs of
    ordinary length is handed over whole, so its cuts do not change.
    """
    whole = start = 0
    for end in [*(found.end() for found in _PARAGRAPH_END.finditer(text)), len(text)]:
        if end - start > PARAGRAPH_CHARACTERS_MAX:
            yield from _SPLITTER.chunks(text[whole:start])
            for window in _WINDOW.finditer(text, start, end):
                yield from _SPLITTER.chunks(window[0])
            whole = end
        start = end
    yield from _SPLITTER.chunks(text[whole:])
