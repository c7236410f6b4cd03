"""Pictures for a model that sees: pages found and drawn in a process that can be killed, hostile ones refused within
its limits."""

import io
import os
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import docx
import pytest
from PIL import Image

from stoa.documents.converting import Converter
from stoa.documents.converting.pictures import drawn
from stoa.documents.types import ConversionError, OcrTarget, Picture


def picture(
    form: str,
    mode: str = "L",
    size: tuple[int, int] = (300, 200),
    colour: Any = 200,
    others: tuple[Image.Image, ...] = (),
    **options: Any,
) -> bytes:
    made = io.BytesIO()
    more = {"save_all": True, "append_images": others} if others else {}
    Image.new(mode, size, colour).save(made, form, **more, **options)
    return made.getvalue()


def png_header(width: int, height: int) -> bytes:
    body = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + struct.pack(">I", 13)
        + body
        + struct.pack(">I", zlib.crc32(body))
        + b"\0\0\0\0IDAT"
        + struct.pack(">I", zlib.crc32(b"IDAT"))
    )


def looped_tiff() -> bytes:
    """Its only page says that the next one is itself."""
    data = bytearray(picture("TIFF"))
    [first] = struct.unpack_from("<I", data, 4)
    [entries] = struct.unpack_from("<H", data, first)
    struct.pack_into("<I", data, first + 2 + 12 * entries, first)
    return bytes(data)


def with_thumbnail() -> bytes:
    thumbnail = Image.new("L", (30, 20))
    thumbnail.encoderinfo = {"tiffinfo": {254: 1}}  # type: ignore[attr-defined]
    return picture("TIFF", others=(thumbnail, Image.new("L", (310, 200))))


async def seen(
    converter: Converter, tmp_path: Path, name: str, data: bytes
) -> tuple[tuple[OcrTarget, ...], list[Image.Image]]:
    """What is to be looked at, and how a model would see it."""
    path = tmp_path / "blob"
    path.write_bytes(data)
    found = await converter.convert(path, name=name, find_ocr_targets=True)
    assert found.passages == ()
    pictures = [await converter.render(path, target.number, name=name) for target in found.ocr_targets]
    return found.ocr_targets, [
        Image.open(io.BytesIO(one.data), formats=(one.mime_type.removeprefix("image/").upper(),)) for one in pictures
    ]


def test_every_kind_of_tiff_is_drawn_in_grey() -> None:
    """Here, in this process: what is drawn is ours, and the process is tried below."""
    for mode in ("1", "L", "P", "RGB", "RGBA", "LA", "CMYK", "YCbCr", "LAB", "I;16", "I", "F"):
        grey = Image.open(io.BytesIO(drawn(picture("TIFF", mode, colour=0), "scan.tif", 1)))
        assert (grey.format, grey.mode, grey.size) == ("PNG", "L", (300, 200)), mode


def test_deep_pixels_keep_their_contrast_and_transparent_ones_are_white() -> None:
    deep = Image.new("I;16", (200, 100), 1_000)
    deep.paste(60_000, (100, 0, 200, 100))
    seethrough = Image.new("LA", (200, 100), (0, 0))
    for image, left, right in ((deep, 0, 255), (seethrough, 255, 255)):
        made = io.BytesIO()
        image.save(made, "TIFF")
        grey = Image.open(io.BytesIO(drawn(made.getvalue(), "scan.tif", 1)))
        assert (grey.getpixel((10, 10)), grey.getpixel((190, 10))) == (left, right)


async def test_pages_of_a_tiff_are_not_its_thumbnails(converter: Converter, tmp_path: Path) -> None:
    sights, images = await seen(converter, tmp_path, "scan.tif", with_thumbnail())
    assert sights == (OcrTarget(1, 1), OcrTarget(3, 2))
    assert [one.width for one in images] == [300, 310]


async def test_a_large_photograph_is_scaled_down_and_upright(converter: Converter, tmp_path: Path) -> None:
    photograph, lying = io.BytesIO(), Image.Exif()
    lying[274] = 6
    noise = Image.frombytes("L", (4_000, 3_000), os.urandom(12_000_000))
    noise.save(photograph, "JPEG", quality=100, exif=lying)
    assert len(photograph.getvalue()) > 10 * 2**20
    _, [image] = await seen(converter, tmp_path, "photograph.jpg", photograph.getvalue())
    assert image.format == "PNG"
    assert image.size == (1_732, 2_309)


