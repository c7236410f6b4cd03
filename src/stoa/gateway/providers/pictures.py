"""The type of an image from its first bytes, because names and declared types are often wrong. Pure."""

import struct
from dataclasses import dataclass

from stoa.gateway.providers.demands import GIF, JPEG, PNG, WEBP, Demands
from stoa.gateway.types import ImagePart

_NAMES = {PNG: "PNG", JPEG: "JPEG", GIF: "GIF", WEBP: "WebP"}
_FRAMES = frozenset({0xC0, 0xC1, 0xC2, 0xC3, 0xC5, 0xC6, 0xC7, 0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF})
_JPEG_SEGMENTS_MAX = 200


@dataclass(frozen=True, slots=True)
class PictureInfo:
    """A picture's true media type, and its size in pixels where the first bytes tell it."""

    mime_type: str
    width: int = 0
    height: int = 0


def picture_info(data: bytes) -> PictureInfo | None:
    """None for types that providers do not accept."""
    try:
        if data.startswith(b"\x89PNG\r\n\x1a\n"):
            return PictureInfo(PNG, *struct.unpack(">II", data[16:24]))
        if data.startswith(b"\xff\xd8\xff"):
            return PictureInfo(JPEG, *_jpeg_size(data))
        if data.startswith((b"GIF87a", b"GIF89a")):
            return PictureInfo(GIF, *struct.unpack("<HH", data[6:10]))
        if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
            return PictureInfo(WEBP, *_webp_size(data))
    except struct.error:
        return None
    return None


def problem(picture: ImagePart, demands: Demands) -> str | None:
    """Why a provider does not accept it, as the end of a sentence; None if it does."""
    info = picture_info(picture.data)
    if info is None:
        return "it is not a PNG, JPEG, GIF or WebP picture"
    if info.mime_type not in demands.pictures:
        return f"this model's provider takes no {_NAMES[info.mime_type]} pictures"
    if len(picture.data) > demands.picture_bytes_max:
        return f"it is over the {demands.picture_bytes_max / 1024 / 1024:.3g} MiB that this model's provider takes"
    if max(info.width, info.height) > demands.picture_pixels_max:
        return f"it is over the {demands.picture_pixels_max} pixels a side that this model's provider takes"
    return None


def _jpeg_size(data: bytes) -> tuple[int, int]:
    """(0, 0) where the frame's head is not found among the first segments."""
    position = 2
    for _ in range(_JPEG_SEGMENTS_MAX):
        if position + 9 > len(data) or data[position] != 0xFF:
            break
        marker = data[position + 1]
        if marker in _FRAMES:
            height, width = struct.unpack(">HH", data[position + 5 : position + 9])
            return width, height
        position += 1 if marker == 0xFF else 2 + int.from_bytes(data[position + 2 : position + 4], "big")
    return 0, 0


def _webp_size(data: bytes) -> tuple[int, int]:
    match data[12:16]:
        case b"VP8X":
            return 1 + int.from_bytes(data[24:27], "little"), 1 + int.from_bytes(data[27:30], "little")
        case b"VP8 ":
            width, height = struct.unpack("<HH", data[26:30])
            return width & 0x3FFF, height & 0x3FFF
        case b"VP8L":
            bits = int.from_bytes(data[21:25], "little")
            return 1 + (bits & 0x3FFF), 1 + ((bits >> 14) & 0x3FFF)
        case _:
            return 0, 0
