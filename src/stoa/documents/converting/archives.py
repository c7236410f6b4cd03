"""Judges a ZIP archive by its central directory, before anything in it is unpacked."""

import re
import struct
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from io import BytesIO
from pathlib import Path, PurePosixPath
from typing import Final

from stoa.documents.formats import FORMATS, MIME_TYPES, SUPPORTED
from stoa.documents.types import ConversionError

ENTRIES_MAX: Final = 10_000
DOCUMENTS_MAX: Final = 1_000
"""The limit of files in an archive of documents: each may be as long as an item, and all of them are one item."""
UNPACKED_BYTES_MAX: Final = 512 * 2**20
RATIO_MAX: Final = 200
"""The highest compression ratio. Office XML shrinks to a tenth, sheets of equal rows to a hundredth; a zip bomb to a
thousandth."""
RATIO_FREE_BYTES: Final = 16 * 2**20
"""An archive that unpacks to less may have any ratio: it can do no harm."""

BROKEN: Final = (
    zipfile.BadZipFile,
    zipfile.LargeZipFile,
    struct.error,
    zlib.error,
    ValueError,
    NotImplementedError,
    EOFError,
    RuntimeError,
)
_FILE_ENTRY: Final = re.compile(r"<[\w-]*:?file-entry\b[^>]*>")
_WHOLE_PACKAGE: Final = re.compile(r"full-path\s*=\s*[\"']/[\"']")
_MEDIA_TYPE: Final = re.compile(r"media-type\s*=\s*[\"']([^\"']+)[\"']")
_CONTENT_TYPES: Final = "[content_types].xml"
_CONTENT_TYPES_BYTES_MAX: Final = 2**20
_MAIN_PARTS: Final = (
    (re.compile(r"(?:wordprocessingml|ms-word)\.(?:document|template)[\w.]*\.main\+xml"), "docx"),
    (re.compile(r"(?:presentationml|ms-powerpoint)\.(?:presentation|slideshow|template)[\w.]*\.main\+xml"), "pptx"),
    (re.compile(r"(?:spreadsheetml|ms-excel)\.(?:sheet|template)[\w.]*\.main\+xml"), "xlsx"),
)
"""The type of an Office package's main part, which may have any name (ECMA-376, part 2)."""
_MARKERS: Final = (
    ("word/document.xml", "docx"),
    ("ppt/presentation.xml", "pptx"),
    ("xl/workbook.xml", "xlsx"),
    ("meta-inf/container.xml", "epub"),
)
"""For packages without a list of types."""
_OTHERS: Final = (
    ("ms-excel.sheet.binary", "a binary Excel workbook (XLSB); save it as XLSX"),
    ("visio", "a Visio drawing; export it as PDF"),
)
_OTHER_PACKAGES: Final = (
    ("meta-inf/manifest.mf", "a Java archive"),
    ("androidmanifest.xml", "an Android package"),
    ("index/document.iwa", "an Apple iWork document; export it as PDF or for Office"),
    ("index.zip", "an Apple iWork document; export it as PDF or for Office"),
)


