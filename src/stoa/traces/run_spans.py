"""A run of this server as a trace: pure. Nothing is stored for it. The times come from the journal, the tool calls from
the ledger, and the cost of each model call from the bill. Every span names the journal events that it is made of, and a
search of a knowledge base the passages that it found.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

import orjson

from stoa.events import NAMES, EventType
from stoa.traces.types import JournalEvent, ModelCall, OwnRun, Reply, Span, ToolCall

KNOWLEDGE: Final = "knowledge_base"
_ENDED: Final = {
    EventType.NODE_COMPLETED: "succeeded",
    EventType.NODE_FAILED: "failed",
    EventType.NODE_SKIPPED: "skipped",
    EventType.SUBAGENT_COMPLETED: "succeeded",
    EventType.SUBAGENT_FAILED: "failed",
}
_GO_ON: Final = frozenset({
    EventType.RUN_STARTED, EventType.RUN_RESUMED, EventType.RUN_RECOVERED, EventType.TOOL_CALL_COMPLETED,
    EventType.TOOL_CALL_FAILED,
})  # fmt: skip
"""Events after which the model is called again."""


@dataclass(slots=True)
class _Open:
    """A span whose end is not known yet."""

    id: str
    parent_id: str
    name: str
    type: str
    started_at: datetime
    about: dict[str, Any]
    status: str | None = None
    ended_at: datetime | None = None
    body: dict[str, Any] = field(default_factory=dict[str, Any])


def spans(
    run: OwnRun,
    models: Sequence[ModelCall],
    tools: Sequence[ToolCall],
    events: Sequence[JournalEvent],
    replies: Sequence[Reply],
) -> Sequence[Span]:
    """The root, then its steps in the order in which they began. `events` are all events but the deltas."""
    root = Span(
        trace_id=run.id,
        id=run.id,
        parent_id=None,
        wire="stoa",
        name=run.name,
        type="workflow",
        status=run.status,
        started_at=run.created_at,
        ended_at=run.ended_at,
        body={
            "input": run.input,
            "output": run.output,
            "error": run.error,
            "metadata": {
                "run_id": run.id,
                "attempt": run.attempt,
                "first_sequence": 1,
                "last_sequence": max([one.sequence for one in events] + [one.last_sequence for one in replies] + [1]),
            },
        },
        user_id=run.user_id,
        session_id=run.session_id,
        source_id=run.source_id,
    )
    within = _nodes(run, events)
    found = [_finished(run, one) for one in within.values()]
    found += [_tool(run, call, events, within) for call in [*tools, *_unentered(tools, events)]]
    found += _replies(run, models, replies, events, within)
    found.sort(key=lambda span: (span.started_at, span.body["metadata"].get("first_sequence", 0), span.id))
    return [root, *found]


def holding(found: Sequence[Span], event: JournalEvent) -> Sequence[Span]:
    """The spans that a journal event belongs to, from the root to the innermost."""
    by_id = {span.id: span for span in found}
    inner = found[0].id
    for span in found[1:]:
        about = span.body["metadata"]
        if not about.get("first_sequence", 0) <= event.sequence <= about.get("last_sequence", -1):
            continue
        if "iteration" in about:
            said = (*_speaker(event.data), event.data.get("iteration", about["iteration"]))
            if said != (about.get("source"), about.get("tool_call_id"), about["iteration"]):
                continue
        if span.id.startswith("tool-") and event.data.get("id") != about.get("id"):
            continue
        if len(_path(by_id, span.id)) >= len(_path(by_id, inner)):
            inner = span.id
    return [by_id[one] for one in reversed(_path(by_id, inner))]


def _path(by_id: Mapping[str, Span], inner: str) -> Sequence[str]:
    path: list[str] = []
    at: str | None = inner
    while at is not None and at in by_id and at not in path:
        path.append(at)
        at = by_id[at].parent_id
    return path


def _speaker(data: Mapping[str, Any]) -> tuple[str | None, str | None]:
    """(node or subagent, the call that started the subagent) of an event; (None, None) for the agent itself."""
    source = data.get("source")
    return (_named(source) if isinstance(source, Mapping) else None), data.get("tool_call_id")


def _named(source: Mapping[str, Any]) -> str | None:
    """A node's id; within a Map node with the number of the item."""
    item = source.get("item")
    return f"{source.get('id')}-{item}" if item is not None else source.get("id")


