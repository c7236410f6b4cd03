"""An answer as a page shows it, built from a run's events. Pure: takes events, returns changed pieces of HTML.

An answer is a list of parts: text (blocks of Markdown), steps (reasoning, tool calls, subagents, collapsed into one
line), and cards with questions for a person. The ids of pieces depend on the events alone, so a page that resumes has
the same ids as a page that has received everything.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any, Final

import orjson

from stoa.console import markdown

SEARCH: Final = "search_knowledge"
TEXTS: Final = frozenset({"agent.response.delta", "agent.reasoning.delta"})
TERMINAL: Final = {"run.completed": "completed", "run.failed": "failed", "run.canceled": "canceled"}

Event = Mapping[str, Any]
"""One event, as in the stream's `data:` line."""


@dataclass(slots=True)
class Text:
    """Text of the answer: the finished blocks, and the last block, which may still grow."""

    id: str
    tail: str = ""
    finished: list[str] = field(default_factory=list[str])
    shown: int = 0
    """Finished blocks that were sent."""
    fence_shown: int | None = None
    """Characters of an open block of code that were sent; the rest is appended."""
    references: dict[str, Any] = field(default_factory=dict[str, Any])


@dataclass(slots=True)
class Step:
    """A line under an answer: reasoning, a tool call or a subagent."""

    id: str
    kind: str
    name: str
    state: str = "running"
    input: str = ""
    output: str = ""
    started: str = ""
    ended: str = ""
    found: int | None = None


@dataclass(slots=True)
class Steps:
    id: str
    steps: list[Step] = field(default_factory=list[Step])
    changed: set[str] = field(default_factory=set[str])

    def told(self) -> Sequence[tuple[Step, int, int]]:
        """For the line that sums them up. Those with the same name and state that follow one another are one: the first
        of them, their number, and how many passages they found."""
        alike = groupby(self.steps, key=lambda step: (step.kind, step.name, step.state))
        groups = [list(group) for _, group in alike]
        return [(group[0], len(group), sum(step.found or 0 for step in group)) for group in groups]


@dataclass(slots=True)
class Card:
    """A question or an approval. `outcome` is None while it waits."""

    id: str
    request: Mapping[str, Any]
    kind: str
    outcome: str | None = None
    changed: bool = True


Part = Text | Steps | Card
Render = Callable[..., str]
"""(template, **values) → HTML."""


