"""HTML to Markdown, without what only a browser needs. Runs in the converting process only."""

import re
from typing import Final

from selectolax.lexbor import LexborHTMLParser, LexborNode

from stoa.documents.converting import charsets, html_tables, library
from stoa.documents.converting.page import Page
from stoa.documents.types import ConversionError

DEPTH_MAX: Final = 3_000
_TAG: Final = re.compile(
    r"</?(?!br|hr|img|p\b|li|td|tr|th|dd|dt|option|input|meta|link|col|wbr|area|source|param)[a-z][a-z0-9]*\b",
    re.IGNORECASE,
)
"""Elements with an end tag: the others do not nest, so they do not count for the depth."""
_HIDDEN: Final = (
    "script, style, template, noscript, head title, link, meta, iframe, embed, wbr, [hidden], nav, [role=navigation]"
)
_EMPHASIS: Final = (
    "b", "strong", "i", "em", "u", "s", "strike", "del", "ins", "small", "big", "mark", "font", "span", "abbr", "bdi",
    "bdo", "dfn", "cite", "var", "kbd", "samp", "form", "label", "fieldset",
)  # fmt: skip
"""Emphasis marks would split words: `Projekt**nummer**`. Search and quotes do not need them."""
_BLOCKS: Final = "p, li, h1, h2, h3, h4, h5, h6, pre"
_MAILED: Final = re.compile(r"^cid:|^data:", re.IGNORECASE)


def html_pages(data: bytes, name: str, mime_type: str | None) -> tuple[list[Page], list[str]]:
    """Raises ConversionError."""
    text, warnings = charsets.decode(data, name, mime_type, html=True)
    readable = text if _is_deep(text) else _readable(text)
    try:
        return library.by_library(readable.encode("utf-8", "replace"), name, "html"), warnings
    except ConversionError as error:
        if error.code != "corrupt_file" or _is_deep(text):
            raise
    # Browsers and this parser read any HTML, so the library failed, not the file.
    body = LexborHTMLParser(readable).body
    plain = body.text(separator="\n", strip=True) if body is not None else ""
    return [Page(plain, None)], [*warnings, f"{name} was read as plain text: its headings and tables are lost."]


def _is_deep(text: str) -> bool:
    """Nested deeper than any real page: the parser's time grows with the square of the depth."""
    depth = 0
    for tag in _TAG.finditer(text):
        depth += -1 if tag[0].startswith("</") else 1
        if depth > DEPTH_MAX:
            return True
    return False


def _readable(text: str) -> str:
    """The document with its visible content only."""
    tree = LexborHTMLParser(text)
    for node in tree.css(_HIDDEN):
        node.decompose()
    for drawing in tree.css("svg"):
        drawing.replace_with(_drawn(tree, drawing))
    for ruby in tree.css("ruby"):
        ruby.replace_with(_read(ruby))
    _describe_pictures(tree)
    for link in tree.css("a[href^='data:']"):
        link.unwrap()
    for field in tree.css("input, textarea, option, button"):
        shown = field.attributes.get("type") not in ("hidden", "password")
        text = (field.attributes.get("value") if field.tag == "input" else field.text()) or ""
        field.replace_with(f" {text.strip()} " if shown else " ")
    _drop_empty(tree)
    html_tables.repeat_merged(tree)
    tree.unwrap_tags(list(_EMPHASIS))
    tree.merge_text_nodes()
    for inline in tree.css("a, code"):
        if _is_within_a_word(inline):
            inline.unwrap()
    return tree.html or ""


def _drop_empty(tree: LexborHTMLParser) -> None:
    """Removes empty links and blocks: for an icon's link the library writes the address as text, and on a block of
    white space it fails."""
    for one in (*tree.css("a"), *reversed(tree.css(_BLOCKS))):
        if not one.text(strip=True):
            one.decompose()


def _describe_pictures(tree: LexborHTMLParser) -> None:
    for picture in tree.css("img"):
        picture.replace_with(_described(picture))


def _described(picture: LexborNode) -> str:
    """The text in place of an image; nothing for an ornament, whose alt text is empty."""
    text = " ".join((picture.attributes.get("alt") or "").split())
    source = (picture.attributes.get("src") or "").strip()
    if not text or _MAILED.match(source):
        return f" {text} "
    return f" ![{text}]({source.replace(' ', '%20').replace(')', '%29')}) "


def _drawn(tree: LexborHTMLParser, drawing: LexborNode) -> LexborNode:
    """The texts of an SVG drawing, one per line: pages of books and labels of diagrams are drawn so. Its title is left
    out, because it is an icon's name."""
    shown = tree.create_node("div")
    for line in drawing.css("tspan[x], tspan[y], tspan[dy]"):
        line.insert_before(" ")
    for one in drawing.css("text, foreignObject, foreignobject"):
        if words := " ".join(one.text().split()):
            line = tree.create_node("p")
            line.insert_child(words)
            shown.insert_child(line)
    return shown


def _read(ruby: LexborNode) -> str:
    """The word, with its reading (ruby) in brackets after it: letter by letter, each would interrupt the other."""
    readings = ruby.css("rt")
    reading = "".join(one.text(strip=True) for one in readings)
    for one in ruby.css("rt, rp"):
        one.decompose()
    word = ruby.text(strip=True)
    return f"{word}({reading})" if word and reading else word or reading


def _is_within_a_word(node: LexborNode) -> bool:
    """Whether a link or code is only a part of a word: marks around it would split the word."""
    text = node.text()
    before, behind = node.prev, node.next
    goes_on_before = text[:1].isalnum() and _text(before)[-1:].isalnum()
    return goes_on_before or (text[-1:].isalnum() and _text(behind)[:1].isalnum())


def _text(node: LexborNode | None) -> str:
    return (node.text_content or "") if node is not None and node.tag == "-text" else ""
