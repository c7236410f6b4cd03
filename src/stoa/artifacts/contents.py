"""Checks content before it is stored. Runs in a thread, because the content may be large."""

import zipfile
from typing import BinaryIO

from stoa.artifacts import rules
from stoa.artifacts.types import Kind
from stoa.kernel.errors import BadRequest


def check(kind: Kind, source: BinaryIO, entry_path: str | None) -> None:
    """Seeks the source to its beginning afterwards. Raises BadRequest or TooLarge."""
    size = source.seek(0, 2)
    source.seek(0)
    rules.check_size(kind, size)
    if kind in rules.TEXT_KINDS:
        _check_text(kind, source)
    elif kind is Kind.BUNDLE:
        _check_bundle(source, entry_path or rules.ENTRY)
    source.seek(0)


def _check_text(kind: Kind, source: BinaryIO) -> None:
    try:
        source.read().decode("utf-8")
    except UnicodeDecodeError:
        raise BadRequest.field(
            "content", f"is not UTF-8 text, which an artifact of kind {kind.value} must be"
        ) from None


def _check_bundle(source: BinaryIO, entry_path: str) -> None:
    try:
        with zipfile.ZipFile(source) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, ValueError, NotImplementedError, OverflowError, EOFError):
        raise BadRequest.field("file", "is no ZIP archive, which a bundle must be") from None
    if entry_path not in names:
        raise BadRequest.field("entry_path", f"is {entry_path!r}, which is no file of the bundle")
