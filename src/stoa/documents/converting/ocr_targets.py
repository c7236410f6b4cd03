"""Pages and pictures without text: found in a document, numbered, and drawn by their number for OCR.

The number is the page of a PDF or a TIFF, and the place of a picture in an office document. In an archive the
document's place is in front of it. It depends on the content alone: what was read under it is kept under it.
"""

import re
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Final

from stoa.documents.converting import archives, sniffing
from stoa.documents.converting.page import Page
from stoa.documents.types import ConversionError, OcrTarget

STRIDE: Final = 100_000
"""More than any document has pages or pictures."""
PART_BYTES_MAX: Final = 32 * 2**20
_REFERENCE: Final = re.compile(rb"""\br:(?:embed|pict|id)=["']([^"']{1,200})["']""")
_RELATION: Final = re.compile(rb"<(?:\w+:)?Relationship\s[^>]{1,2000}>")
_PICTURE: Final = re.compile(r"\\?!\[[^\]\n]{0,1000}\]\([^)\n]{0,1000}\)")
_SLIDE: Final = re.compile(r"ppt/slides/slide(\d{1,6})\.xml")


def within(number: int, part: str, found: Sequence[OcrTarget]) -> list[OcrTarget]:
    """Those of an archive's document, as the archive's."""
    return [replace(target, number=number * STRIDE + target.number, part=part) for target in found]


def of_picture(data: bytes, name: str, pages_max: int) -> list[OcrTarget]:
    """Raises ConversionError."""
    from stoa.documents.converting import pictures  # noqa: PLC0415

    return [OcrTarget(number, page) for page, number in enumerate(pictures.frames(data, name, pages_max), 1)]


def only_pictures(pages: Sequence[Page]) -> bool:
    """Whether what was read of a document only says where its pictures are."""
    return not any(_PICTURE.sub("", page.markdown).strip(" \n-") for page in pages)


def of_office(data: bytes, kind: str, pages_max: int) -> list[OcrTarget]:
    """The pictures of a document or of slides, in the order in which they stand there; none of other formats. Ornaments
    are none."""
    from stoa.documents.converting import pictures  # noqa: PLC0415

    found: list[OcrTarget] = []
    for number, (page, picture) in enumerate(_pictures(data, kind), 1):
        if len(found) >= pages_max:
            break
        if not pictures.is_ornament(picture):
            found.append(OcrTarget(number, page))
    return found


def drawn(path: Path, name: str, mime_type: str | None, number: int) -> bytes:
    """A picture that models take. Raises ConversionError."""
    outer, inner = divmod(number, STRIDE)
    if outer:
        name, data = archives.document(path, name, outer)
        mime_type = None
    else:
        data = path.read_bytes()
    kind = sniffing.sniff(data[: sniffing.HEAD_BYTES], name, mime_type, pictures=True).format
    if kind == "pdf":
        from stoa.documents.converting import pdf  # noqa: PLC0415

        return pdf.picture(data, name, inner)
    from stoa.documents.converting import pictures  # noqa: PLC0415

    if kind == "picture":
        return pictures.drawn(data, name, inner)
    for at, (_, picture) in enumerate(_pictures(data, archives.inspect(BytesIO(data), name)), 1):
        if at == inner:
            return pictures.drawn(picture, name, 1)
    raise ConversionError("corrupt_file", f"{name} has no picture {inner}.")


def _pictures(data: bytes, kind: str | None) -> Iterator[tuple[int | None, bytes]]:
    """Each picture once, with the number of its slide. Other formats than these two have theirs in too many places."""
    if kind not in {"docx", "pptx"}:
        return
    with zipfile.ZipFile(BytesIO(data)) as archive:
        parts = _slides(archive) if kind == "pptx" else [(None, "word/document.xml")]
        seen: set[str] = set()
        for page, part in parts:
            targets = _targets(archive, part)
            for reference in _REFERENCE.findall(_part(archive, part)):
                inside = targets.get(reference, "")
                if inside and inside not in seen:
                    seen.add(inside)
                    picture = _part(archive, inside)
                    if sniffing.picture_type(picture[: sniffing.HEAD_BYTES]):
                        yield page, picture


def _slides(archive: zipfile.ZipFile) -> list[tuple[int | None, str]]:
    found = sorted((int(match[1]), match[0]) for match in map(_SLIDE.fullmatch, archive.namelist()) if match)
    return list(found)


def _targets(archive: zipfile.ZipFile, part: str) -> dict[bytes, str]:
    """What the references of a part lead to inside the archive."""
    folder, _, file = part.rpartition("/")
    found: dict[bytes, str] = {}
    for relation in _RELATION.findall(_part(archive, f"{folder}/_rels/{file}.rels")):
        fields = dict(re.findall(rb"""\b(Id|Target)=["']([^"']{1,1000})["']""", relation))
        if b"Id" in fields and b"Target" in fields:
            found[fields[b"Id"]] = _resolved(folder, fields[b"Target"].decode("utf-8", "replace"))
    return found


def _resolved(folder: str, target: str) -> str:
    if target.startswith("/"):
        return target[1:]
    steps = folder.split("/")
    for step in target.split("/"):
        steps = steps[:-1] if step == ".." else [*steps, step]
    return "/".join(steps)


def _part(archive: zipfile.ZipFile, inside: str) -> bytes:
    """Empty where there is none, or it is damaged, or larger than any page."""
    try:
        entry = archive.getinfo(inside)
        with archive.open(entry) as file:
            return file.read(entry.file_size) if entry.file_size <= PART_BYTES_MAX else b""
    except (KeyError, *archives.BROKEN):
        return b""
