"""Reads a project's export, which is a tar archive. Nothing is unpacked to the file system, and names of entries are
never used as paths."""

import hashlib
import json
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final

BLOCK: Final = tarfile.BLOCKSIZE
CHUNK_BYTES: Final = 1024 * 1024
DOCUMENT_BYTES_MAX: Final = 8 * 1024 * 1024
HEADER: Final = "header.json"
MANIFEST: Final = "manifest.json"


class ArchiveError(Exception):
    """The file is not a complete export. The message says what is wrong."""


@dataclass(frozen=True, slots=True)
class Entry:
    name: str
    at: int
    """The offset of its content."""
    size: int

    @property
    def ends(self) -> int:
        """The offset of the next entry."""
        return self.at + self.size + (-self.size % BLOCK)


@dataclass(frozen=True, slots=True)
class Archive:
    """A complete, verified export."""

    path: Path
    manifest: dict[str, Any]
    parts: dict[int, Entry]

    def read(self, number: int) -> bytes:
        entry = self.parts[number]
        with self.path.open("rb") as file:
            return _bytes(file, entry)


@dataclass(frozen=True, slots=True)
class Beginning:
    """An incomplete export: its id, its complete parts, and the offset after them."""

    export_id: str
    project_id: str
    parts: int
    ends: int
    whole: bool


def entries(file: IO[bytes]) -> Iterator[Entry]:
    """The complete entries. Raises ArchiveError if something other than an entry follows."""
    length = file.seek(0, 2)
    at = 0
    while at + BLOCK <= length:
        file.seek(at)
        block = file.read(BLOCK)
        if not block.strip(b"\0"):
            return
        try:
            found = tarfile.TarInfo.frombuf(block, "utf-8", "strict")
        except (tarfile.HeaderError, ValueError) as error:
            raise ArchiveError(
                f"is no export of a Stoa project: at byte {at} there is no entry of a tar archive"
            ) from error
        if not found.isreg():
            raise ArchiveError(f"holds {found.name[:100]!r}, which is no file; an export holds files alone")
        entry = Entry(found.name, at + BLOCK, found.size)
        if entry.at + entry.size > length:
            return
        yield entry
        at = entry.ends


def beginning(path: Path) -> Beginning | None:
    """None if even the header is incomplete. Raises ArchiveError."""
    with path.open("rb") as file:
        export_id = project_id = ""
        parts, ends, whole = 0, 0, False
        for entry in entries(file):
            if entry.name == HEADER:
                header = _document(file, entry)
                export_id, project_id = str(header.get("export_id")), str(header.get("project_id"))
            elif entry.name == MANIFEST:
                whole = True
                break
            else:
                parts += 1
            ends = entry.ends
        return Beginning(export_id, project_id, parts, ends, whole) if export_id else None


def verified(path: Path, tell: Callable[[int, int], None]) -> Archive:
    """Reads the whole file, and compares each part with its entry in the manifest. Raises ArchiveError."""
    with path.open("rb") as file:
        found = list(entries(file))
        last = next((one for one in found if one.name == MANIFEST), None)
        if last is None:
            raise ArchiveError("is cut off: its manifest, which comes last, is missing")
        manifest = _document(file, last)
        held = {one.name: one for one in found if one.name.startswith("parts/")}
        parts: dict[int, Entry] = {}
        listed = manifest.get("parts")
        if not isinstance(listed, list):
            raise ArchiveError("has a manifest without parts")
        for index, part in enumerate(listed, 1):
            name = _name(part)
            entry = held.get(name)
            if entry is None:
                raise ArchiveError(f"lacks {name}, which its manifest names")
            if entry.size != part["size"] or _sha256(file, entry) != part["sha256"]:
                raise ArchiveError(f"was damaged: {name} is not what the manifest says")
            parts[part["number"]] = entry
            tell(index, len(listed))
    return Archive(path, manifest, parts)


def _name(part: Any) -> str:
    try:
        contents = "-contents" if part["contents"] else ""
        return f"parts/{int(part['number']):06}-{part['table']}{contents}.jsonl.gz"
    except (KeyError, TypeError, ValueError) as error:
        raise ArchiveError("has a manifest that is not readable") from error


def _document(file: IO[bytes], entry: Entry) -> dict[str, Any]:
    if entry.size > DOCUMENT_BYTES_MAX:
        raise ArchiveError(f"has a {entry.name} of {entry.size} bytes")
    try:
        value = json.loads(_bytes(file, entry))
    except ValueError as error:
        raise ArchiveError(f"has a {entry.name} that is no JSON") from error
    if not isinstance(value, dict):
        raise ArchiveError(f"has a {entry.name} that is no object")
    return value  # pyright: ignore[reportUnknownVariableType]


def _bytes(file: IO[bytes], entry: Entry) -> bytes:
    file.seek(entry.at)
    return file.read(entry.size)


def _sha256(file: IO[bytes], entry: Entry) -> str:
    digest, left = hashlib.sha256(), entry.size
    file.seek(entry.at)
    while left and (piece := file.read(min(left, CHUNK_BYTES))):
        digest.update(piece)
        left -= len(piece)
    return digest.hexdigest()
