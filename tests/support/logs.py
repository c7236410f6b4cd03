"""What servers in this process log, as it is rendered: without the standard error that all tests share."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import structlog


@contextmanager
def logged() -> Iterator[list[str]]:
    """The lines that are logged meanwhile."""
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
    """The configuration that tests log with. A command that is tried in this process makes its own: loggers must not
    keep that for good (`cache_logger_on_first_use`), and the next test gets back the first."""

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