def _nodes(run: OwnRun, events: Sequence[JournalEvent]) -> dict[str, _Open]:
    """Nodes of a graph and subagents, by span id."""
    found: dict[str, _Open] = {}
    for event in events:
        data = event.data
        if EventType.NODE_STARTED <= event.type <= EventType.NODE_SKIPPED:
            key = f"node-{_named(data)}"
            parent = f"node-{data['parent_id']}" if data.get("parent_id") else run.id
            kind = str(data.get("type") or "node")
        elif EventType.SUBAGENT_STARTED <= event.type <= EventType.SUBAGENT_FAILED:
            key, kind = f"agent-{data.get('id')}", "agent"
            above = f"agent-{data.get('parent_id')}", _within(data, found)
            parent = next((one for one in above if one in found), run.id)
        else:
            continue
        one = found.get(key)
        if one is None:
            about = {"id": data.get("id"), "type": kind, "first_sequence": event.sequence}
            one = found[key] = _Open(key, parent, str(data.get("name") or kind), "node", event.timestamp, about)
            one.body = {"input": data["brief"]} if "brief" in data else {}
        one.about["last_sequence"] = event.sequence
        if "attempt" in data:
            one.about["attempt"] = data["attempt"]
        if (status := _ENDED.get(EventType(event.type))) is not None:
            one.status, one.ended_at = status, event.timestamp
            one.body |= {"output": data.get("output", data.get("result")), "error": data.get("error")}
            if "reason" in data:
                one.about["reason"] = data["reason"]
    return found


def _within(data: Mapping[str, Any], found: Mapping[str, _Open]) -> str | None:
    """The span of the node or subagent that an event comes from."""
    source, call = _speaker(data)
    for key in (f"agent-{call}", f"agent-{source}", f"node-{source}"):
        if key in found:
            return key
    return None


def _finished(run: OwnRun, one: _Open) -> Span:
    return Span(
        trace_id=run.id,
        id=one.id,
        parent_id=one.parent_id,
        wire="stoa",
        name=one.name,
        type=one.type,
        # A step that was under way when its run ended has no end of its own.
        status=one.status or (run.status if run.ended_at else None),
        started_at=one.started_at,
        ended_at=one.ended_at or run.ended_at,
        body={**one.body, "metadata": one.about},
    )


def _tool(run: OwnRun, call: ToolCall, events: Sequence[JournalEvent], within: Mapping[str, _Open]) -> Span:
    about: dict[str, Any] = {"id": call.id, "type": call.kind}
    parent = run.id
    for event in events:
        if event.data.get("id") == call.id and EventType.TOOL_CALL_STARTED <= event.type <= EventType.TOOL_CALL_FAILED:
            about.setdefault("first_sequence", event.sequence)
            about["last_sequence"] = event.sequence
            if "iteration" in event.data:
                about["reply"] = event.data["iteration"]
            parent = _within(event.data, within) or run.id
    if call.kind == KNOWLEDGE:
        about["passages"] = _passages(call.result)
    ended_at = call.settled_at or run.ended_at
    status = {"completed": "succeeded", "begun": None}.get(call.status, "failed")
    return Span(
        trace_id=run.id,
        id=f"tool-{call.id}",
        parent_id=parent,
        wire="stoa",
        name=call.name,
        type="node",
        status=status if ended_at else None,
        started_at=call.begun_at,
        ended_at=ended_at,
        body={"input": call.input, "output": call.result, "error": call.error, "metadata": about},
    )


def _unentered(tools: Sequence[ToolCall], events: Sequence[JournalEvent]) -> Sequence[ToolCall]:
    """Calls that are not in the ledger because they were never made: of an unknown tool, or with invalid arguments."""
    entered, found = {call.id for call in tools}, dict[str, ToolCall]()
    for event in events:
        call_id, about = str(event.data.get("id")), event.data.get("tool") or {}
        if call_id in entered or not EventType.TOOL_CALL_STARTED <= event.type <= EventType.TOOL_CALL_FAILED:
            continue
        begun = found[call_id].begun_at if call_id in found else event.timestamp
        ended = {EventType.TOOL_CALL_COMPLETED: "completed", EventType.TOOL_CALL_FAILED: "failed"}.get(
            EventType(event.type)
        )
        found[call_id] = ToolCall(
            id=call_id,
            name=str(about.get("name") or "tool"),
            kind=str(about.get("type") or "unknown"),
            status=ended or "begun",
            begun_at=begun,
            settled_at=event.timestamp if ended else None,
            input=event.data.get("input"),
            result=event.data.get("result"),
            error=event.data.get("error"),
        )
    return list(found.values())


