"""HTML to Markdown without what only a browser needs. Runs in the converting process only."""

import re
from typing import Final

from selectolax.lexbor import LexborHTMLParser, LexborNode

from stoa.documents.converting import charsets, html_tables, library
from stoa.documents.converting.page import Page

DEPTH_MAX: Final = 3_000
_TAG: Final = re.compile(
    r"</?(?!br|hr|img|p\b|li|td|tr|th|dd|dt|option|input|meta|link|col|wbr|area|source|param)[a-z][a-z0-9]*\b",
    re.IGNORECASE,
)
"""Those that have an end: the others need none, and say nothing of the depth."""
_HIDDEN: Final = "script, style, template, noscript, svg, title, link, meta, iframe, object, embed, wbr, [hidden]"
_EMPHASIS: Final = (
    "b", "strong", "i", "em", "u", "s", "strike", "del", "ins", "small", "big", "mark", "font", "span", "abbr", "bdi",
    "bdo", "dfn", "cite", "var", "kbd", "samp", "form", "label", "fieldset",
)  # fmt: skip
"""Marks of emphasis would stand inside words: `Projekt**nummer**`. Nothing that is searched or quoted needs them."""
_MAILED: Final = re.compile(r"^cid:|^data:", re.IGNORECASE)


def html_pages(data: bytes, name: str, mime_type: str | None) -> tuple[list[Page], list[str]]:
    """Raises ConversionError."""
    text, warnings = charsets.decode(data, name, mime_type, html=True)
    readable = text if _is_deep(text) else _readable(text)
    return library.by_library(readable.encode("utf-8", "replace"), name, "html"), warnings


def _is_deep(text: str) -> bool:
    """Nested as no page is: the parser's time grows with the square of the depth."""
    depth = 0
    for tag in _TAG.finditer(text):
        depth += -1 if tag[0].startswith("</") else 1
        if depth > DEPTH_MAX:
            return True
    return False


def _readable(text: str) -> str:
    """The document with what is shown of it alone."""
    tree = LexborHTMLParser(text)
    for node in tree.css(_HIDDEN):
        node.decompose()
    for picture in tree.css("img"):
        source = picture.attributes.get("src") or ""
        if _MAILED.match(source):
            alternative = (picture.attributes.get("alt") or "").strip()
            picture.replace_with(f" {alternative} " if alternative else " ")
    for link in tree.css("a[href^='data:']"):
        link.unwrap()
    for field in tree.css("input, textarea, option, button"):
        shown = field.attributes.get("type") not in ("hidden", "password")
        text = (field.attributes.get("value") if field.tag == "input" else field.text()) or ""
        field.replace_with(f" {text.strip()} " if shown else " ")
    html_tables.repeat_merged(tree)
    tree.unwrap_tags(list(_EMPHASIS))
    tree.merge_text_nodes()
    for inline in tree.css("a, code"):
        if _is_within_a_word(inline):
            inline.unwrap()
    return tree.html or ""


def _is_within_a_word(node: LexborNode) -> bool:
    """A link or code of which the word goes on before or behind it: marks around it would tear the word."""
    text = node.text()
    before, behind = node.prev, node.next
    goes_on_before = text[:1].isalnum() and _text(before)[-1:].isalnum()
    return goes_on_before or (text[-1:].isalnum() and _text(behind)[:1].isalnum())


def _text(node: LexborNode | None) -> str:
    return (node.text_content or "") if node is not None and node.tag == "-text" else ""
