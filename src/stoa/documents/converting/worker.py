"""The process that reads one file and ends. It is forked with its limits, or started with them as one JSON argument, and writes one JSON object to
standard output: `{"passages": [{text, page, heading, rows, sheet}, …], "pages", "warnings", "blank", "loaded"}` or `{"error": {"code", "message"}}`. Before it come
lines `{"done", "pages"}` that say how far it is.
"""

import os
import signal
import sys
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path, PurePosixPath
from time import monotonic
from types import FrameType
from typing import Any, Final, NoReturn

import orjson

from stoa.documents.chunking import last_heading, passages
from stoa.documents.converting import archives, sights, sniffing, texts
from stoa.documents.converting.page import LIBRARIES, Page, Report, unheard
from stoa.documents.types import ConversionError, Converted, Passage, Sight
from stoa.kernel import confinement

OFFICE: Final = frozenset({"docx", "pptx", "xlsx", "epub", "html", "rtf", "eml"})
PROBLEMS_NAMED: Final = 20
REPORT_SECONDS: Final = 0.2


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
    find_blank: bool = False
    render_page: int | None = None


def read(job: Job, report: Report = unheard) -> Converted:
    """One file to passages. Raises ConversionError."""
    path, name = Path(job.path), job.name
    blank: list[Sight] | None = [] if job.find_blank else None
    with path.open("rb") as file:
        head = file.read(sniffing.HEAD_BYTES)
        sniffed = sniffing.sniff(head, name, job.mime_type, pictures=job.find_blank) if path.stat().st_size else None
    if sniffed is not None and sniffed.format == "zip" and _is_archive_of_documents(path, job):
        pages, (found, warnings) = None, _archived(path, job, report, blank)
    else:
        pages, found, warnings = _document(path, name, job.mime_type, job, report, blank)
    characters = sum(len(page.markdown) for page in found)
    if characters > job.characters_max:
        raise ConversionError(
            "too_large", f"{name} holds {characters:,} characters; at most {job.characters_max:,} are read."
        )
    cut = _cut(found, job.chunk_characters_max)
    if not cut and not blank:
        warnings.append(f"{name} holds no text that could be read.")
    return Converted(cut, pages, tuple(warnings), tuple(blank or ()))


def _document(
    source: Path | BytesIO, name: str, mime_type: str | None, job: Job, report: Report, blank: list[Sight] | None = None
) -> tuple[int | None, list[Page], list[str]]:
    """One document, a file or a part of an archive: its number of pages, its pages, and warnings. `blank` takes the pages to be looked at."""
    size = source.stat().st_size if isinstance(source, Path) else source.getbuffer().nbytes
    if size == 0:
        raise ConversionError("empty_file", f"{name} is empty (0 bytes).")
    sniffed = sniffing.sniff(_bytes(source, sniffing.HEAD_BYTES), name, mime_type, pictures=blank is not None)
    kind, warning = sniffed.format, sniffed.warning
    if kind == "zip":
        inside = archives.inspect(source, name)
        if inside is None:
            raise _no_document(name, mime_type)
        kind, warning = inside, sniffing.archive_warning(name, mime_type, inside)
    if kind in sniffing.TEXT_FORMATS and size > texts.BYTES_MAX:
        raise ConversionError(
            "too_large", f"{name} is text of {size >> 20} MiB; at most {texts.BYTES_MAX >> 20} MiB are read."
        )
    pages, found, warnings = _pages(kind, _bytes(source), name, job, report, blank)
    return pages, found, [warning, *warnings] if warning else warnings


def _bytes(source: Path | BytesIO, limit: int = -1) -> bytes:
    if isinstance(source, BytesIO):
        return bytes(source.getbuffer()[:limit]) if limit >= 0 else source.getvalue()
    with source.open("rb") as file:
        return file.read(limit)


def _is_archive_of_documents(path: Path, job: Job) -> bool:
    return archives.inspect(path, job.name) is None and sniffing.claimed(job.name, job.mime_type) is None


def _archived(path: Path, job: Job, report: Report, blank: list[Sight] | None) -> tuple[list[Page], list[str]]:
    """The documents of an archive, each page with the path inside. What cannot be read is left out and said; an archive in which
    nothing can be read is an error."""
    pages: list[Page] = []
    warnings: list[str] = []
    problems: list[str] = []
    read_count = characters = 0
    for number, (part, data) in enumerate(archives.documents(path, job.name), 1):
        inside: list[Sight] | None = [] if blank is not None else None
        try:
            if isinstance(data, ConversionError):
                raise data
            _, found, said = _document(BytesIO(data), part, None, job, unheard, inside)
        except ConversionError as error:
            problems.append(error.message)
            continue
        pages += [replace(page, part=part) for page in found]
        warnings += said
        if blank is not None:
            blank += sights.within(number, part, inside or ())
        read_count, characters = read_count + 1, characters + sum(len(page.markdown) for page in found)
        if characters > job.characters_max:
            break  # the caller says so
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
        return ConversionError("unsupported_format", f"{name} is an archive inside an archive; it is not unpacked.")
    return ConversionError("wrong_format", f"{name} is named like a {claim.upper()} file but is a ZIP archive.")


