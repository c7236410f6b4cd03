"""The process that reads one file and ends.

It is forked with its limits, or started with them as one JSON argument. It writes one JSON object to standard output:
`{"passages": [{text, page, heading, rows, sheet}, …], "pages", "warnings", "ocr_targets", "loaded"}` or
`{"error": {"code", "message"}}`. Before that come lines `{"done", "pages"}` that say how far it is.

A process that is given several small texts (`Job.others`) writes one such object a line for each, in their order, and
`{"alone": true}` for a file that needs a process of its own.
"""

import os
import signal
import sys
from dataclasses import replace
from pathlib import Path
from time import monotonic
from types import FrameType
from typing import Any, Final, NoReturn

import orjson

from stoa.documents.converting import ocr_targets
from stoa.documents.converting.page import LIBRARIES, Report, no_report
from stoa.documents.converting.reading import Job, is_plain, read
from stoa.documents.types import ConversionError
from stoa.kernel import confinement

REPORT_SECONDS: Final = 0.2


class _Progress:
    """Reports progress, at most five times a second."""

    def __init__(self) -> None:
        self._reported = monotonic()

    def __call__(self, done: int, total: int) -> None:
        if monotonic() - self._reported >= REPORT_SECONDS:
            self._reported = monotonic()
            os.write(1, orjson.dumps({"done": done, "pages": total or None}) + b"\n")


def main(argument: str) -> None:
    job = Job(**orjson.loads(argument))
    confinement.die_with_parent(job.parent)
    work(job)


def work(job: Job) -> NoReturn:
    """Reads, answers, and ends the process."""
    confinement.confine(job.memory_bytes_max, job.seconds_max)
    signal.signal(signal.SIGXCPU, _out_of_time)
    if job.render_page is not None:
        _answer(_drawn(job))
    elif job.others:
        _answer_each(job)
    _answer(orjson.dumps(_read(job, _Progress())))


def _drawn(job: Job) -> bytes:
    assert job.render_page is not None, "a page is asked for"
    try:
        return ocr_targets.drawn(Path(job.path), job.name, job.mime_type, job.render_page)
    except (ConversionError, MemoryError) as error:
        return orjson.dumps(_error(job, error))


def _read(job: Job, report: Report) -> dict[str, Any]:
    try:
        done = read(job, report)
    except (ConversionError, MemoryError) as error:
        return _error(job, error)
    return {
        "passages": done.passages,
        "pages": done.pages,
        "warnings": done.warnings,
        "ocr_targets": done.ocr_targets,
        "loaded": [name for name, module in LIBRARIES.items() if module in sys.modules],
    }


def _error(job: Job, error: ConversionError | MemoryError) -> dict[str, Any]:
    if isinstance(error, ConversionError):
        return {"error": {"code": error.code, "message": error.message}}
    message = f"{job.name} needs more memory than a document may use."
    return {"error": {"code": "out_of_memory", "message": message}}


def _answer_each(job: Job) -> NoReturn:
    """A file that ends the process costs those before it nothing: their answers are written. Those without an answer
    are read again, each by a process of its own."""
    with os.fdopen(1, "wb") as output:
        for path, name, mime_type in ((job.path, job.name, job.mime_type), *job.others):
            one = replace(job, path=path, name=name, mime_type=mime_type)
            answer = _read(one, no_report) if is_plain(Path(path), name, mime_type) else {"alone": True}
            output.write(orjson.dumps({"alone": True} if "error" in answer else answer) + b"\n")
            output.flush()
    os._exit(0)  # native threads are not waited for


def _answer(answer: bytes) -> NoReturn:
    with os.fdopen(1, "wb") as output:
        output.write(answer)
    os._exit(0)  # native threads are not awaited


def _out_of_time(_signal: int, _frame: FrameType | None) -> None:
    os._exit(128 + signal.SIGXCPU)


if __name__ == "__main__":
    main(sys.argv[1])
