"""The process that reads one file and ends.

It is forked with its limits, or started with them as one JSON argument. It writes one JSON object to standard output:
`{"passages": [{text, page, heading, rows, sheet}, …], "pages", "warnings", "ocr_targets", "loaded"}` or
`{"error": {"code", "message"}}`. Before that come lines `{"done", "pages"}` that say how far it is.
"""

import os
import signal
import sys
from pathlib import Path
from time import monotonic
from types import FrameType
from typing import Any, Final, NoReturn

import orjson

from stoa.documents.converting import ocr_targets
from stoa.documents.converting.page import LIBRARIES
from stoa.documents.converting.reading import Job, read
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
    answer: dict[str, Any]
    try:
        if job.render_page is not None:
            _answer(ocr_targets.drawn(Path(job.path), job.name, job.mime_type, job.render_page))
        done = read(job, _Progress())
        answer = {
            "passages": done.passages,
            "pages": done.pages,
            "warnings": done.warnings,
            "ocr_targets": done.ocr_targets,
            "loaded": [name for name, module in LIBRARIES.items() if module in sys.modules],
        }
    except ConversionError as error:
        answer = {"error": {"code": error.code, "message": error.message}}
    except MemoryError:
        message = f"{job.name} needs more memory than a document may use."
        answer = {"error": {"code": "out_of_memory", "message": message}}
    _answer(orjson.dumps(answer))


def _answer(answer: bytes) -> NoReturn:
    with os.fdopen(1, "wb") as output:
        output.write(answer)
    os._exit(0)  # native threads are not awaited


def _out_of_time(_signal: int, _frame: FrameType | None) -> None:
    os._exit(128 + signal.SIGXCPU)


if __name__ == "__main__":
    main(sys.argv[1])
