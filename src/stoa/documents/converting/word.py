"""Word documents to Markdown: the body in order, with notes, comments, text boxes, headers and footers.

Tracked deletions are left out and insertions kept: the text as if all changes were accepted. Hidden text is marked as
such. Runs in the converting process only.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final
from xml.etree.ElementTree import Element

from stoa.documents.converting import numbering
from stoa.documents.converting.packages import RELATION, Package, flag, visible
from stoa.documents.converting.page import Page
from stoa.documents.converting.spans import spanned
from stoa.documents.converting.tables import markdown_table
from stoa.documents.types import ConversionError

DEPTH_MAX: Final = 60
"""The limit of nested tables and boxes."""
LEVELS_MAX: Final = 6
_SKIPPED: Final = frozenset(
    {"del", "moveFrom", "pPr", "rPr", "tblPr", "tblGrid", "trPr", "tcPr", "sdtPr", "sdtEndPr", "sectPr", "delText",
     "instrText", "delInstrText", "rt", "ffData", "docPartObj"}
)  # fmt: skip
_SPACES: Final = {"tab": " ", "ptab": " ", "br": "\n", "cr": "\n", "noBreakHyphen": "-", "softHyphen": ""}
_DRAWN: Final = frozenset({"drawing", "pict", "object"})


@dataclass(slots=True)
class _Style:
    level: int | None
    numbered: tuple[str, int] | None
    parent: str | None


@dataclass(slots=True)
class _Document:
    package: Package
    styles: Mapping[str, _Style]
    numbers: numbering.Numbers
    notes: Mapping[str, Mapping[str, tuple[str, Element]]]
    """By reference element and id: the part that contains the note, and the note."""
    part: str
    after: list[str] = field(default_factory=list[str])
    """Notes, comments and boxes of the current block, shown after it."""
    depth: int = 0
    objects: int = 0


def word_pages(data: bytes, name: str) -> tuple[list[Page], list[str]]:
    """Raises ConversionError."""
    package = Package(data, name, "docx")
    body = package.root().find("body")
    if body is None:
        raise package.damaged()
    document = _Document(
        package,
        _styles(package),
        numbering.Numbers(package),
        {
            "footnoteReference": _by_id(package, "footnotes", "footnote"),
            "endnoteReference": _by_id(package, "endnotes", "endnote"),
            "commentReference": _by_id(package, "comments", "comment"),
        },
        package.main,
    )
    try:
        blocks = [*_blocks(document, body), *_margins(document, body)]
    except RecursionError as error:
        raise ConversionError("corrupt_file", f"{name} is nested too deeply.") from error
    markdown = "\n\n".join(_together(blocks))
    embedded = document.objects
    warnings = [f"{name}: {embedded} embedded files or objects were not read."] if embedded else []
    return [Page(markdown, None)] if markdown.strip() else [], warnings


def _together(blocks: list[str]) -> Iterator[str]:
    """Whether two blocks are items of one list, which have no empty line between them."""
    items: list[str] = []
    for block in blocks:
        if numbering.is_item(block):
            items.append(block)
            continue
        if items:
            yield "\n".join(items)
            items = []
        yield block
    if items:
        yield "\n".join(items)


def _by_id(package: Package, kind: str, tag: str) -> Mapping[str, tuple[str, Element]]:
    found: dict[str, tuple[str, Element]] = {}
    for part in package.related(package.main, kind):
        root = package.tree(part)
        for one in root.iter(tag) if root is not None else ():
            if one.get("type") not in ("separator", "continuationSeparator", "continuationNotice"):
                found[one.get("id", "")] = (part, one)
    return found


def _styles(package: Package) -> Mapping[str, _Style]:
    found: dict[str, _Style] = {}
    for part in package.related(package.main, "styles"):
        root = package.tree(part)
        for one in root.iter("style") if root is not None else ():
            if one.get("type", "paragraph") == "paragraph":
                found[one.get("styleId", "")] = _Style(_level(one), _numbered(one.find("pPr")), _value(one, "basedOn"))
    return found


def _level(style: Element) -> int | None:
    """The level of a heading, from 1: by its outline level, or by the style's name, which is English in every language
    of Word."""
    name = (_value(style, "name") or "").lower()
    outline = _value(style, "pPr/outlineLvl")
    if outline is not None and outline.isdigit() and int(outline) < 9:
        return int(outline) + 1
    word, _, number = name.partition(" ")
    if word == "heading" and number.isdigit():
        return int(number)
    return 1 if name == "title" else None


def _value(element: Element, path: str) -> str | None:
    found = element.find(path)
    return found.get("val") if found is not None else None


def _numbered(properties: Element | None) -> tuple[str, int] | None:
    number = properties.find("numPr") if properties is not None else None
    if number is None:
        return None
    level = _value(number, "ilvl") or "0"
    return _value(number, "numId") or "", int(level) if level.isdigit() else 0


def _inherited(document: _Document, style: str | None) -> tuple[int | None, tuple[str, int] | None]:
    """Level and numbering of a style, its own or inherited from the style it is based on."""
    level, numbered = None, None
    for _ in range(20):
        found = document.styles.get(style or "")
        if found is None:
            break
        level = found.level if level is None else level
        numbered = found.numbered if numbered is None else numbered
        style = found.parent
    return level, numbered


# --- blocks -----------------------------------------------------------------------------------------------------------
def _blocks(document: _Document, element: Element) -> Iterator[str]:
    """Paragraphs, headings, items and tables below an element as Markdown; each is followed by its notes, comments and
    boxes."""
    if document.depth >= DEPTH_MAX:
        return
    document.depth += 1
    for one in visible(element):
        if one.tag == "p":
            outer, document.after = document.after, []
            if text := _paragraph(document, one):
                yield text
            yield from document.after
            document.after = outer
        elif one.tag == "tbl":
            outer, document.after = document.after, []
            yield from _table(document, one)
            yield from document.after
            document.after = outer
        elif one.tag == "altChunk":
            document.objects += 1
        elif one.tag not in _SKIPPED:
            yield from _blocks(document, one)
    document.depth -= 1


def _paragraph(document: _Document, paragraph: Element) -> str:
    properties = paragraph.find("pPr")
    text = _tidy("".join(_runs(document, paragraph)))
    style = _value(properties, "pStyle") if properties is not None else None
    level, numbered = _inherited(document, style)
    if properties is not None:
        outline = _value(properties, "outlineLvl")
        level = int(outline) + 1 if outline and outline.isdigit() and int(outline) < 9 else level
        numbered = _numbered(properties) or numbered
    if not text:
        return ""
    label = document.numbers.label(numbered) if numbered else None
    if level is not None:
        one_line = " ".join(text.split())
        return f"{'#' * min(level, LEVELS_MAX)} {f'{label} ' if label and label != '-' else ''}{one_line}"
    if label is not None and numbered:
        return numbering.item(label, numbered[1], text)
    return f"\\{text}" if text.startswith("#") else text


def _tidy(text: str) -> str:
    return "\n".join(line for raw in text.split("\n") if (line := " ".join(raw.split())))


def _runs(document: _Document, element: Element) -> Iterator[str]:
    """The text of a paragraph in order; boxes, notes and comments are added to `document.after`."""
    for one in visible(element):
        if one.tag == "t":
            yield one.text or ""
        elif one.tag in _SPACES:
            yield _SPACES[one.tag]
        elif one.tag == "sym":
            yield _symbol(one.get("char", ""))
        elif one.tag == "r" and flag(one.find("rPr"), "vanish"):
            if hidden := "".join(_runs(document, one)).strip():
                yield f" (hidden: {hidden}) "
        elif one.tag == "hyperlink":
            yield _link(document, one)
        elif one.tag in document.notes:
            _note(document, one)
        elif one.tag in _DRAWN:
            yield from _drawn(document, one)
        elif one.tag == "ruby":
            yield from _ruby(document, one)
        elif one.tag not in _SKIPPED:
            yield from _runs(document, one)


def _symbol(code: str) -> str:
    """Symbol fonts have their characters in the private use area, where no letter is known."""
    try:
        found = chr(int(code, 16))
    except (ValueError, OverflowError):
        return ""
    return " " if "\ue000" <= found <= "\uf8ff" else found


def _link(document: _Document, link: Element) -> str:
    text = "".join(_runs(document, link))
    target = document.package.target(document.part, link.get(RELATION))
    if target is None or not target.external or not text.strip() or target.target.removeprefix("mailto:") in text:
        return text
    return f"[{text.strip()}]({target.target.replace(')', '%29').replace(' ', '%20')})"


def _ruby(document: _Document, ruby: Element) -> Iterator[str]:
    """The word, with its reading (ruby) in brackets after it: letter by letter, each would interrupt the other."""
    base, reading = ruby.find("rubyBase"), ruby.find("rt")
    if base is not None:
        yield from _runs(document, base)
    if reading is not None and (text := "".join(_runs(document, reading)).strip()):
        yield f"({text})"


def _note(document: _Document, reference: Element) -> None:
    found = document.notes[reference.tag].get(reference.get("id", ""))
    if found is None:
        return
    part, note = found
    label = {"footnoteReference": "Footnote", "endnoteReference": "Endnote"}.get(reference.tag, "Comment")
    author = note.get("author") if label == "Comment" else None
    outer, document.part = document.part, part
    text = " ".join(" ".join(_blocks(document, note)).split())
    document.part = outer
    if text:
        document.after.append(f"{label} ({author}): {text}" if author else f"{label}: {text}")


def _drawn(document: _Document, drawing: Element) -> Iterator[str]:
    """The alternative text of an image; text boxes, charts and diagrams are shown after the block."""
    for one in _shown(drawing):
        if one.tag == "docPr" and (text := one.get("descr", "").strip()):
            yield f" ![{' '.join(text.split())}]() "
        elif one.tag == "txbxContent":
            document.after += _blocks(document, one)
        elif one.tag == "OLEObject":
            document.objects += 1
        elif one.tag in ("chart", "relIds"):
            for reference in (one.get(RELATION), one.get("r:dm")):
                target = document.package.target(document.part, reference)
                if target is not None and (texts := list(document.package.texts(target.target))):
                    document.after.append("; ".join(texts))


def _shown(element: Element) -> Iterator[Element]:
    """All descendants, except those in text boxes, which are read as a whole."""
    for one in visible(element):
        yield one
        if one.tag != "txbxContent":
            yield from _shown(one)


# --- tables -----------------------------------------------------------------------------------------------------------
def _table(document: _Document, table: Element) -> Iterator[str]:
    rows: list[list[str]] = []
    for row in _within(table, "tr"):
        if row.find("trPr/del") is None:
            rows.append(_row(document, row, rows[-1] if rows else []))
    rows = [row for row in rows if any(row)]
    width = max(map(len, rows), default=0)
    if width == 1 and len(rows) == 1:  # A frame around text, not a table.
        yield rows[0][0]
    elif width:
        yield markdown_table(rows, width)


def _row(document: _Document, row: Element, above: list[str]) -> list[str]:
    skipped = _value(row, "trPr/gridBefore") or "0"
    cells = [""] * (min(int(skipped), 100) if skipped.isdigit() else 0)
    for cell in _within(row, "tc"):
        properties = cell.find("tcPr")
        text = _cell(document, cell)
        merged = properties.find("vMerge") if properties is not None else None
        if merged is not None and merged.get("val", "continue") == "continue" and len(cells) < len(above):
            text = text or above[len(cells)]
        cells += spanned(text, _value(cell, "tcPr/gridSpan"))
    return cells


def _cell(document: _Document, cell: Element) -> str:
    return " ".join(block.removeprefix("\\") if block.startswith("\\#") else block for block in _blocks(document, cell))


def _within(element: Element, tag: str) -> Iterator[Element]:
    """The rows of a table or the cells of a row, which content controls may wrap."""
    for one in visible(element):
        if one.tag == tag:
            yield one
        elif one.tag in ("sdt", "sdtContent", "customXml", "ins", "moveTo", "smartTag"):
            yield from _within(one, tag)


# --- margins ----------------------------------------------------------------------------------------------------------
def _margins(document: _Document, body: Element) -> Iterator[str]:
    """Headers and footers of all sections, each text once."""
    seen: set[str] = set()
    for reference in body.iter():
        if reference.tag not in ("headerReference", "footerReference"):
            continue
        target = document.package.target(document.package.main, reference.get(RELATION))
        root = document.package.tree(target.target) if target is not None else None
        if target is None or root is None:
            continue
        document.part = target.target
        label = "Header" if reference.tag == "headerReference" else "Footer"
        for block in list(_blocks(document, root)):
            text = block if block.startswith("|") else f"{label}: {' '.join(block.lstrip('#').split())}"
            if text not in seen:
                seen.add(text)
                yield text
    document.part = document.package.main