class Answer:
    """The parts of one run's answer."""

    def __init__(self, run_id: str) -> None:
        self.run_id = run_id
        self.parts: list[Part] = []
        self.status = "started"
        self.end: Event | None = None
        self.sequence = 0
        self.attempt = 1
        self.passages: dict[int, Mapping[str, Any]] = {}
        self._events: list[Event] = []
        self._steps: dict[str, tuple[Steps, Step]] = {}
        self._reset = False

    # --- events in --------------------------------------------------------------------------------------------------
    def apply(self, event: Event) -> None:
        self.sequence = event["sequence"]
        self._events.append(event)
        if event["type"] == "run.recovered":
            self._recover(event["data"])
        else:
            self._take(event)

    def _recover(self, data: Mapping[str, Any]) -> None:
        """Removes everything since the last checkpoint, because the run repeats it: the answer is drawn again."""
        since = data.get("discard_from", 0)
        kept = [event for event in self._events if not (event["type"] in TEXTS and event["sequence"] >= since)]
        self.parts, self._steps, self.passages, self._reset = [], {}, {}, True
        self._events = kept
        for event in kept:
            if event["type"] != "run.recovered":
                self._take(event)
        for part in self.parts:
            if isinstance(part, Steps):
                for step in part.steps:
                    if step.kind == "reasoning" and step.state == "running":
                        self._settle(part, step, "done", event_time(self._events[-1]))
        self.attempt = data.get("attempt", self.attempt)

    def _take(self, event: Event) -> None:
        kind = event["type"]
        if kind in TERMINAL:
            self.status, self.end = TERMINAL[kind], event
            self._close(event)
            self._say_result(event)
        elif kind == "agent.response.delta":
            self._say(event)
        elif kind == "agent.reasoning.delta":
            self._think(event)
        elif kind.startswith(("agent.tool_call.", "agent.subagent.")):
            self._call(event)
        elif kind in ("agent.human_feedback.requested", "approval_request.created"):
            self._ask(event)
        elif kind == "agent.context.compacted":
            self._note(event)
        elif kind in ("run.paused", "run.resumed"):
            self.status = "paused" if kind == "run.paused" else "started"
            if kind == "run.resumed":
                self._resume()

    def _ask(self, event: Event) -> None:
        data = event["data"]
        self.parts.append(Card(f"{self.run_id}-{event['sequence']}", data, event["type"].partition(".")[0]))
        found = self._steps.get(data.get("tool_call_id") or "")
        if found is not None:
            found[1].state = "waiting"
            found[0].changed.add(found[1].id)

    def _resume(self) -> None:
        """Marks every open card as answered. The events do not contain the answer; the end of an approved call shows
        it."""
        for part in self.parts:
            if isinstance(part, Card) and part.outcome is None:
                part.outcome, part.changed = "answered", True
            elif isinstance(part, Steps):
                for step in part.steps:
                    if step.state == "waiting":
                        step.state = "running"
                        part.changed.add(step.id)

    def _say(self, event: Event) -> None:
        source = event["data"].get("source")
        if source is not None:
            self._subagent_says(event)
            return
        self._end_thinking(event)
        last = self.parts[-1] if self.parts else None
        if not isinstance(last, Text):
            last = Text(f"{self.run_id}-{event['sequence']}")
            self.parts.append(last)
        last.tail += event["data"]["delta"]

    def _say_result(self, event: Event) -> None:
        """Adds the result of a workflow, which has no text before its end."""
        output = event["data"].get("output")
        if output and not any(isinstance(part, Text) for part in self.parts):
            said = Text(f"{self.run_id}-{event['sequence']}")
            said.tail = str(output)
            self.parts.append(said)

    def _subagent_says(self, event: Event) -> None:
        found = self._steps.get(event["data"].get("tool_call_id", ""))
        if found is not None:
            found[1].output += event["data"]["delta"]
            found[0].changed.add(found[1].id)

    def _think(self, event: Event) -> None:
        if event["data"].get("source") is not None:
            return
        steps = self._group(event)
        last = steps.steps[-1] if steps.steps else None
        if last is None or last.kind != "reasoning" or last.state != "running":
            last = self._begin(steps, event, "reasoning", "", f"{self.run_id}-{event['sequence']}t")
        last.output += event["data"]["delta"]
        steps.changed.add(last.id)

    def _end_thinking(self, event: Event) -> None:
        last = self.parts[-1] if self.parts else None
        if isinstance(last, Steps) and last.steps and last.steps[-1].kind == "reasoning":
            self._settle(last, last.steps[-1], "done", event_time(event))

    def _call(self, event: Event) -> None:
        kind, data = event["type"], event["data"]
        is_subagent = kind.startswith("agent.subagent.")
        key = str(data.get("id", ""))
        if is_subagent and key not in self._steps:
            key = str(data.get("tool_call_id") or key)
        found = self._steps.get(key)
        if found is None:
            if data.get("source") is None:
                self._end_thinking(event)
            name = data.get("name") if is_subagent else (data.get("tool") or {}).get("name", "")
            steps = self._group(event)
            step = self._begin(
                steps, event, "subagent" if is_subagent else "tool", str(name or ""), f"{self.run_id}-{key}"
            )
            found = self._steps[key] = (steps, step)
        steps, step = found
        if is_subagent:
            step.kind, step.name = "subagent", str(data.get("name") or step.name)
            step.input = str(data.get("brief") or step.input)
        if kind.endswith(".input.delta"):
            step.input += data["delta"]
        if "input" in data:
            step.input = pretty(data["input"])
        if "result" in data:
            step.output = str(data["result"])
            if step.name == SEARCH:
                self._cite(step)
        if "error" in data:
            step.output = str((data["error"] or {}).get("message", ""))
        if kind.endswith((".completed", ".failed")):
            self._settle(steps, step, "failed" if kind.endswith(".failed") else "done", event_time(event))
            self._approved(event)
        steps.changed.add(step.id)

    def _cite(self, step: Step) -> None:
        try:
            found = orjson.loads(step.output)
        except orjson.JSONDecodeError:
            step.found = 0
            return
        step.found = len(found) if isinstance(found, list) else 0
        for passage in found if isinstance(found, list) else ():
            number = str(passage.get("citation", "")).strip("[]")
            if number.isdigit():
                self.passages[int(number)] = passage

    def _approved(self, event: Event) -> None:
        """Updates the card of a call that has ended: whether it was approved."""
        call, error = event["data"].get("id"), event["data"].get("error") or {}
        outcomes = {"approval_declined": "declined", "approval_expired": "expired"}
        for part in self.parts:
            if (
                isinstance(part, Card)
                and part.outcome in (None, "answered")
                and part.request.get("tool_call_id") == call
            ):
                part.outcome, part.changed = outcomes.get(error.get("code", ""), "approved"), True

    def _note(self, event: Event) -> None:
        step = self._begin(self._group(event), event, "note", "compacted", f"{self.run_id}-{event['sequence']}")
        step.state, step.output = "done", str(event["data"].get("messages_left_out", 0))

    def _group(self, event: Event) -> Steps:
        """The last group of steps, before any cards."""
        last = self.parts[-1] if self.parts else None
        if not isinstance(last, Steps):
            last = Steps(f"{self.run_id}-{event['sequence']}s")
            self.parts.append(last)
        return last

    def _begin(self, steps: Steps, event: Event, kind: str, name: str, step_id: str) -> Step:
        step = Step(step_id, kind, name, started=event_time(event))
        steps.steps.append(step)
        steps.changed.add(step.id)
        return step

    def _settle(self, steps: Steps, step: Step, state: str, at: str) -> None:
        if step.state in ("running", "waiting"):
            step.state, step.ended = state, at
            steps.changed.add(step.id)

    def _close(self, event: Event) -> None:
        for part in self.parts:
            if isinstance(part, Steps):
                for step in part.steps:
                    self._settle(part, step, "done" if step.kind == "reasoning" else "stopped", event_time(event))
            elif isinstance(part, Card) and part.outcome is None:
                part.outcome, part.changed = "ended", True

    # --- HTML out ---------------------------------------------------------------------------------------------------
    def changes(self, render: Render) -> Sequence[Mapping[str, Any]]:
        """The operations for a page since the last call: `clear`, `put` (id, parent, html), `append` (id, text)."""
        found: list[Mapping[str, Any]] = []
        if self._reset:
            found.append({"clear": True})
            self._reset = False
        for part in self.parts:
            if isinstance(part, Text):
                found += self._text_changes(part)
            elif isinstance(part, Steps):
                if part.changed:
                    found.append(_put(part.id, render("steps.html", steps=part, run_id=self.run_id)))
                    part.changed.clear()
            elif part.changed:
                found.append(_put(part.id, render("card.html", card=part, run_id=self.run_id)))
                part.changed = False
        return found

    def _text_changes(self, part: Text) -> Sequence[Mapping[str, Any]]:
        before = (len(part.finished), len(part.tail))
        finished, part.tail = markdown.blocks_of(part.tail + ("\n" if self.end is not None and part.tail else ""))
        part.finished += finished
        if self.end is not None and part.tail.strip():
            part.finished.append(part.tail)
            part.tail = ""
        found: list[Mapping[str, Any]] = []
        for index in range(part.shown, len(part.finished)):
            found.append(_block(part, index, markdown.render(part.finished[index], part.references)))
            part.fence_shown = None
        part.shown = len(part.finished)
        if part.tail.strip() and (before != (part.shown, len(part.tail)) or found or part.fence_shown is None):
            found += _open_block(part)
        return found


def _open_block(part: Text) -> Sequence[Mapping[str, Any]]:
    """The operations for the open block. A block of code gets only its new characters."""
    fence = markdown.open_fence(part.tail)
    if fence is None:
        part.fence_shown = None
        return [_block(part, part.shown, markdown.render(part.tail, dict(part.references)))]
    language, text = fence
    if part.fence_shown is None or part.fence_shown > len(text):
        part.fence_shown = len(text)
        return [_block(part, part.shown, markdown.code(text, ""))] if text or language else []
    fresh, part.fence_shown = text[part.fence_shown :], len(text)
    return [{"append": f"{part.id}-{part.shown}", "text": fresh}] if fresh else []


def _block(part: Text, index: int, inner: str) -> Mapping[str, Any]:
    return _put(f"{part.id}-{index}", f'<div class="block" dir="auto">{inner}</div>')


def _put(piece_id: str, inner: str) -> Mapping[str, Any]:
    return {"put": piece_id, "html": inner}


def event_time(event: Event) -> str:
    return str(event["timestamp"])


def pretty(value: object) -> str:
    return orjson.dumps(value, option=orjson.OPT_INDENT_2).decode() if not isinstance(value, str) else value
