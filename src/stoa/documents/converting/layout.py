"""Layout analysis of a page: lines of text and ruled lines become headings, paragraphs, lists and tables. Pure.

A PDF has neither words nor paragraphs. A heading differs from the body in size or weight; a paragraph ends at a gap
larger than that between the body's lines; a table is a grid of ruled lines. Where these signs are missing the text
stays as plain lines in reading order: only headers and footers that repeat on page after page are dropped.
"""

import itertools
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

from stoa.documents.converting.grids import NEAR, STRAIGHT
from stoa.documents.converting.reading_order import ordered
from stoa.documents.converting.sheet import Grid, Line, Sheet, is_within

HEADING_RATIO: Final = 1.1
"""Relative to the body's size. Typesetters use 1.14 and more for the smallest heading; rounding errors stay below
1.05."""
HEADING_CHARACTERS_MAX: Final = 160
BOLD_HEADING_CHARACTERS_MAX: Final = 80
HEADING_LEVELS_MAX: Final = 5
PITCH_SLACK: Final = 1.18
"""A line that is further away than this many times the usual distance begins a new paragraph."""
MARGIN_SHARE: Final = 0.11
"""Running headers and footers are in the outer ninth of a page."""
RUNNING_PAGES_MIN: Final = 3
RUNNING_SHARE: Final = 0.5

ATTACHED_SIZES: Final = 1.45
"""Lines of one paragraph are at most this many font sizes apart."""

_LIST_ITEM: Final = re.compile(r"^(?:[•‣▪●◦·\u2013\u2014\uf0b7\uf0a7\uf0fc\uf0d8-]\s+(?=\S)|(\d{1,3})[.)]\s+(?=\S))")
LEADER: Final = re.compile(r"\s*(?:\.\s?){5,}\s*")
"""The dots between an entry of a table of contents and its page number."""
_LINE_END_HYPHEN: Final = re.compile(r"(\w*)\ufffe[\r\n]*(?=(\w?))")
_WORD: Final = re.compile(r"[^\W\d_]+(?:-[^\W\d_]+)*")
_TERM: Final = re.compile(r"\w+")
_CODE: Final = re.compile(r"[^\W\d_][-_/.]?\d{3}")
_LETTERS: Final = re.compile(r"[^\W\d_]+")
_SIMPLE: Final = re.compile(r"\W?[^\W\d_]+")
"""A word that keeps the next one on its line: an address, or a word with a hyphen in front."""
_LETTER: Final = re.compile(r"[^\W\d_]")
_DIGITS: Final = re.compile(r"\d+")


# --- lines to Markdown ------------------------------------------------------------------------------------------------
def markdown(sheets: Sequence[Sheet]) -> list[str]:
    """Each page's Markdown, in order; empty for a page without text."""
    sheets = [replace(one, lines=ordered(one.lines, one.grids)) for one in _without_running_lines(sheets)]
    sheets = _with_headers(sheets)
    body = _body_size(sheets)
    measures = _Measures(body, _heading_levels(sheets, body), _pitch(sheets, body), _words(sheets))
    return ["\n\n".join(filter(None, _groups(sheet, measures))) for sheet in sheets]


@dataclass(frozen=True, slots=True)
class _Measures:
    """Measures of a document: its body size, the level of each larger size, the line distance, and its words."""

    body: float
    levels: dict[float, int]
    pitch: float
    words: frozenset[str]


def _words(sheets: Sequence[Sheet]) -> frozenset[str]:
    """The words within lines, where no line break divides them, in lower case; with hyphens where they have some."""
    found: set[str] = set()
    if not any(line.broken for sheet in sheets for line in sheet.lines):
        return frozenset()
    for sheet in sheets:
        after_hyphen = False
        for line in sheet.lines:
            words = _WORD.findall(line.text.lower())
            found.update(words[after_hyphen : len(words) - line.broken])
            after_hyphen = line.broken
    return frozenset(found)


def _groups(sheet: Sheet, measures: _Measures) -> Iterator[str]:
    """The page's text, then the text in other directions."""
    yield _page(sheet, measures)
    for lines in sheet.asides:
        text = "\n".join(line.text for line in lines)
        yield re.sub(r"^(#{1,6}\s)", r"\\\1", text, flags=re.MULTILINE)


