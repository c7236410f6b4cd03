"""Converts JSON, JSON lines, notebooks and XML to text, with escapes and references resolved. Pure."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from html import unescape
from typing import Any, Final

from defusedxml import ElementTree
from defusedxml.common import DefusedXmlException

from stoa.documents.converting.texts import fenced, plain

LINES_NAMED: Final = 5
_ENTITY: Final = re.compile(r"<!\s*ENTITY", re.IGNORECASE)
_REFERENCE: Final = re.compile(r"&(?:#\d{1,7}|#[xX][0-9a-fA-F]{1,6}|[A-Za-z][A-Za-z0-9]{1,30});")
_CDATA: Final = re.compile(r"<!\[CDATA\[(.*?)\]\]>", re.DOTALL)
_COMMENT: Final = re.compile(r"<!--.*?-->", re.DOTALL)
_DECLARATION: Final = re.compile(r"^\s*<\?xml[^>]*\?>")
_OUTPUT_TEXT: Final = "text/plain"


class _Number(str):
    """A number as it is written in the file: `1.10` is not `1.1`, and a long one is not rounded."""

    __slots__ = ()


class _Name(str):
    """A key that equals no other, so that duplicates are kept."""

    __slots__ = ()
    __hash__ = object.__hash__

    def __eq__(self, other: object) -> bool:
        return self is other


def json_text(text: str, name: str) -> tuple[str, list[str]]:
    """One document in a code block; indented where it is on one line or contains escapes."""
    try:
        if "\\" not in text and "\n" in text.strip():
            json.loads(text)
            return fenced(text, "json"), []
        return fenced("\n".join(_lines(_parsed(text), "", "", "")), "json"), []
    except (ValueError, RecursionError):
        records, warnings = json_lines(text, name)
        if not warnings:
            return records, []
        return fenced(text, "json"), [f"{name} is no JSON that can be parsed; it was read as it stands."]


def json_lines(text: str, name: str) -> tuple[str, list[str]]:
    """Each record as a paragraph of one line."""
    records: list[str] = []
    wrong: list[int] = []
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            records.append(_line(_parsed(line)))
        except (ValueError, RecursionError):
            wrong.append(number)
            records.append(plain(line.strip()))
    if not wrong:
        return "\n\n".join(records), []
    named = ", ".join(map(str, wrong[:LINES_NAMED])) + (" …" if wrong[LINES_NAMED:] else "")
    return "\n\n".join(records), [f"{name}: {len(wrong)} lines are no JSON and were read as they stand: {named}."]


def notebook(text: str, name: str) -> tuple[str, list[str]]:
    """The cells in order: Markdown as Markdown, code as code, and the output."""
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        document = None
    cells = _cells(document)
    if not isinstance(document, Mapping) or not isinstance(cells, list):
        read, warnings = json_text(text, name)
        return read, warnings or [f"{name} is no notebook; it was read as JSON."]
    found = document.get("metadata", {})
    kernel = found.get("kernelspec") if isinstance(found, Mapping) else None
    language = str(kernel.get("language") or "") if isinstance(kernel, Mapping) else ""
    return "\n\n".join(piece for cell in cells for piece in _cell(cell, language or "python") if piece), []


def xml(text: str, name: str) -> tuple[str, list[str]]:
    """The document as a code block. Entities that it declares are not expanded: a few lines of them may stand for
    gigabytes."""
    body = _DECLARATION.sub("", text)
    warnings: list[str] = []
    if _ENTITY.search(text):
        warnings.append(f"{name} declares XML entities; they were left as they stand.")
    else:
        try:
            ElementTree.fromstring(body)
        except (ElementTree.ParseError, DefusedXmlException, ValueError, RecursionError):
            warnings.append(f"{name} is no XML that can be parsed; it was read as it stands.")
    body = _COMMENT.sub("", body)
    pieces = _CDATA.split(body)  # Every second piece is the content of a CDATA section, which is plain text.
    pieces[0::2] = [_REFERENCE.sub(lambda found: unescape(found[0]), piece) for piece in pieces[0::2]]
    return fenced("".join(pieces), "xml"), warnings


def _parsed(text: str) -> Any:
    return json.loads(text.removeprefix("\ufeff"), parse_float=_Number, parse_int=_Number, object_pairs_hook=_object)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Keeps both values of a duplicate key."""
    found = dict(pairs)
    return found if len(found) == len(pairs) else {_Name(name): value for name, value in pairs}


def _lines(value: Any, indent: str, lead: str, comma: str) -> Iterator[str]:
    """Pretty-printed JSON with unescaped strings."""
    match value:
        case Mapping() if value:
            yield f"{indent}{lead}{{"
            last = len(value)
            for number, (key, inner) in enumerate(value.items(), 1):
                yield from _lines(inner, f"{indent} ", f'"{key}": ', "," if number < last else "")
            yield f"{indent}}}{comma}"
        case list() if any(isinstance(inner, Mapping | list) for inner in value):
            yield f"{indent}{lead}["
            for number, inner in enumerate(value, 1):
                yield from _lines(inner, f"{indent} ", "", "," if number < len(value) else "")
            yield f"{indent}]{comma}"
        case _:
            first, *others = f"{_line(value)}{comma}".split("\n")
            yield f"{indent}{lead}{first}"
            yield from (f"{indent} {line}" for line in others)


def _line(value: Any) -> str:
    match value:
        case _Number():
            return str(value)
        case str():
            return f'"{value}"'
        case Mapping():
            return "{" + ", ".join(f'"{key}": {_line(inner)}' for key, inner in value.items()) + "}"
        case list():
            return "[" + ", ".join(map(_line, value)) + "]"
        case _:
            return json.dumps(value)


def _cells(document: Any) -> Any:
    """Before version 4 cells were in worksheets."""
    if not isinstance(document, Mapping):
        return None
    sheets = document.get("worksheets")
    if "cells" in document or not isinstance(sheets, list):
        return document.get("cells")
    inner = [sheet.get("cells") for sheet in sheets if isinstance(sheet, Mapping)]
    return [cell for cells in inner if isinstance(cells, list) for cell in cells]


def _cell(cell: Any, language: str) -> Iterator[str]:
    if not isinstance(cell, Mapping):
        return
    source = _joined(cell.get("source", cell.get("input")))
    match cell.get("cell_type"):
        case "markdown":
            yield source.strip()
        case "code":
            yield fenced(source, language)
            outputs = cell.get("outputs")
            for output in outputs if isinstance(outputs, list) else ():
                yield fenced(_output(output), "")
        case _:
            yield plain(source.strip())


def _output(output: Any) -> str:
    """What was printed, shown or raised, as text; images and HTML are left out."""
    if not isinstance(output, Mapping):
        return ""
    if output.get("output_type") == "error":
        return f"{output.get('ename')}: {output.get('evalue')}"
    data = output.get("data")
    shown = data.get(_OUTPUT_TEXT) if isinstance(data, Mapping) else None
    return _joined(output.get("text") if shown is None else shown)


def _joined(source: Any) -> str:
    if isinstance(source, Sequence) and not isinstance(source, str):
        return "".join(part for part in source if isinstance(part, str))
    return source if isinstance(source, str) else ""
