"""Captures the rendered log of servers in this process, separate from the shared standard error."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import structlog


@contextmanager
def logged() -> Iterator[list[str]]:
    """The lines that are logged within the block."""
    lines: list[str] = []

    def record(_: Any, __: str, line: str) -> str:
        lines.append(line)
        return line

    processors = structlog.get_config()["processors"]
    processors.append(record)
    try:
        yield lines
    finally:
        processors.remove(record)


class Setup:
    """The logging configuration of tests. A command that runs in this process configures its own; loggers must not
    cache that (`cache_logger_on_first_use`), and the next test gets the original back."""

    def __init__(self, **options: Any) -> None:
        self._configure, self._options = structlog.configure, options
        structlog.configure = self._uncached  # type: ignore[assignment]
        self._configure(**options)

    def _uncached(self, **options: Any) -> None:
        self._configure(**{**options, "cache_logger_on_first_use": False})

    def restore(self) -> None:
        if structlog.get_config()["logger_factory"] is not self._options["logger_factory"]:
            structlog.reset_defaults()
            self._configure(**self._options)