def _with_headers(sheets: Sequence[Sheet]) -> list[Sheet]:
    """A table that continues on later pages repeats its header: the first row of its first page."""
    found: list[Sheet] = []
    going_on: Grid | None = None
    for sheet in sheets:
        first = _first_grid(sheet)
        longer = first
        if going_on is not None and first is not None and _is_like(going_on, first):
            repeats = first.cells[0] == going_on.cells[0]
            longer = first if repeats else replace(first, cells=(going_on.cells[0], *first.cells))
        grids = tuple(longer if one is first and longer else one for one in sheet.grids)
        found.append(replace(sheet, grids=grids))
        going_on = _last_grid(found[-1])
    return found


def _first_grid(sheet: Sheet) -> Grid | None:
    return next((one for one in sheet.grids if sheet.lines and is_within(sheet.lines[0], one.box)), None)


def _last_grid(sheet: Sheet) -> Grid | None:
    return next((one for one in sheet.grids if sheet.lines and is_within(sheet.lines[-1], one.box)), None)


def _is_like(one: Grid, other: Grid) -> bool:
    """Whether both tables have the same width and number of columns."""
    same = abs(one.box[0] - other.box[0]) <= NEAR and abs(one.box[2] - other.box[2]) <= NEAR
    return same and bool(one.cells and other.cells) and len(one.cells[0]) == len(other.cells[0])


def _without_running_lines(sheets: Sequence[Sheet]) -> list[Sheet]:
    """Drops lines in the margins that are at the same height on most pages and differ only in a page number.

    A line with any other varying number (of an invoice, an amount) is content of its page.
    """
    if len(sheets) < RUNNING_PAGES_MIN:
        return list(sheets)
    groups: dict[tuple[str, int], list[tuple[int, Line]]] = {}
    for page, sheet in enumerate(sheets):
        for line in sheet.lines:
            if key := _running_key(line, sheet):
                groups.setdefault(key, []).append((page, line))
    often = max(RUNNING_PAGES_MIN, RUNNING_SHARE * len(sheets))
    running = {(page, line) for group in groups.values() for page, line in _counting(group, often)}
    running -= _first_of_words(sheets, running)
    kept: list[Sheet] = []
    for page, sheet in enumerate(sheets):
        gone = _detached({line for line in sheet.lines if (page, line) in running}, sheet)
        lines = tuple(line for line in sheet.lines if line not in gone)
        kept.append(replace(sheet, lines=lines or sheet.lines))
    return kept


def _first_of_words(sheets: Sequence[Sheet], running: set[tuple[int, Line]]) -> set[tuple[int, Line]]:
    """Running lines that are kept once, because they contain a word that occurs nowhere else: a title, a document's
    code, a company's name. A page counter has at most one longer word ("Page 1 of 6") and is dropped."""
    known = {
        word
        for page, sheet in enumerate(sheets)
        for line in sheet.lines
        if (page, line) not in running
        for word in _TERM.findall(line.text.lower())
    }
    kept: set[tuple[int, Line]] = set()
    for page, line in sorted(running, key=lambda one: (one[0], -one[1].baseline)):
        words = {word for word in _TERM.findall(line.text.lower()) if len(word) > 3 and not word.isdigit()}
        if (len(words) > 1 or _CODE.search(line.text)) and not words <= known:
            kept.add((page, line))
            known |= words
    return kept


def _detached(running: set[Line], sheet: Sheet) -> set[Line]:
    """The lines that are not at a line's distance from the text: others may be the first line of a paragraph."""
    middle = sheet.height / 2
    body = [line for line in sheet.lines if line not in running]
    gone: set[Line] = set()
    for line in sorted(running, key=lambda one: abs(one.baseline - middle)):
        if any(
            0 < abs(one.baseline - line.baseline) <= ATTACHED_SIZES * line.size
            and abs(one.size - line.size) <= STRAIGHT
            and one.left < line.right
            and line.left < one.right
            for one in body
        ):
            body.append(line)
        else:
            gone.add(line)
    return gone


