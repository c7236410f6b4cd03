"""Determines what a file really is, from its first bytes, its name and its declared type. Pure.

The bytes decide. A file whose name says something else is still read, with a warning, where that surprises nobody (a
PDF named .txt is a PDF). Where its bytes match no format that its name allows, it is refused.
"""

from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Final

from stoa.documents.converting import charsets
from stoa.documents.formats import EXTENSIONS, FORMATS, LANGUAGES, MIME_TYPES, SUPPORTED
from stoa.documents.types import ConversionError

HEAD_BYTES: Final = 4096
ZIP: Final = b"PK\x03\x04"

_OLE: Final = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
_PICTURES: Final = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"II*\0", "image/tiff"),
    (b"MM\0*", "image/tiff"),
)
_ELSEWHAT: Final = (
    (b"GIF8", "a GIF image"),
    (b"\x7fELF", "a program"),
    (b"MZ", "a program"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"Rar!", "a RAR archive"),
    (b"7z\xbc\xaf", "a 7z archive"),
    (b"BM", "a bitmap image"),
    (b"OggS", "an audio file"),
    (b"ID3", "an audio file"),
    (b"SQLite format 3", "a database"),
    (b"x\x9f>\x22", "an attachment in Outlook's own format; save what it holds"),
    (b"!BDN", "a mailbox of Outlook's own format; export its mails as EML"),
)


@dataclass(frozen=True, slots=True)
class Sniffed:
    """`format` is how the file is read. "zip" means a ZIP archive, whose central directory decides."""

    format: str
    warning: str | None = None


def claimed(name: str, mime_type: str | None) -> str | None:
    """The format that the name implies, or else the declared type; None when neither is known."""
    suffix = PurePosixPath(name.lower()).suffix
    if suffix in EXTENSIONS:
        return EXTENSIONS[suffix]
    if suffix in LANGUAGES:
        return "code"
    return MIME_TYPES.get((mime_type or "").partition(";")[0].strip().lower())


def sniff(head: bytes, name: str, mime_type: str | None, *, pictures: bool = False) -> Sniffed:
    """Decides how to read a file by its first bytes, its name and its declared type. `pictures`: OCR reads pictures
    ("picture").

    Raises:
        ConversionError: `wrong_format` when the bytes contradict the name and cannot be read as what they are,
            `unsupported_format` when it is no document that can be read, `encrypted_file` for a locked Office file.
    """
    claim = claimed(name, mime_type)
    if pictures and (kind := picture_type(head)):
        return Sniffed("picture", _warning(name, claim, kind.removeprefix("image/")))
    if _is_pdf(head, claim):
        return Sniffed("pdf", _warning(name, claim, "pdf"))
    if head.startswith(ZIP):
        return Sniffed("zip")
    if head.startswith(b"{\\rtf"):
        return Sniffed("rtf", _warning(name, claim, "rtf"))
    _refuse_binary(head, name, claim)
    if claim is None:
        return _unclaimed(head, name, mime_type)
    if claim == "rtf":
        return Sniffed("txt", _warning(name, claim, "txt"))
    if FORMATS[claim].text:
        return Sniffed(claim)
    raise ConversionError("wrong_format", f"{name} is not a {claim.upper()} file; upload the original document.")


def _is_pdf(head: bytes, claim: str | None) -> bool:
    """PDF readers allow bytes before the mark `%PDF`; in other text the mark is a mention of PDF."""
    if head.removeprefix(b"\xef\xbb\xbf").lstrip().startswith(b"%PDF-"):
        return True
    return claim in ("pdf", None) and b"%PDF-" in head[:1024]


def _unclaimed(head: bytes, name: str, mime_type: str | None) -> Sniffed:
    """A name that implies no format, like `README` or `notes.v2`: read as text, unless the declared type is not
    text."""
    media = (mime_type or "").partition(";")[0].strip().lower()
    if media and not media.startswith("text/") and media != "application/octet-stream":
        raise unsupported(name, media)
    start = head.lstrip().lower()
    if start.startswith((b"<!doctype html", b"<html")):
        return Sniffed("html")
    return Sniffed("txt")


def picture_type(head: bytes) -> str | None:
    """The media type of an image that OCR can read, by its first bytes; None for anything else."""
    if head.startswith(b"RIFF") and head[8:12] == b"WEBP":
        return "image/webp"
    return next((kind for magic, kind in _PICTURES if head.startswith(magic)), None)


def _refuse_binary(head: bytes, name: str, claim: str | None) -> None:
    if head.startswith(_OLE):
        if claim is not None and FORMATS[claim].package:
            raise ConversionError("encrypted_file", f"{name} is protected by a password; upload it without one.")
        if PurePosixPath(name.lower()).suffix == ".msg":
            raise unsupported(name, "a mail of Outlook's own format; save it as EML")
        raise unsupported(name, "a binary Office file of before 2007")
    if picture := picture_type(head):
        what = f"a {picture.removeprefix('image/').upper()} image"
        raise _mismatch(name, claim, what if claim else f"{what}, which OCR would read, but it is off here")
    if head.startswith(charsets.MARKS) or charsets.wide_encoding(head):
        return
    for magic, what in _ELSEWHAT:
        if head.startswith(magic) and (b"\0" in head or not magic.decode("latin-1").isprintable()):
            raise _mismatch(name, claim, what)
    if b"\0" in head and not (claim is not None and FORMATS[claim].text and _is_text_but_for_few(head)):
        raise _mismatch(name, claim, "binary data")


def _is_text_but_for_few(head: bytes) -> bool:
    """Whether it is text with a few zero bytes, as in logs and exports."""
    controls = sum(byte < 32 and byte not in b"\t\n\r\f\x1b" for byte in head)
    return controls <= max(2, len(head) // 100)


def _mismatch(name: str, claim: str | None, what: str) -> ConversionError:
    if claim is None:
        return unsupported(name, what)
    return ConversionError("wrong_format", f"{name} is named like a {claim.upper()} file but is {what}.")


def unsupported(name: str, what: str) -> ConversionError:
    return ConversionError("unsupported_format", f"{name} ({what}) cannot be read; send {SUPPORTED}.")


def _warning(name: str, claim: str | None, real: str) -> str | None:
    if claim is None or claim == real:
        return None
    return f"{name} is named like a {claim.upper()} file but is {real.upper()}; it was read as {real.upper()}."


def archive_warning(name: str, mime_type: str | None, real: str) -> str | None:
    """The same warning for formats that only the archive's central directory shows."""
    return _warning(name, claimed(name, mime_type), real)
