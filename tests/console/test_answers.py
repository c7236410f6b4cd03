"""An answer drawn from a journal: what a page has is the same whether it saw everything, resumed, or came late."""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Mapping, Sequence
from functools import partial
from typing import Any

import pytest

from stoa.console import pages, streaming
from stoa.console.answers import Answer
from tests.conftest import Running
from tests.support.browsers import browser, sign_in
from tests.support.doubles import answer, calling

RUN = "00000000-0000-0000-0000-00000000000a"


def events(*given: tuple[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    made = [("run.started", {}), *given]
    return [
        {"sequence": number, "type": kind, "timestamp": "2026-06-10T09:11:02Z", "data": dict(data)}
        for number, (kind, data) in enumerate(made, 1)
    ]


def said(text: str) -> tuple[str, Mapping[str, Any]]:
    return "agent.response.delta", {"delta": text}


WHOLE = events(
    ("agent.reasoning.delta", {"delta": "Hm", "iteration": 1}),
    said("# A\n\nfir"),
    said("st\n\n```py\nx = 1\n"),
    said("y = 2\n"),
    said("```\n- a\n"),
    ("agent.tool_call.started", {"id": "t1", "tool": {"name": "search_knowledge", "type": "x"}, "iteration": 1}),
    ("agent.tool_call.completed", {"id": "t1", "tool": {"name": "search_knowledge"}, "input": {"query": "q"},
     "result": json.dumps([{"citation": "[1]", "source": "a.pdf", "page": 3, "text": "words"}])}),
    said("last [1]"),
    ("run.completed", {"usage": {"total_tokens": 3}, "log": {"events": 9, "sha256": "x"}}),
)  # fmt: skip


SUBAGENTS = events(
    ("agent.subagent.started", {"id": "t1", "name": "reader", "brief": "Read it"}),
    ("agent.subagent.started", {"id": "t2", "name": "writer", "brief": "Write it"}),
    ("agent.response.delta", {"delta": "half a page", "source": {"name": "reader"}, "tool_call_id": "t1"}),
)


class Page:
    """What the browser's script does with frames."""

    def __init__(self) -> None:
        self.pieces: dict[str, str] = {}
        self.ended: dict[str, Any] | None = None
        self.after = 0

    def take(self, frames: bytes) -> None:
        for frame in frames.split(b"\n\n"):
            fields = dict(line.split(b": ", 1) for line in frame.split(b"\n") if b": " in line)
            if b"data" not in fields:
                continue
            self.after, data = int(fields[b"id"]), json.loads(fields[b"data"])
            if fields[b"event"] == b"end":
                self.ended = data
            for change in data if fields[b"event"] == b"put" else ():
                if change.get("clear"):
                    self.pieces.clear()
                elif "append" in change:
                    self.pieces[change["append"]] = self.pieces[change["append"]].replace(
                        "</code>", change["text"] + "</code>"
                    )
                else:
                    self.pieces[change["put"]] = change["html"]

    @property
    def text(self) -> str:
        return re.sub(r"<[^>]+>", "", "".join(self.pieces.values()))


async def chunks(sent: Sequence[Mapping[str, Any]], one_by_one: bool = True) -> AsyncIterator[bytes]:
    for event in sent:
        yield b"id: 1\nevent: x\ndata: " + json.dumps(event).encode() + b"\n\n"
        if one_by_one:
            await asyncio.sleep(0)


async def shown(page: Page, sent: Sequence[Mapping[str, Any]], frames_max: int = 1000, one_by_one: bool = True) -> Page:
    source = streaming.translated(RUN, chunks(sent, one_by_one), page.after, partial(pages.render, language="en"), 0.0)
    taken = 0
    async for frame in source:
        page.take(frame)
        taken += 1
        if taken > frames_max:
            break
    await source.aclose()
    return page


@pytest.mark.parametrize("upto", range(1, len(WHOLE)))
async def test_a_page_that_resumes_has_what_one_has_that_saw_everything(upto: int) -> None:
    whole = await shown(Page(), WHOLE)
    assert whole.ended is not None
    cut = await shown(Page(), WHOLE[:upto])
    assert cut.ended is None
    again = await shown(cut, WHOLE)
    assert (again.text, list(again.pieces)) == (whole.text, list(whole.pieces))
    late = await shown(Page(), WHOLE, one_by_one=False)
    assert (late.text, list(late.pieces)) == (whole.text, list(whole.pieces))


async def test_what_is_void_after_a_recovery_is_not_shown_twice() -> None:
    sent = events(
        said("One. "),
        ("agent.tool_call.started", {"id": "t", "tool": {"name": "pay"}, "iteration": 1}),
        ("agent.tool_call.completed", {"id": "t", "tool": {"name": "pay"}, "input": {}, "result": "ok"}),
        said("Twoooo"),
        ("run.recovered", {"attempt": 2, "discard_from": 5}),
        said("Two."),
        ("run.completed", {"usage": {}, "log": {"events": 7}}),
    )
    page = await shown(Page(), sent)
    assert "Twoooo" not in page.text
    assert page.text.count("Two.") == 1
    assert page.text.count("One.") == 1


async def test_the_stream_of_an_answer_over_http(running: Running) -> None:
    running.model.scripts = [answer("**Bold** and ", "<script>alert(1)</script>\n\n", "done", reasoning="Hm")]
    conversation_id = await running.conversation()
    run = await running.ask(conversation_id)
    async with browser(running) as client:
        assert (await client.get(f"/console/runs/{run['id']}/stream")).status_code == 401
        await sign_in(client)
        streamed = await client.get(f"/console/runs/{run['id']}/stream")
        assert streamed.headers["content-type"].startswith("text/event-stream")
        page = Page()
        page.take(streamed.content)
        assert page.ended is not None
        assert page.ended["status"] == "completed"
        html = "".join(page.pieces.values())
        assert "<strong>Bold</strong>" in html
        assert "<script" not in html
        rest = await client.get(f"/console/runs/{run['id']}/stream", headers={"Last-Event-ID": str(page.after)})
        assert b"event: put" not in rest.content
        assert b"event: end" in rest.content
        shown_page = await client.get(f"/console/chat/{conversation_id}")
        assert "<strong>Bold</strong>" in shown_page.text
        assert "<script>alert" not in shown_page.text
        assert (await client.get(f"/console/runs/{RUN}/stream")).status_code == 404


async def test_an_approval_is_a_card_until_it_is_answered(running: Running) -> None:
    running.model.scripts = [
        calling(("ask_human", '{"question": "Which colour?", "options": ["red", "blue"]}')),
        answer("Blue it is."),
    ]
    conversation_id = await running.conversation(agent={"human_feedback": True})
    body = {"content": "Paint", "background": True}
    run = (await running.call("POST", f"/v3/conversations/{conversation_id}/messages", 202, json=body))["data"]
    paused = await running.status(run["id"], "paused")
    async with browser(running) as client:
        await sign_in(client)
        waiting = (await client.get(f"/console/runs/{run['id']}/answer")).text
        assert "Which colour?" in waiting
        assert "answer-card" in waiting
        data = {"request_id": paused["input_requests"][0]["id"], "feedback": "blue"}
        await client.post(f"/v1/runs/{run['id']}/input", json={"type": "human_feedback", "data": data})
        await running.status(run["id"], "completed")
        answered = (await client.get(f"/console/runs/{run['id']}/answer")).text
        assert "Answered." in answered
        assert "answer-card" not in answered


def test_subagents_that_work_at_once_stand_side_by_side() -> None:
    answer = Answer(RUN)
    for event in SUBAGENTS:
        answer.apply(event)
    ((piece,),) = [answer.changes(pages.render)]
    lanes = re.findall(
        r'<button type="button" class="worker (\w+)".*?<b>(\w+)</b>.*?worker-text" dir="auto">(.*?)</span>',
        piece["html"],
    )
    assert lanes == [("running", "reader", "half a page"), ("running", "writer", "Write it")]
    assert "2 subagents at work" in piece["html"]
    answer = Answer(RUN)
    for event in SUBAGENTS[:2]:
        answer.apply(event)
    assert 'class="worker' not in answer.changes(pages.render)[0]["html"], "one needs no place of its own"


def test_many_calls_of_one_tool_are_one_word_of_the_line() -> None:
    called = [
        event
        for number in range(20)
        for event in (
            ("agent.tool_call.started", {"id": f"t{number}", "tool": {"name": "weather"}, "iteration": number}),
            (
                "agent.tool_call.completed",
                {"id": f"t{number}", "tool": {"name": "weather"}, "input": {}, "result": "dry"},
            ),
        )
    ]
    answer = Answer(RUN)
    for event in events(("agent.reasoning.delta", {"delta": "Hm", "iteration": 1}), *called, ("run.completed", {})):
        answer.apply(event)
    (piece,) = answer.changes(pages.render)
    line = re.sub(r"<[^>]+>", "", re.findall(r'steps-line">(.*?)</span>', piece["html"], re.DOTALL)[0])
    assert line == "Thought · weather \N{MULTIPLICATION SIGN} 20"


def test_a_slow_frame_holds_back_the_next_for_half_a_second_at_most() -> None:
    paused = [streaming.pause_after(seconds) for seconds in (0.001, 0.01, 3.0)]
    assert paused == [streaming.FLUSH_SECONDS, 0.1, 0.5]
