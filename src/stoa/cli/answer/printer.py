"""Draws an answer on the terminal. Finished blocks are printed once. The open block is redrawn until it is finished,
and is never taller than the screen, because lines that have scrolled away cannot be overwritten.

If a node dies during an answer, the text of the current step is discarded and written again (`run.recovered`). Text
that comes again unchanged is not printed again. Text that differs replaces the old text, or, if that has scrolled away,
is printed below a line that says so.
"""

import os
import re
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import IO, Final

from rich.console import Console, RenderableType
from rich.text import Text

from stoa.cli.text import plain
from stoa.console.markdown import blocks_of

WIDTH_MAX: Final = 100
FORMATTED_CHARACTERS_MAX: Final = 8_000
"""Characters of an open block that are formatted."""
_ANSI: Final = re.compile(r"\x1b\[[0-9;]*m")
REPLACED: Final = "(the server was interrupted: what follows replaces the answer above)"


@dataclass(frozen=True, slots=True)
class Printed:
    """Something that was printed and is not redrawn: a block of the answer, or a step (without source)."""

    source: str | None
    lines: tuple[int, ...]
    """The width of each line. A narrower window breaks it into several rows."""


class AnswerPrinter:
    """`live`: the file is a terminal whose cursor can be moved. Otherwise only finished text is written."""

    def __init__(self, file: IO[str], *, live: bool, size: Callable[[], os.terminal_size] | None = None) -> None:
        self._file = file
        self._size = size or self._size_of_terminal
        self._live = live
        self._console = Console(file=file, highlight=False, force_terminal=live or None, legacy_windows=False)
        self._printed: list[Printed] = []
        self._open: tuple[int, ...] = ()
        self._length = 0
        """Characters of the answer that were printed and are not redrawn."""

    def draw(self, text: str, status: str = "") -> None:
        """Draws the current answer, with the status line below it."""
        text = plain(text)
        if not self._settle(text, at_end=False):
            self._paint([], status)
            return
        blocks, rest = blocks_of(text[self._length :])
        if blocks:
            self._keep(blocks)
        self._paint(self._tail(rest) if self._live and rest.strip() else [], status)

    def step(self, text: str, line: str) -> None:
        """Prints a step of the agent: the text so far becomes final, and the line follows it."""
        self.finish(text)
        self._erase_open()
        styled = Text.assemble(("  " + plain(line), "dim"))
        self._write([Printed(None, self._print(styled))])

    def finish(self, text: str) -> None:
        """Makes the whole text final."""
        text = plain(text)
        self._settle(text, at_end=True)
        if rest := text[self._length :]:
            self._keep(_split(rest))
        self._erase_open()

    def withdraw(self) -> None:
        """Removes the unfinished part, because other output will follow."""
        self._erase_open()

    # --- after a recovery -------------------------------------------------------------------------------------------
    def _settle(self, text: str, *, at_end: bool) -> bool:
        """Corrects the printed part, so that it is a prefix of the text. False while this is undecided: the text was
        discarded and is being written again, and is the same so far."""
        if len(text) >= self._length and self._matching(text) == len(self._printed):
            return True
        first = self._matching(text)
        offset = sum(len(one.source or "") for one in self._printed[:first])
        block = self._printed[first].source or ""
        if not at_end and block.startswith(text[offset:]):
            return False
        self._take_back(first)
        return True

    def _matching(self, text: str) -> int:
        """How many of the printed blocks are a prefix of this text."""
        offset = 0
        for index, one in enumerate(self._printed):
            if one.source is not None:
                if not text.startswith(one.source, offset):
                    return index
                offset += len(one.source)
        return len(self._printed)

    def _take_back(self, first: int) -> None:
        gone = self._printed[first:]
        rows = sum(self._rows(one.lines) for one in gone) + self._rows(self._open)
        if self._live and rows < self._size().lines:
            self._file.write(f"\r\x1b[{rows}A\x1b[J" if rows else "")
            self._open = ()
        else:
            self._erase_open()
            self._console.print(REPLACED, style="yellow", markup=False)
        del self._printed[first:]
        self._length = sum(len(one.source or "") for one in self._printed)

    # --- painting ---------------------------------------------------------------------------------------------------
    def _keep(self, blocks: Sequence[str]) -> None:
        self._erase_open()
        kept: list[Printed] = []
        for block in blocks:
            self._length += len(block)
            widths = self._print_lines(self._lines(block)) if block.strip() else ()
            kept.append(Printed(block, widths))
        self._write(kept)

    def _write(self, kept: list[Printed]) -> None:
        self._printed += kept
        self._file.flush()

    def _paint(self, lines: Sequence[str], status: str) -> None:
        if not self._live:
            return
        self._erase_open()
        below = [*lines, *([self._ansi(Text(plain(status), style="dim"))[0]] if status else [])]
        self._open = self._print_lines(below)
        self._file.flush()

    def _erase_open(self) -> None:
        if rows := self._rows(self._open):
            self._file.write(f"\r\x1b[{rows}A\x1b[J")
            self._file.flush()
        self._open = ()

    def _print_lines(self, lines: Sequence[str]) -> tuple[int, ...]:
        self._file.write("".join(f"{line}\n" for line in lines))
        return tuple(Text(_ANSI.sub("", line)).cell_len for line in lines)

    def _print(self, text: Text) -> tuple[int, ...]:
        return self._print_lines(self._ansi(text))

    def _lines(self, source: str) -> list[str]:
        """A block as terminal lines, with one empty line before it and none after it."""
        from rich.markdown import Markdown  # noqa: PLC0415 — commands without an answer need none of it

        lines = self._ansi(Markdown(source, code_theme="ansi_dark", hyperlinks=False))
        written = [number for number, line in enumerate(lines) if _ANSI.sub("", line).strip()]
        return ["", *lines[written[0] : written[-1] + 1]] if written else []

    def _tail(self, source: str) -> list[str]:
        """The end of an open block, as much as fits the screen. A very long block is shown unformatted, because
        formatting all of it at every drawing would be slower than the stream."""
        if len(source) <= FORMATTED_CHARACTERS_MAX:
            return [line for block in _split(source) for line in self._lines(block)][-self._rows_free() :]
        rows = self._rows_free()
        return self._ansi(Text(source[-rows * WIDTH_MAX :]))[-rows:]

    def _ansi(self, what: RenderableType) -> list[str]:
        width = max(min(self._size().columns - 1, WIDTH_MAX), 10)
        with self._console.capture() as caught:
            self._console.print(what, width=width, soft_wrap=False)
        return [line.rstrip(" ") for line in caught.get().rstrip("\n").split("\n")]

    def _rows_free(self) -> int:
        """Rows for the open block: those of the screen without the status line and the cursor's line."""
        return max(self._size().lines - 3, 1)

    def _rows(self, widths: tuple[int, ...]) -> int:
        columns = max(self._size().columns, 1)
        return sum(max(-(-width // columns), 1) for width in widths)

    def _size_of_terminal(self) -> os.terminal_size:
        try:
            return os.get_terminal_size(self._file.fileno())
        except (OSError, ValueError):
            return shutil.get_terminal_size()


def _split(text: str) -> list[str]:
    """The blocks of a text, as if it ended here. The open rest may contain several blocks, and its last line may be
    incomplete."""
    finished, _ = blocks_of(f"{text}\n")
    return [*finished, rest] if (rest := text[sum(map(len, finished)) :]) else [*finished]
