"""Whatever comes, in whatever pieces, and however much of it is taken back: in the end the answer stands there once."""

import io
import os
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stoa.cli.answer.printer import REPLACED, AnswerPrinter
from tests.support.screen import Screen

BLOCKS = [
    "A first paragraph of some words.\n\n",
    "## A heading\n\n",
    "- one\n- two\n- three\n\n",
    "```python\nx = 1\n\ny = 2\n```\n\n",
    "| a | b |\n|---|---|\n| 1 | 2 |\n\n",
    "漢字 and 🌍 are wide.\n\n",
    "A line that is much longer than the window is wide, so that it is broken into several rows of it.\n\n",
]
SIZE = os.terminal_size((40, 400))


class Terminal:
    def __init__(self, size: os.terminal_size = SIZE, *, live: bool = True) -> None:
        self.file = io.StringIO()
        self.printer = AnswerPrinter(self.file, live=live, size=lambda: self.size)
        self.size = size

    @property
    def screen(self) -> str:
        screen = Screen(self.size.lines, self.size.columns)
        screen.feed(self.file.getvalue().replace("\n", "\r\n"))
        return screen.text.strip("\n")


@settings(max_examples=15, deadline=None)
@given(
    st.lists(st.sampled_from(BLOCKS), min_size=1, max_size=4),
    st.lists(st.sampled_from(BLOCKS), max_size=3),
    st.integers(9, 60),
    st.data(),
)
def test_a_recovery_leaves_no_trace_where_it_fits(
    first: list[str], then: list[str], step: int, data: st.DataObject
) -> None:
    """The first node says something, all after some place is void, and the second says something else or the same."""
    said = "".join(first)
    terminal = Terminal()
    for end in range(0, len(said) + 1, step):
        terminal.printer.draw(said[:end], "Thinking …")
    kept = said[: data.draw(st.integers(0, len(said)))]
    terminal.printer.draw(kept)
    whole = kept + "".join(then)
    for end in range(len(kept), len(whole) + 1, step):
        terminal.printer.draw(whole[:end])
    terminal.printer.finish(whole)
    if whole.strip():
        assert terminal.screen == once_in_blocks(whole)
    assert REPLACED not in terminal.file.getvalue()


def once_in_blocks(text: str) -> str:
    """As it is drawn when it comes without a break: block by block."""
    terminal = Terminal()
    terminal.printer.draw(text)
    terminal.printer.finish(text)
    return terminal.screen


def test_a_block_that_is_taller_than_the_window_is_there_once() -> None:
    size = os.terminal_size((40, 6))
    terminal = Terminal(size)
    lines = [f"- entry {number:03}" for number in range(60)]
    for end in range(1, 61):
        terminal.printer.draw("\n".join(lines[:end]) + "\n")
    terminal.printer.finish("\n".join(lines) + "\n")
    assert [terminal.screen.count(f"entry {number:03}") for number in range(60)] == [1] * 60


def test_a_narrower_window_is_erased_to_its_last_row() -> None:
    terminal = Terminal(os.terminal_size((80, 50)))
    words = "word " * 30
    terminal.printer.draw(words, "status")
    terminal.size = os.terminal_size((20, 50))
    terminal.printer.finish("")
    # What a terminal that breaks old lines anew shows cannot be emulated here; the rows that are erased are those.
    assert "\x1b[10A" in terminal.file.getvalue()


def test_a_very_long_answer_is_drawn_quickly_and_whole() -> None:
    terminal = Terminal(os.terminal_size((80, 24)))
    text = ""
    began = time.monotonic()
    for _ in range(60):
        text += "One long paragraph without an end. " * 100
        terminal.printer.draw(text)
    assert time.monotonic() - began < 6
    terminal.printer.finish(text)
    assert terminal.screen.count("paragraph") >= 6_000


@pytest.mark.parametrize("text", ["\x1b[2J", "a\x1b]0;title\x07b", "\x9b31m", "\u202egnp.exe", "a\rb"])
def test_controls_are_replaced(text: str) -> None:
    terminal = Terminal(live=False)
    terminal.printer.finish(text)
    assert not set(terminal.file.getvalue()) & set("\x1b\x07\x9b\u202e\r")