def _counting(group: Sequence[tuple[int, Line]], often: float) -> list[tuple[int, Line]]:
    """The lines of a group whose numbers are the same on every page, or count with the pages; none where they are
    few."""
    numbers = [[int(found) for found in _DIGITS.findall(line.text)] for _, line in group]
    kept = list(range(len(group)))
    for place in range(len(numbers[0])):
        same = Counter(numbers[at][place] for at in kept).most_common(1)[0]
        counted = Counter(numbers[at][place] - group[at][0] for at in kept).most_common(1)[0]
        if same[1] >= counted[1]:
            kept = [at for at in kept if numbers[at][place] == same[0]]
        else:
            kept = [at for at in kept if numbers[at][place] - group[at][0] == counted[0]]
    return [group[at] for at in kept] if len({group[at][0] for at in kept}) >= often else []


def _running_key(line: Line, sheet: Sheet) -> tuple[str, int] | None:
    edge = sheet.height * MARGIN_SHARE
    if edge < line.baseline < sheet.height - edge:
        return None
    return _DIGITS.sub("#", line.text), round(line.baseline / NEAR)


def hyphens(text: str) -> str:
    """Handles hyphens at line ends, which pdfium marks as U+FFFE: removed within a word, kept in codes and names
    (`ISO-9001`, `E-Mail`)."""

    def joined(found: re.Match[str]) -> str:
        return found[1] + ("" if is_divided(found[1], found[2]) else "-")

    return _LINE_END_HYPHEN.sub(joined, text) if "\ufffe" in text else text


def is_divided(before: str, after: str) -> bool:
    """Whether a hyphen between these parts divides one word: small letters on both sides, more than one in front."""
    return len(before) > 1 and before[-2:].isalpha() and before[-1:].islower() and after[:1].islower()


def _is_one_word(before: str, text: str, words: frozenset[str]) -> bool:
    """Whether the parts around a hyphen at a line's end are one word: the document contains it elsewhere. In doubt the
    hyphen is kept, because `worst-case` is also found by its parts."""
    if not is_divided(before, text[:1]) or not _SIMPLE.fullmatch(before):
        return False
    after = _LETTERS.match(text)
    first, second = _LETTERS.findall(before)[-1].lower(), after[0].lower() if after else ""
    if first + second in words:
        return True
    return f"{first}-{second}" not in words and not (min(len(first), len(second)) > 2 and {first, second} <= words)


def keeps_words(cells: Sequence[Sequence[str]], lines: Sequence[Line]) -> bool:
    """Whether a grid's cells contain every word of the lines within it. Otherwise its edges cross words, and it is not
    a table."""
    held = {word for row in cells for cell in row for word in cell.split()}
    after_hyphen = False
    for line in lines:
        words = line.text.split()
        whole = words[after_hyphen : len(words) - line.broken]
        if not held.issuperset(whole):
            return False
        after_hyphen = line.broken
    return True


def _prose(sheet: Sheet) -> Iterator[Line]:
    return (line for line in sheet.lines if not any(is_within(line, grid.box) for grid in sheet.grids))


def _body_size(sheets: Sequence[Sheet]) -> float:
    weights: Counter[float] = Counter()
    for sheet in sheets:
        for line in _prose(sheet):
            weights[line.size] += len(line.text)
    return weights.most_common(1)[0][0] if weights else 0.0


def _is_large(line: Line, body: float) -> bool:
    return (
        line.size >= body * HEADING_RATIO
        and len(line.text) <= HEADING_CHARACTERS_MAX
        and bool(_LETTER.search(line.text))
        and not line.fixed
    )


def _heading_levels(sheets: Sequence[Sheet], body: float) -> dict[float, int]:
    """The sizes above the body's, largest first, as heading levels from 1."""
    sizes = {line.size for sheet in sheets for line in _prose(sheet) if _is_large(line, body)}
    return {size: min(level, HEADING_LEVELS_MAX) for level, size in enumerate(sorted(sizes, reverse=True), 1)}


def _pitch(sheets: Sequence[Sheet], body: float) -> float:
    """The usual distance between two lines of the body."""
    steps: Counter[float] = Counter()
    for sheet in sheets:
        lines = list(_prose(sheet))
        for one, two in itertools.pairwise(lines):
            step = round(one.baseline - two.baseline, 1)
            if one.size == two.size == body and 0.8 * body < step < 2.5 * body:
                steps[step] += 1
    return steps.most_common(1)[0][0] if steps else 1.3 * body


@dataclass(slots=True)
class _Block:
    kind: str
    lines: list[Line]


