"""Follows a run to its end on the terminal: what comes is drawn, questions are asked in place, Ctrl-C stops it."""

import os
import queue
import signal
import sys
import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from types import FrameType
from typing import Any, Final

from stoa.cli.answer import questions
from stoa.cli.answer.paper import Paper
from stoa.cli.answer.reader import Read, Reader, Waiting
from stoa.cli.asking import errors, out
from stoa.cli.client import request
from stoa.cli.stream import events
from stoa.cli.stream.errors import StoaError
from stoa.cli.stream.events import AnyEvent, TerminalEvent
from stoa.cli.stream.transport import Transport, path
from stoa.cli.text import one_line

LOOK_SECONDS: Final = 0.1
DRAW_SECONDS: Final = 0.06
"""Between two drawings: a terminal that is far away must keep up with them."""
QUIET_SECONDS: Final = 1.0
"""After so long without an event the status line says what is waited for."""


@dataclass
class Outcome:
    """How it ended. `left`: the reader went away before the end. `waits`: for a person, and nobody is asked here."""

    run_id: str | None = None
    terminal: TerminalEvent | None = None
    verified: bool | None = None
    error: StoaError | None = None
    left: bool = False
    waits: bool = False
    text: str = ""


@dataclass
class _Signals:
    """What the keyboard asked for. Handlers only count: a drawing is never broken off in its middle."""

    interrupts: int = 0
    suspends: int = 0
    before: dict[int, Any] = field(default_factory=dict[int, Any])

    @contextmanager
    def caught(self) -> Generator[None]:
        self.catch()
        try:
            yield
        finally:
            self.give_back()

    def catch(self) -> None:
        if threading.current_thread() is not threading.main_thread():
            return  # Signals are the main thread's.
        for number in (signal.SIGINT, *((signal.SIGTSTP,) if sys.platform != "win32" else ())):
            self.before[number] = signal.signal(number, self._count)

    def give_back(self) -> None:
        for number, handler in self.before.items():
            signal.signal(number, handler)
        self.before.clear()

    def _count(self, number: int, _: FrameType | None) -> None:
        if number == signal.SIGINT:
            self.interrupts += 1
        else:
            self.suspends += 1


class Following:
    """One run on one terminal. `asks`: a person is there to answer the run's questions."""

    def __init__(self, transport: Transport, paper: Paper, *, asks: bool, on_event: Callable[[AnyEvent], None]) -> None:
        self._transport = transport
        self._paper = paper
        self._asks = asks
        self._on_event = on_event
        self._signals = _Signals()
        self._outcome = Outcome()
        self._text = ""
        self._status = ""
        self._drawn = 0.0
        self._dirty = False
        self._asked = False
        self._stopping = 0
        self._leave_at: int | None = None

    def run(self, reader: Reader) -> Outcome:
        """To the end of the run, or until the person leaves it."""
        with self._signals.caught():
            heard = time.monotonic()
            while not self._over():
                self._heed_keyboard()
                try:
                    item = reader.next(LOOK_SECONDS)
                except queue.Empty:
                    self._idle(time.monotonic() - heard)
                    continue
                heard = time.monotonic()
                if item is None:
                    break
                if isinstance(item, StoaError):
                    self._outcome.error = item
                    break
                self._take(item)
            reader.leave()
            self._paper.finish(self._text)
        self._outcome.text = self._text
        return self._outcome

    def _over(self) -> bool:
        return self._outcome.left or self._outcome.waits or self._outcome.terminal is not None

    def _take(self, item: Read | Waiting) -> None:
        if isinstance(item, Waiting):
            self._status = f"{item.message} Waiting for it …"
            self._draw(now=True)
            return
        self._outcome.run_id, self._outcome.verified = item.run_id, item.verified
        self._status = ""
        self._on_event(item.event)
        if (line := step_line(item.event)) is not None:
            self._paper.step(self._text, line)
        self._text = item.text
        self._dirty = True
        if isinstance(item.event, TerminalEvent):
            self._outcome.terminal = item.event
        elif isinstance(item.event, events.HumanFeedbackRequested | events.ApprovalRequestCreated):
            self._asked = True
        else:
            self._status = status_of(item.event)
        self._draw()

    def _idle(self, seconds: float) -> None:
        if self._asked:
            self._ask_people()
        elif self._stopping:
            self._status = "Stopping …"
        elif (seconds > QUIET_SECONDS and not self._status) or self._status.startswith("… "):
            self._status = f"… {int(seconds)} s"
        elif not self._dirty:
            return
        self._draw(now=True)

    def _draw(self, *, now: bool = False) -> None:
        if now or time.monotonic() - self._drawn > DRAW_SECONDS:
            self._paper.draw(self._text, self._status)
            self._drawn, self._dirty = time.monotonic(), False

    # --- the keyboard -----------------------------------------------------------------------------------------------
    def _heed_keyboard(self) -> None:
        if self._signals.suspends:
            self._signals.suspends = 0
            self._paper.withdraw()
            os.kill(os.getpid(), signal.SIGSTOP)  # Goes on here when the shell says so; the stream resumes by itself.
            self._draw(now=True)
        if self._signals.interrupts > 1 or (self._signals.interrupts and self._outcome.run_id is None):
            self._outcome.left = True
        elif self._signals.interrupts > self._stopping:
            self._stopping = self._signals.interrupts
            self._status = "Stopping …"
            threading.Thread(target=self._cancel, name="stoa.cancel", daemon=True).start()
            self._draw(now=True)

    def _cancel(self) -> None:
        with suppress(StoaError):  # The run's end, or its going on, is seen in the stream.
            self._transport.json(request("POST", path("/v1/runs/{}/cancel", self._outcome.run_id)))

    # --- people -----------------------------------------------------------------------------------------------------
    def _ask_people(self) -> None:
        """What is still open: a stream that is read again also tells of questions that were answered long ago."""
        self._asked = False
        self._paper.finish(self._text)
        run_id = self._outcome.run_id or ""
        self._signals.give_back()
        try:
            for asked in questions.pending(self._transport, run_id):
                if not self._asks:
                    self._outcome.waits = True
                    return
                questions.answer(self._transport, run_id, asked)
        except questions.LeftOpen:
            self._outcome.waits = True
        except StoaError as error:
            errors.print(error.message, style="red", markup=False)
            self._asked = True
        finally:
            self._signals.catch()


