"""Sitemaps (sitemaps.org): the pages, or the further sitemaps, that one names. Nothing in them is expanded or fetched.
Pure.
"""

import io
import zlib
from dataclasses import dataclass
from typing import BinaryIO, Final
from xml.etree.ElementTree import ParseError

from defusedxml import DefusedXmlException
from defusedxml.ElementTree import iterparse

UNPACKED_BYTES_MAX: Final = 50 * 1024 * 1024
"""The protocol's own limit."""


class SitemapError(Exception):
    """It is no sitemap; the message says why."""


@dataclass(frozen=True, slots=True)
class Sitemap:
    pages: tuple[str, ...]
    sitemaps: tuple[str, ...]


def parse(file: BinaryIO, pages_max: int) -> Sitemap:
    """Raises SitemapError."""
    pages: list[str] = []
    sitemaps: list[str] = []
    try:
        for _, element in iterparse(_unpacked(file), events=("end",)):
            kind = element.tag.rpartition("}")[2]
            if kind in ("url", "sitemap"):
                for child in element:
                    if child.tag.rpartition("}")[2] == "loc" and child.text:
                        (pages if kind == "url" else sitemaps).append(child.text.strip())
                element.clear()
                if len(pages) >= pages_max:
                    break
    except (ParseError, DefusedXmlException, zlib.error, ValueError) as error:
        raise SitemapError(str(error) or type(error).__name__) from error
    return Sitemap(tuple(pages[:pages_max]), tuple(sitemaps))


def _unpacked(file: BinaryIO) -> BinaryIO:
    """A sitemap may come as gzip, which HTTP does not speak of. Raises ValueError over the limit."""
    head = file.read(2)
    file.seek(0)
    if head != b"\x1f\x8b":
        return file
    unpacking = zlib.decompressobj(wbits=31)
    content = unpacking.decompress(file.read(), UNPACKED_BYTES_MAX + 1)
    if len(content) > UNPACKED_BYTES_MAX:
        raise ValueError("it unpacks to more than 50 MiB")
    return io.BytesIO(content)