async def test_what_a_model_takes_is_sent_as_it_is(converter: Converter, tmp_path: Path) -> None:
    for form in ("PNG", "JPEG", "WEBP"):
        (tmp_path / form).write_bytes(picture(form))
        assert await converter.render(tmp_path / form, 1, name="a picture") == Picture(
            f"image/{form.lower()}", picture(form)
        )


HOSTILE: dict[str, tuple[Callable[[], bytes], str]] = {
    "huge.tif": (lambda: picture("TIFF", "1", (20_000, 20_000), compression="group4"), "too_large"),
    "bomb.png": (lambda: png_header(60_000, 60_000), "too_large"),
    "cut.tif": (lambda: picture("TIFF", compression="tiff_lzw")[:120], "corrupt_file"),
    "nothing.tif": (lambda: b"II*\0" + bytes(4), "corrupt_file"),
    "noise.tif": (lambda: b"MM\0*" + bytes(range(256)) * 64, "corrupt_file"),
    "cut.png": (lambda: picture("PNG")[:20], "corrupt_file"),
    "noise.webp": (lambda: b"RIFF\x10\0\0\0WEBPVP8 " + bytes(64), "corrupt_file"),
    "noise.jpg": (lambda: b"\xff\xd8\xff\xe0" + os.urandom(500), "corrupt_file"),
}


@pytest.mark.parametrize("name", HOSTILE)
async def test_a_hostile_picture_is_a_typed_error(converter: Converter, tmp_path: Path, name: str) -> None:
    make, code = HOSTILE[name]
    with pytest.raises(ConversionError) as caught:
        await seen(converter, tmp_path, name, make())
    assert (caught.value.code, name in caught.value.message) == (code, True)


async def test_a_tiff_with_cyclic_pages_terminates(converter: Converter, tmp_path: Path) -> None:
    sights, images = await seen(converter, tmp_path, "loop.tif", looped_tiff())
    assert (len(sights), len(images)) == (1, 1)


async def test_limits_hold_for_pictures(tmp_path: Path) -> None:
    pages = tuple(Image.new("1", (64, 64)) for _ in range(5))
    for limits, data, code in (
        ({"pages_max": 4}, picture("TIFF", "1", others=pages), "too_many_pages"),
        (
            {"memory_bytes_max": 400 * 2**20},
            picture("TIFF", "RGB", (10_000, 10_000), 0, compression="tiff_deflate"),
            "out_of_memory",
        ),
    ):
        converter = Converter(**limits)
        with pytest.raises(ConversionError) as caught:
            await seen(converter, tmp_path, "scan.tif", data)
        assert caught.value.code == code
        await converter.close()


async def test_a_wrong_file_extension_is_an_error(converter: Converter, tmp_path: Path) -> None:
    path = tmp_path / "blob"
    path.write_bytes(picture("PNG"))
    found = await converter.convert(path, name="report.pdf", find_ocr_targets=True)
    assert found.warnings == ("report.pdf is named like a PDF file but is PNG; it was read as PNG.",)
    with pytest.raises(ConversionError, match="which OCR would read, but it is off here"):
        await converter.convert(path, name="scan.png")


async def test_an_office_file_with_text_or_without_pictures_has_nothing_ocr_pages(
    converter: Converter, tmp_path: Path
) -> None:
    path = tmp_path / "blob"
    for text, shows in (("Some words.", True), ("", False)):
        document = docx.Document()
        document.add_paragraph(text)
        if shows:
            document.add_picture(io.BytesIO(picture("PNG")))
        document.save(str(path))
        found = await converter.convert(path, name="letter.docx", find_ocr_targets=True)
        assert found.ocr_targets == ()
    for name, data in (("empty.html", b"<html><body></body></html>"), ("empty.eml", b"Subject: \n\n")):
        path.write_bytes(data)
        assert (await converter.convert(path, name=name, find_ocr_targets=True)).ocr_targets == ()
