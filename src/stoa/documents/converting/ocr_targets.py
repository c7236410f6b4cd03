"""Pages and images without text: finds and numbers them in a document, and draws one by its number for OCR.

The number is the page of a PDF or a TIFF, or the position of an image in an office document. Within an archive the
document's position is prepended. It depends on the content alone, so OCR results are cached by it.
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
    """The targets of an archive's document, renumbered for the archive."""
    return [replace(target, number=number * STRIDE + target.number, part=part) for target in found]


def of_picture(data: bytes, name: str, pages_max: int) -> list[OcrTarget]:
    """Raises ConversionError."""
    from stoa.documents.converting import pictures  # noqa: PLC0415

    return [OcrTarget(number, page) for page, number in enumerate(pictures.frames(data, name, pages_max), 1)]


def only_pictures(pages: Sequence[Page]) -> bool:
    """Whether the text of a document only says where its images are."""
    return not any(_PICTURE.sub("", page.markdown).strip(" \n-") for page in pages)


def of_office(data: bytes, kind: str, pages_max: int) -> list[OcrTarget]:
    """The images of a text document or of slides, in order, without ornaments; none of other formats."""
    from stoa.documents.converting import pictures  # noqa: PLC0415

    found: list[OcrTarget] = []
    for number, (page, picture) in enumerate(_pictures(data, kind), 1):
        if len(found) >= pages_max:
            break
        if not pictures.is_ornament(picture):
            found.append(OcrTarget(number, page))
    return found


def drawn(path: Path, name: str, mime_type: str | None, number: int) -> bytes:
    """An image in a format that models accept. Raises ConversionError."""
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
    """Each image once, with the number of its slide. In formats other than these two, images are in too many places."""
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
