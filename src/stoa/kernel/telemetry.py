"""Structured logs on standard error: JSON for machines, plain lines for people. Never a local variable: those hold secrets."""

import logging
import sys
from typing import Any, Literal

import orjson
import structlog


def configure_logs(level: str, form: Literal["auto", "json", "console"]) -> None:
    people = form == "console" or (form == "auto" and sys.stderr.isatty())
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    if people:
        rendering: list[Any] = [structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)]
        factory: Any = structlog.PrintLoggerFactory(sys.stderr)
    else:
        rendering = [structlog.processors.format_exc_info, structlog.processors.JSONRenderer(serializer=_json)]
        factory = structlog.BytesLoggerFactory(sys.stderr.buffer)
    structlog.configure(
        processors=[*shared, *rendering],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=factory,
        cache_logger_on_first_use=True,
    )
    root = logging.getLogger()
    root.handlers = [*(one for one in root.handlers if not isinstance(one, _Libraries)), _Libraries(logging.WARNING)]


class _Libraries(logging.Handler):
    """What libraries say goes the same way. A warning's exception in one line: it tells of the world outside, not of a bug."""

    def emit(self, record: logging.LogRecord) -> None:
        kind, error = record.exc_info[:2] if record.exc_info else (None, None)
        log = structlog.get_logger(record.name).bind(logger=record.name)
        try:
            if record.levelno >= logging.ERROR:
                log.error(record.getMessage(), exc_info=record.exc_info)
            elif kind is not None:
                log.warning(record.getMessage(), error=f"{kind.__name__}: {error}")
            else:
                log.warning(record.getMessage())
        except (OSError, ValueError):  # Whoever logs must not fail because standard error is gone.
            self.handleError(record)


def _json(event: Any, **_: Any) -> bytes:
    return orjson.dumps(event, default=str)
