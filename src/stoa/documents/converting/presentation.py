"""PowerPoint presentations to Markdown: each slide in the order of the show, with its notes and comments.

Runs in the converting process only.
"""

from collections.abc import Iterator
from typing import Final
from xml.etree.ElementTree import Element

from stoa.documents.converting.packages import RELATION, Package, visible
from stoa.documents.converting.page import Page
from stoa.documents.converting.spans import span
from stoa.documents.converting.tables import markdown_table
from stoa.documents.types import ConversionError

DEPTH_MAX: Final = 60
"""The limit of nested groups."""
_TITLES: Final = frozenset({"title", "ctrTitle"})
_NUMBERS: Final = frozenset({"sldNum", "dt", "sldImg", "hdr"})
_BODIES: Final = frozenset({"body", "obj", ""})


def presentation_pages(data: bytes, name: str, pages_max: int) -> tuple[int, list[Page], list[str]]:
    """The number of slides, those that hold text, and warnings. Raises ConversionError."""
    package = Package(data, name, "pptx")
    slides = slide_parts(package)
    if len(slides) > pages_max:
        raise ConversionError(
            "too_many_pages", f"{name} has {len(slides):,} slides; at most {pages_max:,} are read. Split it."
        )
    pages: list[Page] = []
    damaged: list[int] = []
    for number, part in enumerate(slides, 1):
        root = package.tree(part)
        if root is None:
            damaged.append(number)
            continue
        markdown = "\n\n".join(_slide(package, part, root))
        if markdown.strip():
            pages.append(Page(markdown, number))
    named = ", ".join(map(str, damaged[:10]))
    return len(slides), pages, [f"{name}: damaged slides were left out: {named}."] if damaged else []


def slide_parts(package: Package) -> list[str]:
    """In the order of the show. Raises ConversionError."""
    targets = (package.target(package.main, one.get(RELATION)) for one in package.root().iter("sldId"))
    return [one.target for one in targets if one is not None and one.kind == "slide" and not one.external]


def _slide(package: Package, part: str, root: Element) -> Iterator[str]:
    tree = root.find("cSld/spTree")
    hidden = " (hidden)" if root.get("show", "1").lower() in ("0", "false") else ""
    titles: list[str] = []
    blocks: list[str] = []
    for shape in _shapes(tree, 0) if tree is not None else ():
        kind = _placeholder(shape)
        if kind in _TITLES:
            titles.append(" ".join(line for _, line in _lines(shape)))
        elif kind == "ftr":
            blocks += [f"Footer: {line}" for _, line in _lines(shape)]
        elif kind not in _NUMBERS:
            blocks += _shape(package, part, shape, is_body=kind in _BODIES)
    title = " ".join(one for one in titles if one)
    if title:
        yield f"## {title}{hidden}"
    elif hidden and blocks:
        yield f"##{hidden}"
    yield from blocks
    yield from _notes(package, part)
    yield from _comments(package, part)


def _shapes(tree: Element, depth: int) -> Iterator[Element]:
    for one in visible(tree):
        if one.tag == "grpSp":
            if depth < DEPTH_MAX:
                yield from _shapes(one, depth + 1)
        elif one.tag in ("sp", "graphicFrame", "pic", "cxnSp"):
            yield one


def _placeholder(shape: Element) -> str | None:
    """The kind of a shape's placeholder; None for a shape without one."""
    found = shape.find("nvSpPr/nvPr/ph")
    return found.get("type", "") if found is not None else None


def _shape(package: Package, part: str, shape: Element, *, is_body: bool) -> Iterator[str]:
    if shape.tag == "pic":
        described = shape.find("nvPicPr/cNvPr")
        if described is not None and (text := described.get("descr", "").strip()):
            yield f"![{' '.join(text.split())}]()"
        return
    if shape.tag == "graphicFrame":
        yield from _frame(package, part, shape)
        return
    lines = _lines(shape)
    if is_body and len(lines) > 1:
        yield "\n".join(f"{'  ' * level}- {text}" for level, text in lines)
    else:
        yield from (text for _, text in lines)


def _frame(package: Package, part: str, frame: Element) -> Iterator[str]:
    """A graphic frame: a table, a chart or a diagram."""
    for one in frame.iter():
        if one.tag == "tbl":
            rows = _rows(one)
            if width := max(map(len, rows), default=0):
                yield markdown_table(rows, width)
            return
        if one.tag in ("chart", "relIds"):
            for reference in (one.get(RELATION), one.get("r:dm")):
                target = package.target(part, reference)
                if target is not None and (texts := list(package.texts(target.target))):
                    yield "; ".join(texts)


def _rows(table: Element) -> list[list[str]]:
    """Merged cells repeat their text in each row and column."""
    rows: list[list[str]] = []
    for row in table.iter("tr"):
        cells: list[str] = []
        for cell in row.iter("tc"):
            text = " ".join(line for _, line in _lines(cell))
            if cell.get("hMerge", "0") not in ("0", "false"):
                text = text or (cells[-1] if cells else "")
            elif cell.get("vMerge", "0") not in ("0", "false") and rows and len(cells) < len(rows[-1]):
                text = text or rows[-1][len(cells)]
            cells.append(text)
            if span(cell.get("gridSpan")) > 1 and not any(one.get("hMerge") for one in row.iter("tc")):
                cells += [text] * (span(cell.get("gridSpan")) - 1)
        if any(cells):
            rows.append(cells)
    return rows


def _lines(shape: Element) -> list[tuple[int, str]]:
    """The paragraphs of a shape, with their levels."""
    found: list[tuple[int, str]] = []
    for paragraph in shape.iter("p"):
        text = " ".join("".join(_runs(paragraph)).split())
        level = paragraph.find("pPr")
        depth = level.get("lvl", "0") if level is not None else "0"
        if text:
            found.append((int(depth) if depth.isdigit() and len(depth) == 1 else 0, text))
    return found


def _runs(paragraph: Element) -> Iterator[str]:
    for one in visible(paragraph):
        if one.tag == "t":
            yield one.text or ""
        elif one.tag in ("br", "tab"):
            yield " "
        elif not (one.tag == "fld" and one.get("type", "").startswith("slidenum")):
            yield from _runs(one)


def _notes(package: Package, part: str) -> Iterator[str]:
    for notes in package.related(part, "notesSlide"):
        root = package.tree(notes)
        tree = root.find("cSld/spTree") if root is not None else None
        shapes = [one for one in _shapes(tree, 0) if _placeholder(one) not in _NUMBERS] if tree is not None else []
        lines = [line for shape in shapes for _, line in _lines(shape)]
        if lines:
            yield "\n\n".join(["Speaker notes:", *lines])


def _comments(package: Package, part: str) -> Iterator[str]:
    for comments in package.related(part, "comments"):
        root = package.tree(comments)
        for one in root.iter() if root is not None else ():
            if one.tag in ("cm", "reply"):
                body = one.find("txBody")
                text = one.findtext("text") or " ".join(line for _, line in (_lines(body) if body is not None else ()))
                if text.strip():
                    yield f"Comment: {' '.join(text.split())}"
