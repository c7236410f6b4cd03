"""Runs as traces: what the journal, the ledger and the bill make together."""

from datetime import UTC, datetime, timedelta
from typing import Any

from stoa.events import EventType
from stoa.traces import run_spans
from stoa.traces.types import JournalEvent, ModelCall, OwnRun, Reply, ToolCall

START = datetime(2026, 3, 1, tzinfo=UTC)
RUN = OwnRun("r", "Answer", None, START, None, "Hi", None, None, "ada", None, None, 1)


def at(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


def event(sequence: int, kind: EventType, seconds: float, **data: Any) -> JournalEvent:
    return JournalEvent(sequence, kind, at(seconds), data)


def test_a_search_names_the_passages_that_it_found_without_their_text() -> None:
    found = '[{"citation": "[1]", "source": "a.pdf", "page": 3, "item_id": "i", "chunk_id": "c", "text": "High."}, 7]'
    call = ToolCall("1", "search", "knowledge_base", "completed", at(1), at(2), {"query": "tide"}, found, None)
    _, span = run_spans.spans(RUN, [], [call], [], [])
    assert span.body["metadata"]["passages"] == [
        {"citation": "[1]", "source": "a.pdf", "page": 3, "item_id": "i", "chunk_id": "c"}
    ]
    words = ToolCall("1", "search", "knowledge_base", "completed", at(1), at(2), {}, "Nothing was found.", None)
    assert run_spans.spans(RUN, [], [words], [], [])[1].body["metadata"]["passages"] == []


def test_a_run_under_way_has_steps_that_are_not_finished() -> None:
    events = [
        event(1, EventType.RUN_STARTED, 0),
        event(2, EventType.NODE_STARTED, 1, id="a", name="Ask", type="agent"),
    ]
    reply = Reply("a", None, 1, 3, 9, at(2), at(3))
    root, node, call = run_spans.spans(RUN, [], [], events, [reply])
    assert [span.status for span in (root, node, call)] == [None, None, None]
    assert (call.parent_id, node.parent_id) == (node.id, root.id)
    assert root.body["metadata"]["last_sequence"] == 9
    token = event(5, EventType.RESPONSE_DELTA, 2, source={"id": "a"}, iteration=1)
    assert run_spans.holding([root, node, call], token) == [root, node, call]


def test_lines_of_the_bill_belong_to_the_replies_that_ended_beside_them() -> None:
    replies = [Reply(None, None, 1, 2, 4, at(1), at(2)), Reply(None, None, 2, 6, 9, at(4), at(5))]
    lines = [ModelCall(str(n), "m", at(2.1 + 3 * n), 5, 2, 0.5, False) for n in range(2)]
    events = [
        event(1, EventType.RUN_STARTED, 0),
        event(5, EventType.TOOL_CALL_COMPLETED, 3, id="t", tool={"name": "x"}),
    ]
    found = {span.id: span for span in run_spans.spans(RUN, lines, [], events, replies)}
    assert [found[f"llm-{n}"].body["metadata"]["iteration"] for n in range(2)] == [1, 2]
    assert (found["llm-1"].started_at, found["llm-1"].ended_at) == (at(3), at(5.1))
    assert found["tool-t"].status == "succeeded"
    # A line more than there are replies: it stands alone.
    more = run_spans.spans(RUN, [*lines, ModelCall("9", "m", at(9), 1, 1, None, True)], [], events, replies)
    assert next(span for span in more if span.id == "llm-9").body["metadata"] == {"type": "model", "estimated": True}