def inspect(path: Path | BytesIO, name: str) -> str | None:
    """The document format of an archive (docx, odt, epub …), or None when it is only an archive.

    Raises:
        ConversionError: `too_large` for an archive that would unpack to more than is allowed, `corrupt_file` for an
    unreadable central directory, `encrypted_file` where entries are encrypted, `unsupported_format` for a package of a
    program whose documents are not supported.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
            _check(entries, name)
            return _kind(archive, {part_name(entry): entry for entry in entries}, name)
    except BROKEN as error:
        raise ConversionError("corrupt_file", f"{name} is damaged: its table of contents cannot be read.") from error


def part_name(entry: zipfile.ZipInfo) -> str:
    """Part names are compared case-insensitively, and some archivers write backslashes."""
    return entry.filename.replace("\\", "/").lstrip("/").lower()


def _kind(archive: zipfile.ZipFile, entries: Mapping[str, zipfile.ZipInfo], name: str) -> str | None:
    manifest = _small(archive, entries.get("meta-inf/manifest.xml"))
    declared = _small(archive, entries.get("mimetype")).strip() or _declared(manifest)
    if declared in MIME_TYPES and FORMATS[MIME_TYPES[declared]].package:
        if "encryption-data" in manifest:
            raise ConversionError("encrypted_file", f"{name} is protected by a password; upload it without one.")
        return MIME_TYPES[declared]
    if declared.startswith("application/"):
        raise _unsupported(name, declared)
    types = _small(archive, entries.get(_CONTENT_TYPES))
    if kind := _office_kind(types, name):
        return kind
    for marker, kind in _MARKERS:
        if marker in entries:
            return kind
    for marker, what in _OTHER_PACKAGES:
        if marker in entries:
            raise _unsupported(name, what)
    return None


def _declared(manifest: str) -> str:
    """The format that the list of parts declares: some programs leave out the mimetype file."""
    entries = (found[0] for found in _FILE_ENTRY.finditer(manifest))
    whole = next((entry for entry in entries if _WHOLE_PACKAGE.search(entry)), "")
    found = _MEDIA_TYPE.search(whole)
    return found[1] if found else ""


def _office_kind(types: str, name: str) -> str | None:
    """The kind of an Office package, by its content types."""
    for pattern, kind in _MAIN_PARTS:
        if pattern.search(types):
            return kind
    for sign, what in _OTHERS:
        if sign in types.lower():
            raise _unsupported(name, what)
    return None


def _small(archive: zipfile.ZipFile, entry: zipfile.ZipInfo | None) -> str:
    if entry is None or entry.file_size > _CONTENT_TYPES_BYTES_MAX:
        return ""
    with archive.open(entry) as file:
        return file.read(_CONTENT_TYPES_BYTES_MAX).decode("utf-8", "replace")


def _unsupported(name: str, what: str) -> ConversionError:
    return ConversionError("unsupported_format", f"{name} ({what}) cannot be read; send {SUPPORTED}.")


def _check(entries: list[zipfile.ZipInfo], name: str) -> None:
    if len(entries) > ENTRIES_MAX:
        raise ConversionError("too_large", f"{name} holds {len(entries):,} parts; at most {ENTRIES_MAX:,} are read.")
    unpacked = sum(entry.file_size for entry in entries)
    packed = sum(entry.compress_size for entry in entries)
    if unpacked > UNPACKED_BYTES_MAX:
        raise ConversionError(
            "too_large", f"{name} unpacks to {unpacked >> 20:,} MiB; at most {UNPACKED_BYTES_MAX >> 20} MiB are read."
        )
    if unpacked > RATIO_FREE_BYTES and unpacked > RATIO_MAX * max(packed, 1):
        raise ConversionError(
            "too_large", f"{name} is packed {unpacked // max(packed, 1):,} to 1, like an archive bomb."
        )
    if any(entry.flag_bits & 1 for entry in entries):
        raise ConversionError("encrypted_file", f"{name} is protected by a password; upload it without one.")


def documents(source: Path | BytesIO, name: str) -> Iterator[tuple[str, bytes | ConversionError]]:
    """The files of an archive that `inspect` accepted, unpacked one at a time: (path inside, content or the reason why
    it cannot be read).

    Raises:
        ConversionError: `too_large` for more than 1,000 files, or when they unpack to more than the central directory
    says.
    """
    with zipfile.ZipFile(source) as archive:
        entries = _files(archive)
        if len(entries) > DOCUMENTS_MAX:
            raise ConversionError(
                "too_large",
                f"{name} holds {len(entries):,} files; at most {DOCUMENTS_MAX:,} are read. Upload them in parts.",
            )
        for entry in entries:
            yield entry.filename, _unpacked(archive, entry, name)


def document(path: Path, name: str, number: int) -> tuple[str, bytes]:
    """One of the files that `documents` yields, counted from 1. Raises ConversionError."""
    with zipfile.ZipFile(path) as archive:
        entry = _files(archive)[number - 1]
        data = _unpacked(archive, entry, name)
    if isinstance(data, ConversionError):
        raise data
    return entry.filename, data


def _files(archive: zipfile.ZipFile) -> list[zipfile.ZipInfo]:
    return [entry for entry in archive.infolist() if not entry.is_dir() and not _is_litter(entry.filename)]


def _unpacked(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, name: str) -> bytes | ConversionError:
    try:
        with archive.open(entry) as file:
            data = file.read(entry.file_size + 1)
    except BROKEN:
        return ConversionError("corrupt_file", f"{entry.filename} is damaged.")
    if len(data) > entry.file_size:
        raise ConversionError("too_large", f"{name} unpacks to more than it says.")
    return data


def _is_litter(inside: str) -> bool:
    """Files that archivers and desktops add."""
    parts = PurePosixPath(inside).parts
    return "__MACOSX" in parts or any(part.startswith(".") for part in parts)
