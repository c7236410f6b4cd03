"""Structured logs on standard error: JSON for machines, plain lines for people. Local variables are never logged,
because they may be secrets.

Logging never raises. A line that cannot be written (the disk is full, the pipe is closed) or rendered is dropped and
counted.
"""

import logging
import sys
from collections.abc import Callable, Sequence
from typing import Any, Final, Literal

import orjson
import structlog

from stoa.kernel.metrics import Counter, Metric

_lost: Final = Counter(
    "stoa_log_lines_lost", "Lines of the log that could not be written: the disk is full, or the pipe closed."
)
_UNWRITABLE: Final = (OSError, ValueError)
"""Errors of a write: a full disk, a closed pipe, a closed file object."""


def metrics() -> Sequence[Metric]:
    return [_lost]


def configure_logs(level: str, form: Literal["auto", "json", "console"], worker: int | None = None) -> None:
    """`worker`: the number of this process among several that write to the same standard error, added to each line."""
    people = form == "console" or (form == "auto" and sys.stderr.isatty())
    shared: list[Any] = [
        *([_of_worker(worker)] if worker is not None else ()),
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    if people:
        rendering: list[Any] = [structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)]
        factory: Any = structlog.WriteLoggerFactory(_Lossy(sys.stderr))  # pyright: ignore[reportArgumentType]
    else:
        rendering = [structlog.processors.format_exc_info, structlog.processors.JSONRenderer(serializer=_json)]
        factory = structlog.BytesLoggerFactory(_Lossy(sys.stderr.buffer))  # pyright: ignore[reportArgumentType]
    structlog.configure(
        processors=[_Unfailing([*shared, *rendering])],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=factory,
        cache_logger_on_first_use=True,
    )
    root = logging.getLogger()
    root.handlers = [*(one for one in root.handlers if not isinstance(one, _Libraries)), _Libraries(logging.WARNING)]


def _of_worker(worker: int) -> Callable[..., Any]:
    def add(_logger: Any, _method: str, event: Any) -> Any:
        event["worker"] = worker
        return event

    return add


class _Lossy:
    """A file that writes each line at once. A line that cannot be written is counted instead of raising."""

    def __init__(self, file: Any) -> None:
        self._file = file

    def write(self, line: Any) -> None:
        try:
            self._file.write(line)
            self._file.flush()
        except _UNWRITABLE:
            _lost.add()

    def flush(self) -> None:
        """Does nothing: `write` flushes."""


class _Unfailing:
    """Wraps the processors so that they never raise. An event that cannot be rendered is dropped and counted."""

    def __init__(self, processors: Sequence[Callable[..., Any]]) -> None:
        self._processors = processors

    def __call__(self, logger: Any, method: str, event: Any) -> Any:
        try:
            for process in self._processors:
                event = process(logger, method, event)
        except structlog.DropEvent:
            raise
        except Exception:  # noqa: BLE001 - whoever logs must not fail because of it
            _lost.add()
            raise structlog.DropEvent from None
        return event


class _Libraries(logging.Handler):
    """Sends records of libraries to the same log. The exception of a warning is one line, because it is not a bug of
    ours."""

    def emit(self, record: logging.LogRecord) -> None:
        kind, error = record.exc_info[:2] if record.exc_info else (None, None)
        try:
            log = structlog.get_logger(record.name).bind(logger=record.name)
            if record.levelno >= logging.ERROR:
                log.error(record.getMessage(), exc_info=record.exc_info)
            elif kind is not None:
                log.warning(record.getMessage(), error=f"{kind.__name__}: {error}")
            else:
                log.warning(record.getMessage())
        except Exception:  # noqa: BLE001 - whoever logs must not fail because of it
            _lost.add()


def _json(event: Any, **_: Any) -> bytes:
    try:
        return orjson.dumps(event, default=str)
    except (TypeError, ValueError):  # A lone surrogate, or an integer of more than 64 bits: every value as ASCII text.
        return orjson.dumps({ascii(name).strip("'"): ascii(value) for name, value in event.items()})