def step_line(event: AnyEvent) -> str | None:
    """A step of the agent in one line, once it is done."""
    speaker = event.data.get("source")
    who = f"{speaker['name']}: " if isinstance(speaker, dict) and "name" in speaker else ""
    match event:
        case events.ToolCallCompleted():
            result = one_line(event.data.result, 60)
            return f"↳ {who}{event.data.tool.name} {_brief(event.data.input)} → {result}"
        case events.ToolCallFailed():
            return f"✗ {who}{event.data.tool.name} {_brief(event.data.input)}: {one_line(event.data.error.message)}"
        case events.SubagentCompleted():
            return f"↳ {event.data.name}: {one_line(event.data.result)}"
        case events.SubagentFailed():
            return f"✗ {event.data.name}: {one_line(event.data.error.message)}"
        case events.ContextCompacted() if event.data.notice:
            return one_line(event.data.notice, 200)
        case _:
            return None


def status_of(event: AnyEvent) -> str:
    """What goes on just now."""
    match event:
        case events.ToolCallStarted():
            return f"{event.data.tool.name} …"
        case events.SubagentStarted():
            return f"{event.data.name}: {one_line(event.data.brief, 60)} …"
        case events.ReasoningDelta():
            return "Thinking …"
        case events.RunPaused():
            return "Waiting for an answer …"
        case events.RunRecovered():
            return "The server was interrupted; the answer goes on …"
        case _:
            return ""


def _brief(given: Any) -> str:
    return one_line(", ".join(f"{name}={value}" for name, value in dict(given or {}).items()), 60)


def tell_end(outcome: Outcome, seconds: float | None = None) -> None:
    """A quiet line below an answer; what went wrong is said aloud."""
    terminal = outcome.terminal
    if terminal is None:
        return
    if isinstance(terminal, events.RunFailedEvent):
        errors.print(f"The run failed: {terminal.data.error.message}", style="red", markup=False)
    elif isinstance(terminal, events.RunCanceledEvent):
        errors.print("Stopped. What was said is kept.", style="yellow", markup=False)
    used = terminal.data.get("usage") or {}
    parts = [f"{used['total_tokens']:,} tokens"] if "total_tokens" in used else []
    if "cost_usd" in used:
        parts.append(f"${used['cost_usd']:.4f}")
    if seconds is not None:
        parts.append(f"{seconds:.1f} s")
    parts.append({True: "verified ✓", False: "NOT as the server wrote it", None: "not verified"}[outcome.verified])
    out.print("  " + " · ".join(parts), style="dim", markup=False)
