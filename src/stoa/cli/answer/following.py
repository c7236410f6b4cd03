"""Follows a run to its end on the terminal: draws its events, asks its questions, and cancels the run on Ctrl-C."""

import os
import queue
import signal
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

from stoa.cli.answer import questions
from stoa.cli.answer.keyboard import Keyboard
from stoa.cli.answer.printer import AnswerPrinter
from stoa.cli.answer.reader import Reader, StreamItem, Unreachable
from stoa.cli.asking import errors, out
from stoa.cli.client import request
from stoa.cli.stream import events
from stoa.cli.stream.errors import StoaError
from stoa.cli.stream.events import AnyEvent, TerminalEvent
from stoa.cli.stream.transport import Transport, path
from stoa.cli.text import cell, one_line

LOOK_SECONDS: Final = 0.1
DRAW_SECONDS: Final = 0.06
"""The minimum time between two drawings, so that a terminal over a slow connection keeps up."""
QUIET_SECONDS: Final = 1.0
"""After this time without an event the status line says what the run is waiting for."""


@dataclass
class Outcome:
    """How following ended. `left`: the person left before the end. `waits`: the run waits for a person, and this
    command does not ask."""

    run_id: str | None = None
    terminal: TerminalEvent | None = None
    verified: bool | None = None
    error: StoaError | None = None
    left: bool = False
    waits: bool = False
    text: str = ""


class Following:
    """One run on one terminal. `asks`: the run's questions are asked on this terminal."""

    def __init__(
        self, transport: Transport, printer: AnswerPrinter, *, asks: bool, on_event: Callable[[AnyEvent], None]
    ) -> None:
        self._transport = transport
        self._printer = printer
        self._asks = asks
        self._on_event = on_event
        self._keyboard = Keyboard()
        self._outcome = Outcome()
        self._text = ""
        self._status = ""
        self._next_drawing = 0.0
        self._dirty = False
        self._asked = False
        self._stopping = 0
        self._leave_at: int | None = None

    def run(self, reader: Reader) -> Outcome:
        """Runs to the end of the run, or until the person leaves."""
        with self._keyboard.taken():
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
            self._printer.finish(self._text)
        if self._keyboard.ended is not None:  # Ends by the signal itself, so that the shell sees it.
            os.kill(os.getpid(), self._keyboard.ended)
        self._outcome.text = self._text
        return self._outcome

    def _over(self) -> bool:
        return self._outcome.left or self._outcome.waits or self._outcome.terminal is not None

    def _take(self, item: StreamItem | Unreachable) -> None:
        if isinstance(item, Unreachable):
            self._status = f"{item.message} Waiting for it …"
            self._draw(now=True)
            return
        self._outcome.run_id, self._outcome.verified = item.run_id, item.verified
        self._status = ""
        self._on_event(item.event)
        if (line := step_line(item.event)) is not None:
            self._printer.step(self._text, line)
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
        begun = time.monotonic()
        if now or begun > self._next_drawing:
            self._printer.draw(self._text, self._status)
            ended = time.monotonic()
            # The longer a drawing takes, the longer the pause after it, so that events do not pile up.
            self._next_drawing = ended + max(DRAW_SECONDS, 4 * (ended - begun))
            self._dirty = False

    # --- the keyboard -----------------------------------------------------------------------------------------------
    def _heed_keyboard(self) -> None:
        keys = self._keyboard
        if keys.suspends:
            keys.suspends = 0
            self._printer.withdraw()
            with keys.given_back():
                os.kill(os.getpid(), signal.SIGSTOP)  # Continues here on SIGCONT; the stream resumes by itself.
            self._draw(now=True)
        if keys.ended is not None or keys.interrupts > 1 or (keys.interrupts and self._outcome.run_id is None):
            self._outcome.left = True
        elif keys.interrupts > self._stopping:
            self._stopping = keys.interrupts
            self._status = "Stopping …"
            threading.Thread(target=self._cancel, name="stoa.cancel", daemon=True).start()
            self._draw(now=True)

    def _cancel(self) -> None:
        with suppress(StoaError):  # The stream shows whether the run was canceled.
            self._transport.json(request("POST", path("/v1/runs/{}/cancel", self._outcome.run_id)))

    # --- people -----------------------------------------------------------------------------------------------------
    def _ask_people(self) -> None:
        """Asks only what is still pending: a stream that is read again also has questions that were answered before."""
        self._asked = False
        self._printer.finish(self._text)
        run_id = self._outcome.run_id or ""
        try:
            with self._keyboard.given_back():
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


def step_line(event: AnyEvent) -> str | None:
    """One line for a step of the agent, when the step is done."""
    speaker = event.data.get("source")
    who = f"{speaker['name']}: " if isinstance(speaker, dict) and "name" in speaker else ""
    match event:
        case events.ToolCallCompleted():
            result = one_line(cell(event.data.result), 60)
            return f"↳ {who}{event.data.tool.name} {_brief(event.data.input)} → {result}"
        case events.ToolCallFailed():
            return f"✗ {who}{event.data.tool.name} {_brief(event.data.input)}: {one_line(event.data.error.message)}"
        case events.SubagentCompleted():
            return f"↳ {event.data.name}: {one_line(cell(event.data.result))}"
        case events.SubagentFailed():
            return f"✗ {event.data.name}: {one_line(event.data.error.message)}"
        case events.NodeFailed():
            return f"✗ {event.data.name}: {one_line(event.data.error.message)}"
        case events.ContextCompacted() if event.data.notice:
            return one_line(event.data.notice, 200)
        case _:
            return None


def status_of(event: AnyEvent) -> str:
    """What the run is doing, for the status line."""
    match event:
        case events.ToolCallStarted():
            return f"{event.data.tool.name} …"
        case events.NodeStarted():
            return f"{event.data.name} …"
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
    """Prints a dim line below an answer. Errors are printed as errors."""
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
