#!/usr/bin/env python3
"""Writes docs/guide/formats.md from the table in stoa.documents.formats: `python tools/docs/formats.py >
docs/guide/formats.md`."""

from stoa.documents.converting import archives, tables, texts
from stoa.documents.formats import ARCHIVES, FORMATS, LANGUAGES, PICTURES, Format


def page() -> str:
    lines = [
        "# File formats",
        "",
        "Written by `python tools/docs/formats.py` from the table in `stoa.documents.formats`; a test keeps it",
        "current.",
        "",
        "The format of a file is decided by its first bytes together with its name and its declared type. A file whose",
        "bytes contradict its name is read as what its bytes say, with a warning, or refused with a sentence. What was",
        "lost or guessed is in the item's `warnings`.",
        "",
        "| format | names | what is read | what is not | what is warned about |",
        "|---|---|---|---|---|",
        *(_line(one) for one in FORMATS.values()),
        "",
        f"**Archives.** {ARCHIVES} At most {archives.DOCUMENTS_MAX:,} files,",
        f"{archives.UNPACKED_BYTES_MAX >> 20} MiB unpacked.",
        "",
        f"**Pictures.** {PICTURES}.",
        "",
        "**Character sets.** These are tried in order: a byte order mark; the declared character set (Content-Type",
        "of the upload or the mail's part, HTML `meta`, XML declaration), if the bytes are valid in it; UTF-16,",
        "recognized by its zero bytes; UTF-8, if the bytes are valid; then the character set in which the text is most",
        "plausible, with a warning that says how sure that is. Bytes that are plausible in none are refused as",
        "`unknown_encoding`.",
        "",
        "**Never text.** Control characters, terminal colours, invisible characters (soft hyphens, zero width spaces,",
        "marks of direction), `data:` URIs and other base64 data. Removed data is counted in a warning.",
        "",
        f"**Limits.** Text of {texts.BYTES_MAX >> 20} MiB; tables of {tables.ROWS_MAX:,} rows,",
        f"{tables.COLUMNS_MAX:,} columns and {tables.CELLS_MAX:,} cells.",
        "",
        f"**Source code** is read by these names: {', '.join(f'`{extension}`' for extension in LANGUAGES)}.",
        "",
    ]
    return "\n".join(lines)


def _line(one: Format) -> str:
    names = ", ".join(f"`{extension}`" for extension in one.extensions) or "see below"
    return f"| {one.title} | {names} | {one.reads} | {one.leaves_out or 'none'} | {one.warns or 'none'} |"


if __name__ == "__main__":
    print(page(), end="")
