"""The supported file formats, in one table: reader, names, and what a user may expect of each. Pure.

`sniffing` and `worker` use it, messages quote it, and docs/guide/formats.md is generated from it
(`tools/docs/formats.py`). A new format is an entry here and, where its reader is new, a line in `worker`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

Reader: TypeAlias = Literal[
    "pdf",
    "office",
    "opendocument",
    "html",
    "rtf",
    "mail",
    "table",
    "json",
    "json_lines",
    "notebook",
    "xml",
    "text",
    "picture",
]
"""The module that reads it. `html` and `rtf` use the library xberg; the others are our own."""


@dataclass(frozen=True, slots=True)
class Format:
    """`package`: a ZIP archive that is one document. `text`: plain characters, whose character set must be detected."""

    name: str
    title: str
    reader: Reader
    extensions: tuple[str, ...]
    mime_types: tuple[str, ...]
    reads: str
    leaves_out: str
    warns: str
    package: bool = False
    text: bool = False


_CHARACTERS: Final = "characters replaced, a character set that was guessed"

_TABLE: Final = (
    Format(
        "pdf",
        "PDF",
        "pdf",
        (".pdf",),
        ("application/pdf",),
        "text with headings, paragraphs, lists, ruled tables and page numbers; columns one after the other; pages and "
        "labels that run sideways; values of forms; comments",
        "pictures (OCR reads pages without text, where a model for it is named); headers and footers that repeat (one "
        "with words that stand nowhere else is kept once)",
        "pages without text, damaged pages",
    ),
    Format(
        "docx",
        "Word",
        "office",
        (".docx", ".docm", ".dotx", ".dotm"),
        (
            "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
            "application/vnd.ms-word.document.macroenabled.12",
            "application/vnd.openxmlformats-officedocument.wordprocessingml.template",
        ),
        "headings, paragraphs, numbered lists, tables (merged cells repeated); text boxes, charts, texts in place of "
        "pictures; headers and footers; footnotes, endnotes and comments; hidden text, marked as such",
        "pictures (OCR reads those of a document without text), tracked deletions, macros",
        "embedded files and objects",
        package=True,
    ),
    Format(
        "pptx",
        "PowerPoint",
        "office",
        (".pptx", ".pptm", ".ppsx", ".ppsm", ".potx"),
        (
            "application/vnd.openxmlformats-officedocument.presentationml.presentation",
            "application/vnd.ms-powerpoint.presentation.macroenabled.12",
            "application/vnd.openxmlformats-officedocument.presentationml.slideshow",
        ),
        "the text, tables, charts and diagrams of each slide with its number, in the order of the show; the speaker's "
        "notes and comments; hidden slides, marked as such",
        "pictures (OCR reads those of slides without text), macros",
        "damaged slides",
        package=True,
    ),
    Format(
        "xlsx",
        "Excel",
        "office",
        (".xlsx", ".xlsm", ".xltx", ".xltm"),
        (
            "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
            "application/vnd.ms-excel.sheet.macroenabled.12",
            "application/vnd.openxmlformats-officedocument.spreadsheetml.template",
        ),
        "each sheet as a table below its name, cells as they are shown (number formats, dates, merged cells repeated); "
        "comments, text boxes, labels of charts, headers and footers; hidden sheets, rows and columns, marked as such",
        "formulas (their stored results are read), macros",
        "formulas without a stored result, damaged sheets, a damaged list of texts",
        package=True,
    ),
    Format(
        "odt",
        "OpenDocument text",
        "opendocument",
        (".odt", ".ott"),
        ("application/vnd.oasis.opendocument.text", "application/vnd.oasis.opendocument.text-template"),
        "headings, paragraphs, lists, tables, notes, comments, texts in place of pictures; headers and footers, "
        "marked as such",
        "pictures, styles, tracked deletions",
        "",
        package=True,
    ),
    Format(
        "ods",
        "OpenDocument spreadsheet",
        "opendocument",
        (".ods", ".ots"),
        ("application/vnd.oasis.opendocument.spreadsheet", "application/vnd.oasis.opendocument.spreadsheet-template"),
        "each sheet as a table below its name, cells as they are shown; comments",
        "formulas (their stored results are read), charts",
        "",
        package=True,
    ),
    Format(
        "odp",
        "OpenDocument presentation",
        "opendocument",
        (".odp", ".otp"),
        ("application/vnd.oasis.opendocument.presentation", "application/vnd.oasis.opendocument.presentation-template"),
        "the text and tables of each slide with its number; the speaker's notes, marked as such",
        "pictures",
        "",
        package=True,
    ),
    Format(
        "epub",
        "EPUB",
        "office",
        (".epub",),
        ("application/epub+zip",),
        "the chapters in reading order; of pages that are pictures the text that the publisher offers in their place",
        "pictures",
        "chapters that cannot be read",
        package=True,
    ),
    Format(
        "html",
        "HTML",
        "html",
        (".html", ".htm", ".xhtml"),
        ("text/html", "application/xhtml+xml"),
        "headings, paragraphs, lists, tables (merged cells repeated), links, values of forms, texts in place of "
        "pictures, texts of SVG drawings",
        "navigation, styles, scripts, templates, pictures given as data: URIs",
        f"{_CHARACTERS}; a page whose structure could not be had",
        text=True,
    ),
    Format(
        "rtf",
        "RTF",
        "rtf",
        (".rtf",),
        ("application/rtf", "text/rtf"),
        "text",
        "pictures, styles",
        "characters that cannot be read",
        text=True,
    ),
    Format(
        "eml",
        "mail (EML)",
        "mail",
        (".eml", ".mht", ".mhtml"),
        ("message/rfc822", "multipart/related", "application/x-mimearchive"),
        "subject, sender, receivers, date and text; each attachment as a document of its own, also those in a ZIP "
        "archive; forwarded mails",
        "the HTML version of a text that is there as plain text too, pictures inside the text",
        f"attachments that cannot be read; {_CHARACTERS}",
        text=True,
    ),
    Format(
        "mbox",
        "mailbox (MBOX)",
        "mail",
        (".mbox",),
        ("application/mbox",),
        "each mail as a document of its own, as above; at most 1,000",
        "as of mails",
        f"attachments that cannot be read; {_CHARACTERS}",
        text=True,
    ),
    Format(
        "csv",
        "CSV",
        "table",
        (".csv",),
        ("text/csv",),
        "one table; the delimiter is found by looking at many lines (comma, semicolon, tab, bar, or what `sep=` says); "
        "lines above the table as text",
        "",
        f"a quote that never closes, with its line; {_CHARACTERS}",
        text=True,
    ),
    Format(
        "tsv",
        "TSV",
        "table",
        (".tsv",),
        ("text/tab-separated-values",),
        "one table",
        "",
        f"a quote that never closes, with its line; {_CHARACTERS}",
        text=True,
    ),
    Format(
        "md",
        "Markdown",
        "text",
        (".md", ".markdown"),
        ("text/markdown",),
        "as it stands",
        "base64 data",
        _CHARACTERS,
        text=True,
    ),
    Format(
        "txt",
        "plain text",
        "text",
        (".txt", ".text", ".log", ".rst", ".yaml", ".yml", ".toml", ".ini"),
        ("text/plain",),
        "as it stands, without terminal colours and control characters",
        "base64 data",
        _CHARACTERS,
        text=True,
    ),
    Format(
        "json",
        "JSON",
        "json",
        (".json", ".geojson"),
        ("application/json", "application/geo+json", "application/ld+json"),
        "names and values, escapes resolved",
        "base64 data",
        f"text that is no JSON (read as it stands); {_CHARACTERS}",
        text=True,
    ),
    Format(
        "jsonl",
        "JSON lines",
        "json_lines",
        (".jsonl", ".ndjson"),
        ("application/jsonl", "application/x-ndjson"),
        "each record as a paragraph, escapes resolved",
        "base64 data",
        f"lines that are no JSON (read as they stand); {_CHARACTERS}",
        text=True,
    ),
    Format(
        "ipynb",
        "Jupyter notebook",
        "notebook",
        (".ipynb",),
        ("application/x-ipynb+json",),
        "each cell: Markdown as it stands, code as code, output as text",
        "pictures and HTML among the output",
        "text that is no notebook (read as JSON)",
        text=True,
    ),
    Format(
        "xml",
        "XML",
        "xml",
        (".xml", ".rss", ".atom", ".kml", ".gpx", ".xsd", ".plist"),
        ("application/xml", "text/xml", "application/rss+xml", "application/atom+xml"),
        "as it stands, character references resolved",
        "comments, base64 data",
        f"text that is no XML (read as it stands), entities that it declares itself (not expanded); {_CHARACTERS}",
        text=True,
    ),
)
CODE: Final = Format(
    "code",
    "source code",
    "text",
    (),
    (),
    "as it stands, as a block of code",
    "",
    _CHARACTERS,
    text=True,
)
FORMATS: Final[Mapping[str, Format]] = {one.name: one for one in (*_TABLE, CODE)}
EXTENSIONS: Final = {extension: one.name for one in _TABLE for extension in one.extensions}
MIME_TYPES: Final = {mime_type: one.name for one in _TABLE for mime_type in one.mime_types}

ARCHIVES: Final = (
    "A ZIP archive is read file by file, each a document of its own under its path; files that cannot be read are "
    "named in a warning. An archive inside an archive is not unpacked, and neither are packages of other programs "
    "(JAR, APK, iWork)."
)
PICTURES: Final = "PNG, JPEG, WebP and TIFF, where the operator has named a model that reads them (OCR)"
SUPPORTED: Final = (
    "PDF, Word (DOCX), PowerPoint (PPTX), Excel (XLSX), OpenDocument (ODT, ODS, ODP), HTML, RTF, EPUB, EML, MBOX, CSV, "
    "TSV, Markdown, JSON, JSON lines, notebooks, XML, source code, plain text, or a ZIP archive of these"
)
"""The list of formats, for messages that refuse a file."""

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
"""Extensions of source code, and the language of their code block."""