def _page(sheet: Sheet, measures: _Measures) -> str:
    body, pitch = measures.body, measures.pitch
    blocks: list[tuple[str, str]] = []
    written: set[int] = set()
    open_block: _Block | None = None
    for line in sheet.lines:
        inside = next((number for number, grid in enumerate(sheet.grids) if is_within(line, grid.box)), None)
        if inside is not None:
            if inside not in written:
                written.add(inside)
                blocks.extend(_written(open_block, measures))
                open_block = None
                blocks.append(("table", _table(sheet.grids[inside])))
            continue
        kind = _kind(line, open_block, body, pitch)
        if open_block is not None and _goes_on(open_block, line, kind, body, pitch):
            open_block.lines.append(line)
            continue
        blocks.extend(_written(open_block, measures))
        open_block = _Block(kind, [line])
    blocks.extend(_written(open_block, measures))
    return _assembled(blocks)


def _kind(line: Line, before: _Block | None, body: float, pitch: float) -> str:
    if _is_large(line, body):
        return "heading"
    if line.fixed:
        return "code"
    if line.parts:
        return "row"
    if _LIST_ITEM.match(line.text) or " … " in line.text:
        return "item"
    apart = (
        before is None or abs(before.lines[-1].baseline - line.baseline) > pitch * PITCH_SLACK or before.kind == "bold"
    )
    if (
        line.bold
        and apart
        and len(line.text) <= BOLD_HEADING_CHARACTERS_MAX
        and line.text[-1] not in ".,;:"
        and _LETTER.search(line.text)
    ):
        return "bold"
    return "text"


def _goes_on(block: _Block, line: Line, kind: str, body: float, pitch: float) -> bool:
    last = block.lines[-1]
    step = last.baseline - line.baseline
    if block.kind == "code":
        return kind == "code" and -1 <= step <= pitch * 2
    if "row" in (block.kind, kind):
        return (kind == block.kind or last.broken) and -STRAIGHT <= step <= max(pitch, 1.3 * last.size) * PITCH_SLACK
    if block.kind in {"heading", "bold"}:
        return kind == block.kind and line.size == last.size and 0 <= step <= 1.6 * line.size
    if kind not in {"text", "code"} or abs(last.size - line.size) > 0.25 * body:
        return False
    # The larger of two sizes decides: a line that begins with code in a smaller font still belongs to the paragraph.
    return -STRAIGHT <= step <= max(pitch, 1.3 * max(last.size, line.size) if last.size != body else 0) * PITCH_SLACK


def _written(block: _Block | None, measures: _Measures) -> Iterator[tuple[str, str]]:
    """The block's kind and its Markdown."""
    if block is None:
        return
    text, levels = _joined(block.lines, measures.words), measures.levels
    match block.kind:
        case "code":
            text = "```\n" + "\n".join(line.text for line in block.lines) + "\n```"
        case "heading":
            text = f"{'#' * levels[block.lines[0].size]} {text}"
        case "bold":
            text = f"{'#' * min(len(levels) + 1, HEADING_LEVELS_MAX + 1)} {text}"
        case "item":
            text = _LIST_ITEM.sub(lambda found: f"{found[1]}. " if found[1] else "- ", text, count=1)
        case _:
            text = re.sub(r"^(#{1,6}\s)", r"\\\1", text)
    yield block.kind, text


def _assembled(blocks: list[tuple[str, str]]) -> str:
    """Joins blocks with an empty line between them; the items of one list without."""
    parts: list[str] = []
    before = ""
    for kind, text in blocks:
        if text:
            parts.append(("\n" if kind == before == "item" else "\n\n") if parts else "")
            parts.append(text)
            before = kind
    return "".join(parts)


def _joined(lines: list[Line], words: frozenset[str]) -> str:
    parts: list[str] = []
    for line, after in zip(lines, [*lines[1:], None], strict=True):
        last = line.text.rstrip().rpartition(" ")[2]
        word_goes_on = line.broken and after is not None and _is_one_word(last, after.text.lstrip(), words)
        apart = "\n" if line.parts and after is not None else " "
        parts.append(line.text.strip() + ("" if word_goes_on else "-" if line.broken else apart))
    return "".join(parts).strip()


def _table(grid: Grid) -> str:
    rows = [[cell.replace("|", "\\|") for cell in row] for row in grid.cells if any(row)]
    if not rows:
        return ""
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join([lines[0], "|" + " --- |" * len(rows[0]), *lines[1:]])
