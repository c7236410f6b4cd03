"""Parses sitemaps (sitemaps.org): pages, or further sitemaps. XML entities are not expanded and nothing is fetched.
Pure.
"""

import io
import itertools
import zlib
from dataclasses import dataclass
from typing import BinaryIO, Final
from xml.etree.ElementTree import ParseError

from defusedxml import DefusedXmlException
from defusedxml.ElementTree import iterparse

UNPACKED_BYTES_MAX: Final = 50 * 1024 * 1024
"""The protocol's own limit."""


class SitemapError(Exception):
    """The document is not a sitemap; the message says why."""


@dataclass(frozen=True, slots=True)
class Sitemap:
    pages: tuple[str, ...]
    sitemaps: tuple[str, ...]


def parse(file: BinaryIO, pages_max: int) -> Sitemap:
    """Raises SitemapError."""
    pages: list[str] = []
    sitemaps: list[str] = []
    try:
        unpacked = _unpacked(file)
        if listed := _listed(unpacked, pages_max):
            return Sitemap(listed, ())
        for _, element in iterparse(unpacked, events=("end",)):
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
    """A sitemap may be a gzip file without a Content-Encoding. Raises ValueError over the limit."""
    head = file.read(2)
    file.seek(0)
    if head != b"\x1f\x8b":
        return file
    content, packed = b"", file.read()
    while packed.startswith(b"\x1f\x8b"):  # A gzip file may have several members.
        unpacking = zlib.decompressobj(wbits=31)
        content += unpacking.decompress(packed, UNPACKED_BYTES_MAX + 1 - len(content))
        if len(content) > UNPACKED_BYTES_MAX:
            raise ValueError("it unpacks to more than 50 MiB")
        packed = unpacking.unused_data
    return io.BytesIO(content)


def _listed(file: BinaryIO, pages_max: int) -> tuple[str, ...]:
    """The addresses of a plain-text sitemap, one per line; none where it is XML."""
    head = file.read(512).removeprefix(b"\xef\xbb\xbf").lstrip()
    file.seek(0)
    if not head.startswith((b"http://", b"https://")):
        return ()
    lines = (line.decode("utf-8", "replace").strip().removeprefix("\ufeff") for line in file)
    return tuple(itertools.islice((line for line in lines if line.startswith(("http://", "https://"))), pages_max))
