"""Office packages (ECMA-376, part 2): parts are found through relationships, whatever a producer named them.

Names of elements and attributes lose their namespaces: the transitional and the strict ones differ, their local names
do not. Runs in the converting process only.
"""

import re
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from io import BytesIO
from posixpath import normpath
from typing import IO, Final
from urllib.parse import unquote
from xml.etree import ElementTree as FastTree
from xml.etree.ElementTree import Element

from defusedxml import ElementTree
from defusedxml.common import DefusedXmlException

from stoa.documents.converting import archives
from stoa.documents.types import ConversionError

PART_BYTES_MAX: Final = 32 * 2**20
"""The limit of a part that is read as a whole. Sheets are streamed and may be larger."""
RELATION: Final = "r:id"
"""A name for attributes that refer to a relationship, so that they are distinct from other `id`s."""
MAIN: Final = "officeDocument"
DECLARED: Final = re.compile(rb"<!\s*(?:DOCTYPE|ENTITY)", re.IGNORECASE)
_RELATIONSHIPS: Final = "/relationships"
UNREADABLE: Final = (
    FastTree.ParseError,
    DefusedXmlException,
    ValueError,
    LookupError,
    RecursionError,
    *archives.BROKEN,
)


@dataclass(frozen=True, slots=True)
class Relation:
    """`kind` is the last component of its type; `target` a part's name, or an address where it is `external`."""

    kind: str
    target: str
    external: bool


class Package:
    """Raises ConversionError where it has no readable main part."""

    def __init__(self, data: bytes, name: str, kind: str) -> None:
        self._name = name
        self._kind = kind
        self._relations: dict[str, dict[str, Relation]] = {}
        try:
            self._archive = zipfile.ZipFile(BytesIO(data))
        except archives.BROKEN as error:
            raise self.damaged() from error
        self._entries = {archives.part_name(one): one for one in self._archive.infolist()}
        self.main = self._main()

    def damaged(self) -> ConversionError:
        return ConversionError("corrupt_file", f"{self._name} is damaged: it cannot be read as {self._kind.upper()}.")

    def _main(self) -> str:
        found = self.related("", MAIN)
        if not found:
            raise self.damaged()
        return found[0]

    def root(self) -> Element:
        """The main part. Raises ConversionError."""
        found = self.tree(self.main)
        if found is None:
            raise self.damaged()
        return found

    def tree(self, part: str) -> Element | None:
        """None for a part that is missing, broken or too large."""
        data = self.part(part)
        try:
            return local(parsed(data)) if data else None
        except UNREADABLE:
            return None

    def part(self, part: str) -> bytes:
        """Empty where there is none, or it is broken or too large."""
        entry = self._entries.get(part.lower())
        if entry is None or entry.file_size > PART_BYTES_MAX:
            return b""
        try:
            return self._archive.read(entry)
        except archives.BROKEN:
            return b""

    def open(self, part: str) -> IO[bytes] | None:
        entry = self._entries.get(part.lower())
        return self._archive.open(entry) if entry is not None else None

    def relations(self, part: str) -> dict[str, Relation]:
        """A part's relationships, by id."""
        if part not in self._relations:
            folder, _, file = part.rpartition("/")
            root = self.tree(f"{folder}/_rels/{file}.rels".lstrip("/"))
            found = [] if root is None else [one for one in root if one.tag == "Relationship"]
            self._relations[part] = {one.get("Id", ""): _relation(one, folder) for one in found}
        return self._relations[part]

    def related(self, part: str, kind: str) -> Sequence[str]:
        """The parts of this kind that a part refers to."""
        found = (one.target for one in self.relations(part).values() if one.kind == kind and not one.external)
        return list(dict.fromkeys(found))

    def target(self, part: str, reference: str | None) -> Relation | None:
        return self.relations(part).get(reference or "")

    def texts(self, part: str) -> Iterator[str]:
        """The paragraphs of a part without structure: a diagram, a text box, a chart's labels and values."""
        root = self.tree(part)
        for one in root.iter() if root is not None else ():
            if one.tag in ("p", "pt") and not any(inner.tag in ("p", "pt") for inner in one.iter() if inner is not one):
                text = "".join(inner.text or "" for inner in one.iter() if inner.tag in ("t", "v"))
                if text := " ".join(text.split()):
                    yield text


def _relation(one: Element, folder: str) -> Relation:
    target, external = one.get("Target", ""), one.get("TargetMode", "").lower() == "external"
    if not external:
        target = unquote(target.replace("\\", "/"))
        target = normpath(target if target.startswith("/") else f"{folder}/{target}").lstrip("/")
    return Relation(one.get("Type", "").rpartition("/")[2], target, external)


def parsed(data: bytes) -> Element:
    """Uses the C parser for documents without declarations, which office packages must not have; otherwise the safe
    one. Raises one of UNREADABLE."""
    if b"\0" in data[:4] or DECLARED.search(data):
        root: Element = ElementTree.fromstring(data)
        return root
    return FastTree.fromstring(data)  # noqa: S314 - without declarations there are no entities to expand.


def local(root: Element) -> Element:
    """The same tree with local names; without comments and processing instructions."""
    for one in root.iter():
        if "}" in one.tag:
            one.tag = one.tag.rpartition("}")[2]
        if one.attrib:
            one.attrib = {_attribute(key): value for key, value in one.attrib.items()}
    return root


def _attribute(key: str) -> str:
    space, _, name = key.rpartition("}")
    return f"r:{name}" if space.lower().endswith(_RELATIONSHIPS) else name


def flag(element: Element | None, name: str) -> bool:
    """Whether a property element exists and is not switched off."""
    found = element.find(name) if element is not None else None
    return found is not None and found.get("val", "1").lower() not in ("0", "false", "off", "none")


def visible(element: Element) -> Iterator[Element]:
    """The children; of alternatives the first that is not empty (`mc:AlternateContent`)."""
    for one in element:
        if one.tag == "AlternateContent":
            chosen = next((branch for branch in one if branch.tag in ("Choice", "Fallback") and len(branch)), None)
            if chosen is not None:
                yield from visible(chosen)
        else:
            yield one
