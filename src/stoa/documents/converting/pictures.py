"""Images of pages in formats that vision models accept: frames of a TIFF, photographs, images in office documents.

Text in them is not read here. Runs in the converting process only: the library is native code that parses hostile
bytes, within that process's limits of memory and time.
"""

import io
import math
import struct
import warnings
from typing import Final, cast

from PIL import Image, ImageOps

from stoa.documents.converting import sniffing
from stoa.documents.types import ConversionError

PIXELS_MAX: Final = 100_000_000
"""The largest image that is opened: a sheet of A3 at 600 dots per inch has 70 million pixels. In colour that is 400 MB
of memory."""
SENT_PIXELS_MAX: Final = 4_000_000
"""The largest image that is sent to a model: the provider scales larger ones down anyway."""
SENT_EDGE_MAX: Final = 8_000
SENT_BYTES_MAX: Final = 10 * 2**20
EDGE_MIN: Final = 64
"""A smaller image in an office document is an ornament."""
_FORMATS: Final = ("PNG", "JPEG", "TIFF", "WEBP")
_NEW_SUBFILE_TYPE: Final = 254
_THUMBNAIL, _MASK = 1, 4
_BROKEN: Final = (
    OSError,
    EOFError,
    ValueError,
    SyntaxError,
    TypeError,
    LookupError,
    ArithmeticError,
    RuntimeError,
    AttributeError,
    struct.error,
)
"""What the library is known to raise for bytes that are in none of its formats, or damaged."""

Image.MAX_IMAGE_PIXELS = None  # `_open` checks the size itself, with a clear message.


def frames(data: bytes, name: str, pages_max: int) -> list[int]:
    """The page numbers of an image file, from 1: several only in a TIFF, without its thumbnails and masks.

    Raises:
        ConversionError: `corrupt_file`, `too_large` for a page of more than 100 million pixels, `too_many_pages`.
    """
    image, found = _open(data, name), list[int]()
    if image.format != "TIFF":
        _check_size(image, name)
        return [1]
    for number in range(1, 2 * pages_max + 2):
        try:
            _seek(image, number, name)
        except EOFError:
            break
        kind = image.tag_v2.get(_NEW_SUBFILE_TYPE, 0)  # pyright: ignore[reportAttributeAccessIssue]
        if not kind & (_THUMBNAIL | _MASK):
            _check_size(image, name)
            found.append(number)
    if len(found) > pages_max:
        raise ConversionError("too_many_pages", f"{name} has more than {pages_max:,} pages. Split it.")
    if not found:
        raise ConversionError("corrupt_file", f"{name} is damaged: there is no picture in it.")
    return found


def drawn(data: bytes, name: str, number: int) -> bytes:
    """A page of an image file: unchanged where models accept it, otherwise as a grey PNG, upright and scaled down.
    Raises ConversionError."""
    if len(data) <= SENT_BYTES_MAX and sniffing.picture_type(data[: sniffing.HEAD_BYTES]) != "image/tiff":
        return data
    image = _open(data, name)
    try:
        _seek(image, number, name)
        _check_size(image, name)
        width, height = image.size
        scale = min(1.0, math.sqrt(SENT_PIXELS_MAX / (width * height)), SENT_EDGE_MAX / max(width, height))
        size = (max(1, int(width * scale)), max(1, int(height * scale)))
        image.draft("L", size)  # A large JPEG is decoded at a fraction of its size.
        grey = ImageOps.exif_transpose(
            _grey(image).resize(size, Image.Resampling.BOX if scale < 0.5 else Image.Resampling.LANCZOS)
        )
        made = io.BytesIO()
        grey.save(made, "PNG")
    except _BROKEN as error:
        raise ConversionError("corrupt_file", f"{name} is damaged: its picture {number} cannot be decoded.") from error
    return made.getvalue()


def is_ornament(data: bytes) -> bool:
    """Whether a picture in an office document is not worth OCR: too small, or unreadable."""
    try:
        return min(_open(data, "").size) < EDGE_MIN
    except ConversionError:
        return True


def _open(data: bytes, name: str) -> Image.Image:
    warnings.simplefilter("ignore")  # Pillow warns of odd tags; nobody reads these warnings.
    try:
        return Image.open(io.BytesIO(data), formats=_FORMATS)
    except _BROKEN as error:
        raise ConversionError("corrupt_file", f"{name} is damaged: it cannot be opened as a picture.") from error


def _seek(image: Image.Image, number: int, name: str) -> None:
    """Raises EOFError after the last page."""
    try:
        image.seek(number - 1)
    except EOFError:
        raise
    except _BROKEN as error:
        raise ConversionError("corrupt_file", f"{name} is damaged: its page {number} cannot be read.") from error


def _check_size(image: Image.Image, name: str) -> None:
    width, height = image.size
    if width * height > PIXELS_MAX:
        raise ConversionError(
            "too_large",
            f"{name} is a picture of {width:,} by {height:,} pixels; "
            f"at most {PIXELS_MAX // 1_000_000} million are read.",
        )


def _grey(image: Image.Image) -> Image.Image:
    """Eight bits of grey; transparent areas become white."""
    if image.mode == "F" or image.mode.startswith("I"):
        deep = image.convert(
            "I"
        )  # More than eight bits, from a film scanner: scale the range from the darkest to the brightest value.
        low, high = cast("tuple[int, int]", deep.getextrema())
        factor = 255 / max(high - low, 1)
        return deep.point(lambda value: value * factor - low * factor).convert("L")
    if image.mode in {"RGBA", "LA", "PA", "La", "RGBa"} or "transparency" in image.info:
        seen = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", seen.size, "white"), seen).convert("L")
    return (image if image.mode in {"1", "L", "RGB"} else image.convert("RGB")).convert("L")
