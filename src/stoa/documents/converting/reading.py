"""Converts one file to passages: chooses its reader, unpacks archives and mails, and cuts the text.

Runs in the converting process only. A reader's library is imported only by files that need it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path, PurePosixPath
from typing import Final, TypeAlias

from stoa.documents.chunking import last_heading, passages
from stoa.documents.converting import archives, charsets, cleaning, ocr_targets, sniffing, tables, texts
from stoa.documents.converting.page import Page, Report, no_report
from stoa.documents.formats import FORMATS, LANGUAGES
from stoa.documents.types import ConversionError, Converted, OcrTarget, Passage

PROBLEMS_NAMED: Final = 20
_PARSED: Final = frozenset({"csv", "tsv", "json", "jsonl", "ipynb"})

Read: TypeAlias = tuple[int | None, list[Page], list[str]]
"""The number of pages where the format has pages, the pages with text, and warnings."""


@dataclass(frozen=True, slots=True)
class Job:
    path: str
    name: str
    mime_type: str | None
    parent: int
    memory_bytes_max: int
    seconds_max: float
    pages_max: int
    characters_max: int
    chunk_characters_max: int
    find_ocr_targets: bool = False
    render_page: int | None = None
    depth: int = 0
    """The depth of mails within mails: archives are unpacked only in the outermost."""


def read(job: Job, report: Report = no_report) -> Converted:
    """Raises ConversionError."""
    path, name = Path(job.path), job.name
    targets: list[OcrTarget] | None = [] if job.find_ocr_targets else None
    if _is_archive_of_documents(path, job):
        pages, (found, warnings) = None, _archived(path, job, report, targets)
    else:
        pages, found, warnings = _document(path, name, job.mime_type, job, report, targets)
    found, omitted = _without_data(found)
    if omitted:
        warnings.append(f"{name}: {omitted} pieces of base64 data were left out.")
    unreadable = sum(page.markdown.count("\ufffd") for page in found)
    if unreadable and not any("replaced" in one for one in warnings):
        warnings.append(f"{name}: {unreadable} characters could not be read; they stand as \ufffd.")
    characters = sum(len(page.markdown) for page in found)
    if characters > job.characters_max:
        raise ConversionError(
            "too_large", f"{name} holds {characters:,} characters; at most {job.characters_max:,} are read."
        )
    cut = _cut(found, job.chunk_characters_max)
    if not cut and not targets:
        warnings.append(f"{name} holds no text that could be read.")
    return Converted(cut, pages, tuple(warnings), tuple(targets or ()))


def _is_archive_of_documents(source: Path | BytesIO, job: Job) -> bool:
    """Whether it is a ZIP archive of documents. An archive whose name is that of a document format is a damaged
    document instead."""
    head = _bytes(source, sniffing.HEAD_BYTES)
    if not head.startswith(sniffing.ZIP) or sniffing.claimed(job.name, job.mime_type) is not None:
        return False
    return archives.inspect(source, job.name) is None


def _document(
    source: Path | BytesIO,
    name: str,
    mime_type: str | None,
    job: Job,
    report: Report,
    targets: list[OcrTarget] | None = None,
) -> Read:
    """One document: a file, or a part of an archive or a mail. Adds what OCR could read to `targets`."""
    size = source.stat().st_size if isinstance(source, Path) else source.getbuffer().nbytes
    if size == 0:
        raise ConversionError("empty_file", f"{name} is empty (0 bytes).")
    head = _bytes(source, sniffing.HEAD_BYTES)
    sniffed = sniffing.sniff(head, name, mime_type, pictures=targets is not None)
    kind, warning = sniffed.format, sniffed.warning
    if kind == "zip":
        inside = archives.inspect(source, name)
        if inside is None:
            raise _no_document(name, mime_type)
        kind, warning = inside, sniffing.archive_warning(name, mime_type, inside)
    if kind != "picture" and FORMATS[kind].text and size > texts.BYTES_MAX and FORMATS[kind].reader != "mail":
        raise ConversionError(
            "too_large", f"{name} is text of {size >> 20} MiB; at most {texts.BYTES_MAX >> 20} MiB are read."
        )
    data = _bytes(source)
    if kind == "picture":
        assert targets is not None, "pictures are sniffed only for OCR"
        targets += ocr_targets.of_picture(data, name, job.pages_max)
        return len(targets), [], [warning] if warning else []
    pages, found, warnings = _by_reader(kind, data, name, mime_type, job, report, targets)
    found = [replace(page, markdown=cleaning.clean(page.markdown)) for page in found]
    return pages, found, [warning, *warnings] if warning else warnings


def _bytes(source: Path | BytesIO, limit: int = -1) -> bytes:
    if isinstance(source, BytesIO):
        return bytes(source.getbuffer()[:limit]) if limit >= 0 else source.getvalue()
    with source.open("rb") as file:
        return file.read(limit)


def _archived(
    source: Path | BytesIO, job: Job, report: Report, targets: list[OcrTarget] | None
) -> tuple[list[Page], list[str]]:
    """The documents of an archive; each page has the path inside. Unreadable ones are left out with a warning. An
    archive in which nothing is readable is an error."""
    pages: list[Page] = []
    warnings: list[str] = []
    problems: list[str] = []
    read_count = characters = 0
    for number, (part, data) in enumerate(archives.documents(source, job.name), 1):
        inside: list[OcrTarget] | None = [] if targets is not None else None
        try:
            if isinstance(data, ConversionError):
                raise data
            _, found, more = _document(BytesIO(data), part, None, job, no_report, inside)
        except ConversionError as error:
            problems.append(error.message)
            continue
        pages += [replace(page, part=f"{part}/{page.part}" if page.part else part) for page in found]
        warnings += more
        if targets is not None:
            targets += ocr_targets.within(number, part, inside or ())
        read_count, characters = read_count + 1, characters + sum(len(page.markdown) for page in found)
        if characters > job.characters_max:
            break  # the caller warns about it
        report(read_count + len(problems), 0)
    if not read_count:
        reason = problems[0] if problems else "it holds no files."
        raise ConversionError(
            "unsupported_format", f"{job.name} is a ZIP archive in which nothing can be read: {reason}"
        )
    if len(problems) > PROBLEMS_NAMED:
        problems[PROBLEMS_NAMED:] = [f"{len(problems) - PROBLEMS_NAMED} more files of the archive were left out."]
    return pages, [*problems, *warnings[:PROBLEMS_NAMED]]


def _no_document(name: str, mime_type: str | None) -> ConversionError:
    claim = sniffing.claimed(name, mime_type)
    if claim is None:
        return ConversionError("unsupported_format", f"{name} is an archive inside another file; it is not unpacked.")
    return ConversionError("wrong_format", f"{name} is named like a {claim.upper()} file but is a ZIP archive.")


def _by_reader(
    kind: str,
    data: bytes,
    name: str,
    mime_type: str | None,
    job: Job,
    report: Report,
    targets: list[OcrTarget] | None,
) -> Read:
    match FORMATS[kind].reader:
        case "pdf":
            from stoa.documents.converting import pdf  # noqa: PLC0415

            numbers: list[int] | None = [] if targets is not None else None
            read_pdf = pdf.pdf_pages(data, name, job.pages_max, report, numbers)
            if targets is not None:
                targets += [OcrTarget(number, number) for number in numbers or ()]
            return read_pdf
        case "office":
            return _office(kind, data, name, job, targets)
        case "opendocument":
            from stoa.documents.converting import opendocument  # noqa: PLC0415

            return opendocument.opendocument_pages(data, name, kind, job.pages_max)
        case "rtf":
            from stoa.documents.converting import library  # noqa: PLC0415

            return None, library.by_library(data, name, kind), []
        case "html":
            from stoa.documents.converting import web  # noqa: PLC0415

            return None, *web.html_pages(data, name, mime_type)
        case "mail":
            from stoa.documents.converting import mail  # noqa: PLC0415

            def part(content: bytes, part_name: str, part_type: str | None) -> tuple[list[Page], list[str]]:
                if job.depth >= mail.DEPTH_MAX:
                    raise ConversionError("too_large", f"{part_name} is a file in too many mails; it was left out.")
                inside = BytesIO(content)
                own = replace(job, name=part_name, mime_type=part_type, depth=job.depth + 1)
                if not job.depth and _is_archive_of_documents(inside, own):
                    return _archived(inside, own, no_report, None)
                _, found, more = _document(inside, part_name, part_type, own, no_report)
                return found, more

            return None, *(mail.mailbox_pages if kind == "mbox" else mail.mail_pages)(data, name, part)
        case _:
            text, warnings = charsets.decode(data, name, mime_type)
            # Other line breaks occur within cells and strings, so those must be parsed first.
            markdown, more = _markdown(kind, text if kind in _PARSED else cleaning.clean(text), name)
            return None, [Page(markdown, None)], [*warnings, *more]


def _office(kind: str, data: bytes, name: str, job: Job, targets: list[OcrTarget] | None) -> Read:
    from stoa.documents.converting import office  # noqa: PLC0415

    pages, found, warnings = office.office_pages(data, name, kind, job.pages_max)
    if targets is not None and ocr_targets.only_pictures(found):
        seen = ocr_targets.of_office(data, kind, job.pages_max)
        if seen:
            targets += seen
            found = []  # The names of its images add nothing to what OCR reads from them.
    return pages, found, warnings


def _markdown(kind: str, text: str, name: str) -> tuple[str, list[str]]:
    if kind in ("csv", "tsv"):
        return tables.table(text, name, tabs=kind == "tsv")
    if kind in ("json", "jsonl", "ipynb", "xml"):
        from stoa.documents.converting import data  # noqa: PLC0415

        by_kind = {"json": data.json_text, "jsonl": data.json_lines, "ipynb": data.notebook, "xml": data.xml}
        return by_kind[kind](text, name)
    if kind == "code":
        return texts.fenced(text, LANGUAGES[PurePosixPath(name.lower()).suffix]), []
    return (text if kind == "md" else texts.plain(text)), []


def _without_data(pages: Sequence[Page]) -> tuple[list[Page], int]:
    found: list[Page] = []
    omitted = 0
    for page in pages:
        markdown, count = cleaning.without_data(page.markdown)
        found.append(replace(page, markdown=markdown) if count else page)
        omitted += count
    return found, omitted


def _cut(pages: list[Page], size: int) -> tuple[Passage, ...]:
    """Cuts page by page, so that every passage is on one page. The current heading continues on the next page, but not
    in the next document.

    In an archive, and for a mail's attachments, every heading begins with the path inside, which says where a passage
    is from.
    """
    cut: list[Passage] = []
    heading: str | None = None
    part: str | None = None
    for page in pages:
        if page.part != part:
            heading, part = None, page.part
        made = passages(page.markdown, page.number, heading, size)
        if page.sheets:
            made = [replace(one, sheet=one.heading) for one in made]
        if part is not None:
            made = [replace(one, heading=f"{part}: {one.heading}" if one.heading else part) for one in made]
        cut.extend(made)
        heading = last_heading(page.markdown, heading)
    return tuple(cut)
