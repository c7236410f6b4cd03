"""Web pages and RTF to Markdown through the library xberg.

Runs in the converting process only: the library is native code that meets hostile bytes.
"""

import asyncio
import re
from typing import Final

import xberg

from stoa.documents.converting.page import Page
from stoa.documents.types import ConversionError

_MIME_TYPES: Final = {"html": "text/html", "rtf": "application/rtf"}
_ESCAPED_NUMBER: Final = re.compile(r"(\d)\\([.)])")
_EMPHASIS_BEGINS: Final = re.compile(r"(?<=[^\W_])(\*{1,3})([^\W\d_][^*\n]{0,200})\1")
_EMPHASIS_ENDS: Final = re.compile(r"(\*{1,3})([^\W\d_][^*\n]{0,200})\1(?=[^\W_])")
"""Emphasis that begins or ends within a word, and would split it: `Projekt**nummer**`."""
_BULLET: Final = re.compile(r"(?:^|(?<= ))[\x7f\uf0b7\u2022][ \t]+", re.MULTILINE)


def by_library(data: bytes, name: str, kind: str) -> list[Page]:
    # No OCR, no cache on disk, no models, no archives inside archives, no network: bytes in, text out.
    config = xberg.ExtractionConfig(
        use_cache=False,
        disable_ocr=True,
        output_format="markdown",
        escape_markdown=False,
        max_archive_depth=0,
        html_options=xberg.ConversionOptions(
            extract_metadata=False,
            # It would take headers and asides of articles for navigation; `web` removes navigation.
            preprocessing=xberg.PreprocessingOptions(remove_navigation=False, remove_forms=False),
        ),
        concurrency=xberg.ConcurrencyConfig(max_threads=2),
    )
    source = xberg.ExtractInput(kind="bytes", bytes=data, mime_type=_MIME_TYPES[kind], filename=f"document.{kind}")
    try:
        result = asyncio.run(_extract(source, config))
    except (xberg.XbergError, RuntimeError, ValueError) as error:
        raise _refused(name, kind, str(error)) from error
    if not result.results:
        reason = "; ".join(str(getattr(error, "message", error)) for error in result.errors)
        raise _refused(name, kind, reason)
    document = result.results[0]
    return [Page(_tidy(document.content, marked=kind == "rtf"), None)]


def _tidy(markdown: str, *, marked: bool) -> str:
    r"""Removes escapes that only a renderer needs ("1\. Limits"), because they spoil search and quotes, and control
    characters used as bullets. `marked`: the text has emphasis marks, which may be within words."""
    whole = _EMPHASIS_ENDS.sub(r"\2", _EMPHASIS_BEGINS.sub(r"\2", markdown)) if marked else markdown
    return _BULLET.sub("- ", _ESCAPED_NUMBER.sub(r"\1\2", whole))


async def _extract(source: xberg.ExtractInput, config: xberg.ExtractionConfig) -> xberg.ExtractionResult:
    return await xberg.extract(source, config)


def _refused(name: str, kind: str, reason: str) -> ConversionError:
    if re.search(r"password|encrypt", reason, re.IGNORECASE):
        return ConversionError("encrypted_file", f"{name} is protected by a password; upload it without one.")
    if re.search(r"security|limit|bomb|too (large|many)", reason, re.IGNORECASE):
        return ConversionError("too_large", f"{name} unpacks to more than is read.")
    return ConversionError("corrupt_file", f"{name} is damaged: it cannot be read as {kind.upper()}.")