def _passages(result: str | None) -> Sequence[Any]:
    """Where the passages that a search found stand, without their text."""
    try:
        found = orjson.loads(result or "[]")
    except orjson.JSONDecodeError:
        return []
    named = ("citation", "source", "page", "heading", "item_id", "chunk_id")
    rows = [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []
    return [{name: one[name] for name in named if name in one} for one in rows]


def _replies(
    run: OwnRun,
    models: Sequence[ModelCall],
    replies: Sequence[Reply],
    events: Sequence[JournalEvent],
    within: Mapping[str, _Open],
) -> list[Span]:
    """Model calls: the lines of the bill joined with the replies. A line of the bill belongs to the reply that ended
    when the line was entered."""
    said = _with_calls(replies, events)
    billed = _matched(models, said)
    asked = _asked(events, run.created_at)
    found = [_call(run, line, None, line.at) for line, reply in billed if reply is None]
    for line, reply in [*((line, reply) for line, reply in billed if reply), *_unbilled(said, billed)]:
        speaker = {"source": {"id": reply.source}, "tool_call_id": reply.call}
        parent = _within(speaker, within) or run.id
        begun = max(
            (
                moment
                for sequence, key, moment in asked
                if sequence < reply.first_sequence and key in (None, reply.key[:2])
            ),
            default=reply.begun_at,
        )
        found.append(_call(run, line, reply, min(begun, reply.begun_at), parent))
    return found


def _unbilled(said: Sequence[Reply], billed: Sequence[tuple[ModelCall, Reply | None]]) -> Sequence[tuple[None, Reply]]:
    known = {reply.key for _, reply in billed if reply}
    return [(None, reply) for reply in said if reply.key not in known]


def _call(
    run: OwnRun, line: ModelCall | None, reply: Reply | None, begun_at: datetime, parent: str | None = None
) -> Span:
    about: dict[str, Any] = {"type": "model"}
    if reply is not None:
        first, last = reply.first_sequence, reply.last_sequence
        about |= {"iteration": reply.iteration, "first_sequence": first, "last_sequence": last}
        about |= {"source": reply.source} if reply.source else {}
        about |= {"tool_call_id": reply.call} if reply.call else {}
    if line is not None and line.estimated:
        about["estimated"] = True
    ended_at = line.at if line else run.ended_at
    said = "-".join(str(part) for part in (reply.key if reply else ()) if part)
    return Span(
        trace_id=run.id,
        id=f"llm-{line.id}" if line else f"reply-{said}",
        parent_id=parent or run.id,
        wire="stoa",
        name=line.model if line else "model",
        type="node",
        status=None if ended_at is None else "succeeded" if line else run.status,
        started_at=min(begun_at, ended_at or begun_at),
        ended_at=ended_at,
        body={"metadata": about},
        model=line.model if line else None,
        prompt_tokens=line.prompt_tokens if line else None,
        completion_tokens=line.completion_tokens if line else None,
        cost_usd=line.cost_usd if line else None,
    )


def _with_calls(replies: Sequence[Reply], events: Sequence[JournalEvent]) -> Sequence[Reply]:
    """The replies, also those that only called tools. Each reply ends where its last call starts."""
    found = {reply.key: reply for reply in replies}
    for event in events:
        if event.type != EventType.TOOL_CALL_STARTED or "iteration" not in event.data:
            continue
        key = (*_speaker(event.data), int(event.data["iteration"]))
        known = found.get(key)
        first, begun = (known.first_sequence, known.begun_at) if known else (event.sequence, event.timestamp)
        last = max(event.sequence, known.last_sequence if known else 0)
        ended = max(event.timestamp, known.ended_at if known else event.timestamp)
        found[key] = Reply(*key, min(first, event.sequence), last, begun, ended)
    return sorted(found.values(), key=lambda reply: (reply.ended_at, reply.last_sequence))


def _matched(models: Sequence[ModelCall], said: Sequence[Reply]) -> Sequence[tuple[ModelCall, Reply | None]]:
    lines = sorted(models, key=lambda line: (line.at, line.id))
    if len(lines) == len(said):
        return list(zip(lines, said, strict=True))
    left = list(said)
    found: list[tuple[ModelCall, Reply | None]] = []
    for line in lines:
        nearest = min(left, key=lambda reply: abs(reply.ended_at - line.at), default=None)
        if nearest is not None:
            left.remove(nearest)
        found.append((line, nearest))
    return found


def _asked(
    events: Sequence[JournalEvent], created_at: datetime
) -> Sequence[tuple[int, tuple[str | None, str | None] | None, datetime]]:
    """The moments at which a model could be called: (sequence, by whom, when). By None: by anybody."""
    found: list[tuple[int, tuple[str | None, str | None] | None, datetime]] = [(0, (None, None), created_at)]
    for event in events:
        if event.type in _GO_ON:
            everybody = NAMES[EventType(event.type)].startswith("run.")
            found.append((event.sequence, None if everybody else _speaker(event.data), event.timestamp))
        elif event.type == EventType.NODE_STARTED:
            found.append((event.sequence, (_named(event.data), None), event.timestamp))
        elif event.type == EventType.SUBAGENT_STARTED:
            found.append((event.sequence, (event.data.get("id"), event.data.get("id")), event.timestamp))
    return found
