"""The process that reads one file and ends. It is started with its limits as one JSON argument and writes one JSON object to
standard output: `{"passages": [[text, page, heading], …], "pages", "warnings"}` or `{"error": {"code", "message"}}`.
"""

import os
import signal
import sys
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any, Final

import orjson

from stoa.knowledge.chunking import last_heading, passages
from stoa.knowledge.converting import archives, limits, sniffing, texts
from stoa.knowledge.converting.page import Page
from stoa.knowledge.types import ConversionError, Converted, Passage

OFFICE: Final = frozenset({"docx", "pptx", "xlsx", "epub", "html", "rtf", "eml"})


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


def read(job: Job) -> Converted:
    """One file to passages. Raises ConversionError."""
    path, name = Path(job.path), job.name
    size = path.stat().st_size
    if size == 0:
        raise ConversionError("empty_file", f"{name} is empty (0 bytes).")
    with path.open("rb") as file:
        sniffed = sniffing.sniff(file.read(sniffing.HEAD_BYTES), name, job.mime_type)
    kind, warning = sniffed.format, sniffed.warning
    if kind == "zip":
        kind = _archive(path, job)
        warning = sniffing.archive_warning(name, job.mime_type, kind)
    if kind in sniffing.TEXT_FORMATS and size > texts.BYTES_MAX:
        raise ConversionError("too_large", f"{name} is text of {size >> 20} MiB; at most {texts.BYTES_MAX >> 20} MiB are read.")
    pages, found, warnings = _pages(kind, path.read_bytes(), job)
    characters = sum(len(page.markdown) for page in found)
    if characters > job.characters_max:
        raise ConversionError("too_large", f"{name} holds {characters:,} characters; at most {job.characters_max:,} are read.")
    cut = _cut(found)
    if not cut:
        warnings.append(f"{name} holds no text that could be read.")
    return Converted(cut, pages, tuple(([warning] if warning else []) + warnings))


def _archive(path: Path, job: Job) -> str:
    kind = archives.inspect(path, job.name)
    if kind is not None:
        return kind
    claim = sniffing.claimed(job.name, job.mime_type)
    if claim is None:
        raise sniffing.unsupported(job.name, "a ZIP archive")
    raise ConversionError("wrong_format", f"{job.name} is named like a {claim.upper()} file but is a ZIP archive.")


def _pages(kind: str, data: bytes, job: Job) -> tuple[int | None, list[Page], list[str]]:
    if kind in sniffing.TEXT_FORMATS - OFFICE:
        text, warning = texts.decode(data, job.name)
        return None, [Page(_markdown(kind, text, job.name), None)], [warning] if warning else []
    # Each reader's library is loaded by the files that need it: text pays for none.
    if kind == "pdf":
        from stoa.knowledge.converting import pdf  # noqa: PLC0415

        return pdf.pdf_pages(data, job.name, job.pages_max)
    from stoa.knowledge.converting import documents  # noqa: PLC0415

    warning = None
    if kind == "html":  # its encoding is settled here, by the same rules as for other text
        text, warning = texts.decode(data, job.name)
        data = text.encode()
    pages, found, warnings = documents.office_pages(data, job.name, kind, job.pages_max)
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
        case "md":
            return text
        case _:
            return texts.plain(text)


def _cut(pages: list[Page]) -> tuple[Passage, ...]:
    """Page by page, so that every passage has one page; the heading in force goes on over the page's edge."""
    cut: list[Passage] = []
    heading: str | None = None
    for page in pages:
        cut.extend(passages(page.markdown, page.number, heading))
        heading = last_heading(page.markdown, heading)
    return tuple(cut)


def main(argument: str) -> None:
    job = Job(**orjson.loads(argument))
    limits.die_with_parent(job.parent)
    limits.confine(job.memory_bytes_max, job.seconds_max)
    signal.signal(signal.SIGXCPU, _out_of_time)
    answer: dict[str, Any]
    try:
        done = read(job)
        answer = {"passages": done.passages, "pages": done.pages, "warnings": done.warnings}
    except ConversionError as error:
        answer = {"error": {"code": error.code, "message": error.message}}
    except MemoryError:
        answer = {"error": {"code": "out_of_memory", "message": f"{job.name} needs more memory than a document may use."}}
    with os.fdopen(1, "wb") as output:
        output.write(orjson.dumps(answer))
    os._exit(0)  # native threads are not waited for


def _out_of_time(_signal: int, _frame: FrameType | None) -> None:
    os._exit(128 + signal.SIGXCPU)


if __name__ == "__main__":
    main(sys.argv[1])
