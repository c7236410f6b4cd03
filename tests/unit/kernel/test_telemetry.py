"""Logging never raises, whatever is wrong with standard error or with what is logged."""

import io
import json
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Literal

import pytest
import structlog

from stoa.kernel import telemetry
from stoa.kernel.telemetry import configure_logs


class Full(io.RawIOBase):
    """A file on a disk that can be full."""

    def __init__(self) -> None:
        self.full = False
        self.written = b""

    def writable(self) -> bool:
        return True

    def write(self, data: object) -> int:
        if self.full:
            raise OSError(28, "No space left on device")
        self.written += bytes(data)  # type: ignore[call-overload]
        return len(bytes(data))  # type: ignore[call-overload]


@contextmanager
def logging_to(disk: Full, form: Literal["json", "console"] = "json") -> Iterator[None]:
    """Standard error goes to this disk. Not a fixture: pytest sets standard error once more before the test begins."""
    stderr, before, handlers = sys.stderr, structlog.get_config(), logging.getLogger().handlers
    file = sys.stderr = io.TextIOWrapper(io.BufferedWriter(disk), "utf-8", write_through=True)
    try:
        configure_logs("info", form)
        yield
    finally:
        sys.stderr = stderr
        structlog.configure(**before)
        logging.getLogger().handlers = handlers
        disk.full = False
        with suppress(ValueError):  # A test has closed it.
            file.detach().close()


def lost() -> float:
    [counter] = telemetry.metrics()
    assert isinstance(counter.values, dict)  # type: ignore[union-attr]
    return float(counter.values[()])  # type: ignore[union-attr]


FORMS: list[Literal["json", "console"]] = ["json", "console"]


@pytest.mark.parametrize("form", FORMS)
def test_a_full_disk_loses_lines_and_nothing_else(form: Literal["json", "console"]) -> None:
    disk = Full()
    with logging_to(disk, form):
        log = structlog.get_logger("test")
        log.info("before")
        disk.full, before = True, lost()
        for number in range(1_000):  # More than any buffer takes.
            log.info("while it is full", number=number, text="x" * 100)
            logging.getLogger("library").error("a library's line %s", number)
        assert lost() == before + 2_000
        disk.full = False
        log.info("after")
        assert b"before" in disk.written
        assert b"after" in disk.written


def test_a_closed_standard_error_loses_lines_and_nothing_else() -> None:
    with logging_to(Full()):
        before = lost()
        sys.stderr.buffer.close()
        structlog.get_logger("test").warning("nobody hears it")
        assert lost() == before + 1


class Unspeakable:
    def __str__(self) -> str:
        raise RuntimeError("no words")

    __repr__ = __str__


@pytest.mark.parametrize("form", FORMS)
def test_a_value_that_cannot_be_rendered_drops_one_log_line(form: Literal["json", "console"]) -> None:
    with logging_to(Full(), form):
        handlers, logging.getLogger().handlers = logging.getLogger().handlers, logging.getLogger().handlers[-1:]
        before = lost()
        structlog.get_logger("test").info("odd", value=Unspeakable())
        logging.getLogger("library").error("a library's %s", Unspeakable())
        logging.getLogger("library").error("%s of %s", 1)  # noqa: PLE1206 — a library's mistake
        logging.getLogger().handlers = handlers
        assert lost() == before + 3


@pytest.mark.parametrize("value", ["lone \ud800 surrogate", 2**70, {1: {2: 3}}, b"\xff", Path("/")])
def test_odd_values_are_logged_all_the_same(value: object) -> None:
    disk = Full()
    with logging_to(disk):
        before = lost()
        structlog.get_logger("test").info("odd", value=value)
        assert lost() == before
        assert "odd" in str(json.loads(disk.written)["event"])
