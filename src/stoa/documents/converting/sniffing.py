"""What a file really is: its first bytes against its name and its declared type. Pure.

The bytes win. A file that is something else than its name says is still read, with a warning, where reading it as what it
is can surprise nobody (a PDF named .txt is a PDF); where its bytes fit no format its name allows, it is refused.
"""

from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Final

from stoa.documents.types import ConversionError

HEAD_BYTES: Final = 4096

LANGUAGES: Final = {
    ".asm": "asm",
    ".bash": "bash",
    ".c": "c",
    ".cc": "cpp",
    ".clj": "clojure",
    ".cmake": "cmake",
    ".cpp": "cpp",
    ".cs": "csharp",
    ".css": "css",
    ".cu": "cuda",
    ".cxx": "cpp",
    ".dart": "dart",
    ".diff": "diff",
    ".el": "lisp",
    ".erl": "erlang",
    ".ex": "elixir",
    ".exs": "elixir",
    ".f90": "fortran",
    ".fs": "fsharp",
    ".go": "go",
    ".gradle": "groovy",
    ".graphql": "graphql",
    ".groovy": "groovy",
    ".h": "c",
    ".hpp": "cpp",
    ".hs": "haskell",
    ".java": "java",
    ".jl": "julia",
    ".js": "javascript",
    ".jsx": "javascript",
    ".kt": "kotlin",
    ".less": "less",
    ".lisp": "lisp",
    ".lua": "lua",
    ".m": "objectivec",
    ".mjs": "javascript",
    ".ml": "ocaml",
    ".nim": "nim",
    ".patch": "diff",
    ".php": "php",
    ".pl": "perl",
    ".proto": "protobuf",
    ".ps1": "powershell",
    ".py": "python",
    ".r": "r",
    ".rb": "ruby",
    ".rs": "rust",
    ".sass": "sass",
    ".scala": "scala",
    ".scss": "scss",
    ".sh": "bash",
    ".sql": "sql",
    ".svelte": "html",
    ".swift": "swift",
    ".tex": "latex",
    ".tf": "hcl",
    ".ts": "typescript",
    ".tsx": "typescript",
    ".vb": "vb",
    ".vue": "html",
    ".zig": "zig",
    ".zsh": "bash",
}
"""Source code by suffix, and what a code block of it is called."""
SUFFIXES: Final = {
    ".pdf": "pdf",
    ".docx": "docx",
    ".pptx": "pptx",
    ".xlsx": "xlsx",
    ".html": "html",
    ".htm": "html",
    ".xhtml": "html",
    ".rtf": "rtf",
    ".epub": "epub",
    ".eml": "eml",
    ".csv": "csv",
    ".tsv": "tsv",
    ".md": "md",
    ".markdown": "md",
    ".txt": "txt",
    ".text": "txt",
    ".log": "txt",
    ".rst": "txt",
    ".json": "json",
    ".jsonl": "txt",
    ".ndjson": "txt",
    ".xml": "xml",
    ".yaml": "txt",
    ".yml": "txt",
    ".toml": "txt",
    ".ini": "txt",
}
MIME_TYPES: Final = {
    "application/pdf": "pdf",
    "application/vnd.openxmlformats-officedocument.wordprocessingml.document": "docx",
    "application/vnd.openxmlformats-officedocument.presentationml.presentation": "pptx",
    "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet": "xlsx",
    "text/html": "html",
    "application/xhtml+xml": "html",
    "application/rtf": "rtf",
    "text/rtf": "rtf",
    "application/epub+zip": "epub",
    "message/rfc822": "eml",
    "text/csv": "csv",
    "text/tab-separated-values": "tsv",
    "text/markdown": "md",
    "text/plain": "txt",
    "application/json": "json",
    "application/xml": "xml",
    "text/xml": "xml",
}
TEXT_FORMATS: Final = frozenset({"html", "rtf", "eml", "csv", "tsv", "md", "txt", "json", "xml", "code"})
ZIP_FORMATS: Final = frozenset({"docx", "pptx", "xlsx", "epub"})
SUPPORTED: Final = "PDF, DOCX, PPTX, XLSX, HTML, RTF, EPUB, EML, CSV, TSV, Markdown, JSON, XML, source code, plain text, or a ZIP archive of these"

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
)
_BOMS: Final = (b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff")


@dataclass(frozen=True, slots=True)
class Sniffed:
    """`format` is how the file is read. "zip" means: a ZIP archive, and its table of contents says which kind."""

    format: str
    warning: str | None = None


def claimed(name: str, mime_type: str | None) -> str | None:
    """The format the name promises, or else the declared type; None when neither is known."""
    suffix = PurePosixPath(name.lower()).suffix
    if suffix in SUFFIXES:
        return SUFFIXES[suffix]
    if suffix in LANGUAGES:
        return "code"
    return MIME_TYPES.get((mime_type or "").partition(";")[0].strip().lower())


def sniff(head: bytes, name: str, mime_type: str | None, *, pictures: bool = False) -> Sniffed:
    """Decides how to read a file from its first bytes, its name and its declared type. `pictures`: somebody is there to look at them ("picture").

    Raises:
        ConversionError: `wrong_format` when the bytes contradict the name and cannot be read as what they are,
            `unsupported_format` when it is no document that can be read, `encrypted_file` for a locked Office file.
    """
    claim = claimed(name, mime_type)
    if pictures and (kind := picture_type(head)):
        return Sniffed("picture", _warning(name, claim, kind.removeprefix("image/")))
    if b"%PDF-" in head[:1024]:
        return Sniffed("pdf", _warning(name, claim, "pdf"))
    if head.startswith(b"PK\x03\x04"):
        return Sniffed("zip")
    if head.startswith(b"{\\rtf"):
        return Sniffed("rtf", _warning(name, claim, "rtf"))
    _refuse_binary(head, name, claim)
    if claim is None:
        return _unclaimed(head, name, mime_type)
    if claim in TEXT_FORMATS and claim != "rtf":
        return Sniffed(claim)
    if claim == "rtf":
        return Sniffed("txt", _warning(name, claim, "txt"))
    raise ConversionError("wrong_format", f"{name} is not a {claim.upper()} file; upload the original document.")


def _unclaimed(head: bytes, name: str, mime_type: str | None) -> Sniffed:
    """A name that promises nothing, like `README` or `notes.v2`: text is read as text, unless it is said to be no text."""
    media = (mime_type or "").partition(";")[0].strip().lower()
    if media and not media.startswith("text/") and media != "application/octet-stream":
        raise unsupported(name, media)
    start = head.lstrip().lower()
    if start.startswith((b"<!doctype html", b"<html")):
        return Sniffed("html")
    return Sniffed("txt")


def picture_type(head: bytes) -> str | None:
    """The media type of a picture that can be looked at, by its first bytes; None for anything else."""
    if head.startswith(b"RIFF") and head[8:12] == b"WEBP":
        return "image/webp"
    return next((kind for magic, kind in _PICTURES if head.startswith(magic)), None)


def _refuse_binary(head: bytes, name: str, claim: str | None) -> None:
    if head.startswith(_OLE):
        if claim in ZIP_FORMATS:
            raise ConversionError("encrypted_file", f"{name} is protected by a password; upload it without one.")
        raise unsupported(name, "a binary Office file of before 2007")
    if picture := picture_type(head):
        what = f"a {picture.removeprefix('image/').upper()} image"
        raise _mismatch(name, claim, what if claim else f"{what}, which OCR would read, but it is off here")
    text = head.startswith(_BOMS)
    for magic, what in _ELSEWHAT:
        if head.startswith(magic) and (len(magic) > 2 or b"\0" in head):
            raise _mismatch(name, claim, what)
    if not text and b"\0" in head:
        raise _mismatch(name, claim, "binary data")


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
    """The same warning for what only the archive's table of contents can tell."""
    return _warning(name, claimed(name, mime_type), real)
