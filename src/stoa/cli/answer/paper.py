"""What of an answer stands on the terminal. Finished blocks are printed for good; the open one is drawn anew until it
is finished, and never grows beyond the screen, because what has scrolled away cannot be drawn over.

Where a server died in mid-answer, what it had said of the step under way is void and comes anew (`run.recovered`). What
comes the same again is not printed again; what comes otherwise takes the place of the old, or, where that has scrolled
away, stands below a line that says so.
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
"""Of a block that is still being written."""
_ANSI: Final = re.compile(r"\x1b\[[0-9;]*m")
REPLACED: Final = "(the server was interrupted: what follows replaces the answer above)"


@dataclass(frozen=True, slots=True)
class Printed:
    """What stands there for good: a block of the answer, or a step (without source)."""

    source: str | None
    lines: tuple[int, ...]
    """How wide each line is: a narrower window breaks it into several rows."""


class Paper:
    """`live`: the file is a terminal on which the cursor can be moved. Otherwise only what is finished is written."""

    def __init__(self, file: IO[str], *, live: bool, size: Callable[[], os.terminal_size] | None = None) -> None:
        self._file = file
        self._size = size or self._size_of_terminal
        self._live = live
        self._console = Console(file=file, highlight=False, force_terminal=live or None, legacy_windows=False)
        self._printed: list[Printed] = []
        self._open: tuple[int, ...] = ()
        self._length = 0
        """Characters of the answer that are printed for good."""

    def draw(self, text: str, status: str = "") -> None:
        """The answer as it stands, and one line below it about what goes on."""
        text = plain(text)
        if not self._settle(text, at_end=False):
            self._paint([], status)
            return
        blocks, rest = blocks_of(text[self._length :])
        if blocks:
            self._keep(blocks)
        self._paint(self._tail(rest) if self._live and rest.strip() else [], status)

    def step(self, text: str, line: str) -> None:
        """Something that the agent did: the text up to here is finished, and the line follows it for good."""
        self.finish(text)
        self._erase_open()
        styled = Text.assemble(("  " + plain(line), "dim"))
        self._write([Printed(None, self._print(styled))])

    def finish(self, text: str) -> None:
        """All of it stands there for good."""
        text = plain(text)
        self._settle(text, at_end=True)
        if rest := text[self._length :]:
            self._keep(_split(rest))
        self._erase_open()

    def withdraw(self) -> None:
        """Takes away what is not finished: somebody else will write on the terminal."""
        self._erase_open()

    # --- after a recovery -------------------------------------------------------------------------------------------
    def _settle(self, text: str, *, at_end: bool) -> bool:
        """Makes what is printed a beginning of the text. False while that cannot be told yet: the text has been taken
        back and is being written anew, so far the same."""
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
        """How many of the printed are a beginning of this text."""
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
        """A block as lines of the terminal, with one empty line before it and none after it."""
        from rich.markdown import Markdown  # noqa: PLC0415 — commands without an answer need none of it

        lines = self._ansi(Markdown(source, code_theme="ansi_dark", hyperlinks=False))
        written = [number for number, line in enumerate(lines) if _ANSI.sub("", line).strip()]
        return ["", *lines[written[0] : written[-1] + 1]] if written else []

    def _tail(self, source: str) -> list[str]:
        """The end of an open block, as much as the screen takes. Of a very long one the last lines as they are: to
        format all of it again and again would take longer than it takes to come."""
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
        """Rows that the open block may take: with the status line and the cursor's, all fit the screen."""
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
    """As if it ended here: what is still open may hold several blocks, of which the last line is not whole."""
    finished, _ = blocks_of(f"{text}\n")
    return [*finished, rest] if (rest := text[sum(map(len, finished)) :]) else [*finished]
