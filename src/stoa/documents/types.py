"""The values of a converted document. No I/O here."""

from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, get_args

Rows: TypeAlias = tuple[int, int]
"""The first and the last row of a piece of a table, counted from 1 below its header."""


@dataclass(frozen=True, slots=True)
class Passage:
    """A piece of a document, small enough to be found and quoted on its own.

    `text` is Markdown. `page` counts from 1 where the format has pages (PDF) or slides (PPTX, ODP). `heading` is the
    nearest heading above the passage, without its marks. `rows` are those of the one table that it holds or is a piece
    of. `sheet` is the sheet of the workbook. `ocr`: a model read it from a picture.
    """

    text: str
    page: int | None = None
    heading: str | None = None
    rows: Rows | None = None
    sheet: str | None = None
    ocr: bool = False

    @property
    def place(self) -> dict[str, Any] | None:
        """Rows, sheet and OCR mark as answers show them; None without any."""
        found: dict[str, Any] = {"rows": list(self.rows)} if self.rows else {}
        if self.sheet is not None:
            found["sheet"] = self.sheet
        if self.ocr:
            found["ocr"] = True
        return found or None


@dataclass(frozen=True, slots=True)
class OcrTarget:
    """A scanned page or an image without text, which OCR may read.

    `number` names it to `Converter.render`, and is the same whenever the same file is read. `page` and `part` (the path
    inside an archive) say where it stands.
    """

    number: int
    page: int | None = None
    part: str | None = None

    @property
    def place(self) -> tuple[str | None, int]:
        """What progress counts: the page, or the image itself where there are no pages."""
        return self.part, self.page if self.page is not None else self.number


@dataclass(frozen=True, slots=True)
class Picture:
    mime_type: str
    data: bytes


@dataclass(frozen=True, slots=True)
class Converted:
    """A document that was read: its passages in document order, its number of pages where it has pages, and warnings,
    one sentence each, about what was left out or guessed."""

    passages: tuple[Passage, ...]
    pages: int | None = None
    warnings: tuple[str, ...] = ()
    ocr_targets: tuple[OcrTarget, ...] = ()
    """Pages and images without text; only if requested instead of a warning."""


ConversionCode: TypeAlias = Literal[
    "unsupported_format",
    "corrupt_file",
    "encrypted_file",
    "too_large",
    "too_many_pages",
    "timed_out",
    "out_of_memory",
    "empty_file",
    "wrong_format",
    "unknown_encoding",
    "converter_crashed",
]
CONVERSION_CODES: frozenset[str] = frozenset(get_args(ConversionCode))


class ConversionError(Exception):
    """A document that cannot be read. An outcome, not a bug: it becomes the status of an item or a sentence to a model.

    `code` is stable; `message` is a sentence that names the file and, where there is one, the way out.
    """

    def __init__(self, code: ConversionCode, message: str) -> None:
        super().__init__(message)
        self.code: ConversionCode = code
        self.message = message