def _pages(
    kind: str, data: bytes, name: str, job: Job, report: Report, blank: list[Sight] | None
) -> tuple[int | None, list[Page], list[str]]:
    if kind in sniffing.TEXT_FORMATS - OFFICE:
        text, warning = texts.decode(data, name)
        return None, [Page(_markdown(kind, text, name), None)], [warning] if warning else []
    # Each reader's library is loaded by the files that need it: text pays for none.
    if kind == "pdf":
        from stoa.documents.converting import pdf  # noqa: PLC0415

        to_look_at: list[int] | None = [] if blank is not None else None
        read = pdf.pdf_pages(data, name, job.pages_max, report, to_look_at)
        if blank is not None:
            blank += [Sight(number, number) for number in to_look_at or ()]
        return read
    if kind == "picture":
        assert blank is not None, "somebody looks at it"
        blank += sights.of_picture(data, name, job.pages_max)
        return len(blank), [], []
    from stoa.documents.converting import documents  # noqa: PLC0415

    warning = None
    if kind == "html":  # its encoding is settled here, by the same rules as for other text
        text, warning = texts.decode(data, name)
        data = text.encode()
    pages, found, warnings = documents.office_pages(data, name, kind, job.pages_max)
    if blank is not None and sights.only_pictures(found) and (seen := sights.of_office(data, kind, job.pages_max)):
        blank += seen
        found = []  # What names its pictures is no text beside what stands on them.
    return pages, found, [warning, *warnings] if warning else warnings


def _markdown(kind: str, text: str, name: str) -> str:
    match kind:
        case "csv" | "tsv":
            return texts.table(text, name, tabs=kind == "tsv")
        case "xml":
            texts.refuse_entities(text, name)
            return texts.fenced(text, "xml")
        case "json":
            return texts.fenced(text, "json")
        case "code":
            return texts.fenced(text, sniffing.LANGUAGES[PurePosixPath(name.lower()).suffix])
        case "md":
            return text
        case _:
            return texts.plain(text)


def _cut(pages: list[Page], size: int) -> tuple[Passage, ...]:
    """Page by page, so that every passage has one page; the heading in force goes on over the page's edge, not over a document's.

    In an archive every heading begins with the path inside, which says where a passage is from.
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
        cut.extend(
            made
            if part is None
            else [replace(one, heading=f"{part}: {one.heading}" if one.heading else part) for one in made]
        )
        heading = last_heading(page.markdown, heading)
    return tuple(cut)


class _Progress:
    """Says how far the reader is, at most five times a second."""

    def __init__(self) -> None:
        self._said = monotonic()

    def __call__(self, done: int, total: int) -> None:
        if monotonic() - self._said >= REPORT_SECONDS:
            self._said = monotonic()
            os.write(1, orjson.dumps({"done": done, "pages": total or None}) + b"\n")


def main(argument: str) -> None:
    job = Job(**orjson.loads(argument))
    confinement.die_with_parent(job.parent)
    work(job)


def work(job: Job) -> NoReturn:
    """Reads, answers, and ends the process."""
    confinement.confine(job.memory_bytes_max, job.seconds_max)
    signal.signal(signal.SIGXCPU, _out_of_time)
    answer: dict[str, Any]
    try:
        if job.render_page is not None:
            _say(sights.drawn(Path(job.path), job.name, job.mime_type, job.render_page))
        done = read(job, _Progress())
        answer = {"passages": done.passages, "pages": done.pages, "warnings": done.warnings, "blank": done.blank}
        answer["loaded"] = [name for name, module in LIBRARIES.items() if module in sys.modules]
    except ConversionError as error:
        answer = {"error": {"code": error.code, "message": error.message}}
    except MemoryError:
        answer = {
            "error": {"code": "out_of_memory", "message": f"{job.name} needs more memory than a document may use."}
        }
    _say(orjson.dumps(answer))


def _say(answer: bytes) -> NoReturn:
    with os.fdopen(1, "wb") as output:
        output.write(answer)
    os._exit(0)  # native threads are not waited for


def _out_of_time(_signal: int, _frame: FrameType | None) -> None:
    os._exit(128 + signal.SIGXCPU)


if __name__ == "__main__":
    main(sys.argv[1])
