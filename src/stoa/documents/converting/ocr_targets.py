"""Pages and pictures without text: found in a document, numbered, and drawn by their number for OCR.

The number is the page of a PDF or a TIFF, and the place of a picture in an office document. In an archive the
document's place is in front of it. It depends on the content alone: what was read under it is kept under it.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Final

from stoa.documents.converting import archives, sniffing
from stoa.documents.converting.packages import Package
from stoa.documents.converting.page import Page
from stoa.documents.converting.presentation import slide_parts
from stoa.documents.types import ConversionError, OcrTarget

STRIDE: Final = 100_000
"""More than any document has pages or pictures."""
_REFERENCE: Final = re.compile(rb"""\br:(?:embed|pict|id)=["']([^"']{1,200})["']""")
_PICTURE: Final = re.compile(r"\\?!\[[^\]\n]{0,1000}\]\([^)\n]{0,1000}\)")


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
    package = Package(data, "the document", kind)
    parts: list[tuple[int | None, str]] = [(None, package.main)]
    if kind == "pptx":
        parts = list(enumerate(slide_parts(package), 1))
    seen: set[str] = set()
    for page, part in parts:
        for reference in _REFERENCE.findall(package.part(part)):
            target = package.target(part, reference.decode("utf-8", "replace"))
            if target is None or target.external or target.target in seen:
                continue
            seen.add(target.target)
            picture = package.part(target.target)
            if sniffing.picture_type(picture[: sniffing.HEAD_BYTES]):
                yield page, picture
