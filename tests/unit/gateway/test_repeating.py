"""What is recognized instead of parsed says what parsing would have said, or is not recognized."""

import json
from collections.abc import Callable, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stoa.gateway import Capabilities, Delta, TextDelta
from stoa.gateway.providers.anthropic import AnthropicModel
from stoa.gateway.providers.openai import OpenAIModel
from stoa.gateway.providers.reading import Reading
from stoa.gateway.providers.receiving import ReplyReader
from stoa.gateway.providers.repeating import Repeating
from stoa.gateway.providers.sse import EventParser
from stoa.gateway.providers.streaming import StreamingModel
from stoa.gateway.providers.toolcalls import Names
from stoa.gateway.providers.transport import Transport

ABILITIES = Capabilities(images=True, tools=True)


def event(text: str, **more: object) -> bytes:
    choice = {"index": 0, "delta": {"content": text}, "finish_reason": None}
    return (
        b"data: "
        + json.dumps({"id": "chatcmpl-1", "model": "m", "choices": [choice], **more}, ensure_ascii=False).encode()
        + b"\n\n"
    )


def block(text: str, index: int = 0) -> bytes:
    data = {"type": "content_block_delta", "index": index, "delta": {"type": "text_delta", "text": text}}
    return b"event: content_block_delta\ndata: " + json.dumps(data, ensure_ascii=False).encode() + b"\n\n"


def new_reading(model: type[StreamingModel]) -> Callable[[], Reading]:
    made = model(Transport(), "http://localhost", None, "m", ABILITIES)
    return lambda: made.reading(Names())


def parsed(chunk: bytes, model: type[StreamingModel] = OpenAIModel) -> Sequence[Delta]:
    """What the parser makes of whole events."""
    return ReplyReader.alone(chunk, new_reading(model))


def learned(chunk: bytes, model: type[StreamingModel] = OpenAIModel) -> Repeating | None:
    return Repeating.learned(chunk, lambda events: ReplyReader.alone(events, new_reading(model)))


@pytest.mark.parametrize(("make", "model"), [(event, OpenAIModel), (block, AnthropicModel)])
def test_several_events_are_one_text(make, model) -> None:  # type: ignore[no-untyped-def]
    found = learned(make("The"), model)
    assert found is not None
    assert found.text(make(" customer")) == " customer"
    assert found.text(make(" cust") + make("omer ") + make("日本")) == " customer 日本"
    assert found.text(make("")) == ""


@pytest.mark.parametrize(
    "chunk",
    [
        event('say "x"'),
        event("back\\slash"),
        event("line\nbreak"),
        event("a")[:-1],
        event("a")[5:],
        event("a", usage={"prompt_tokens": 1}),
        event("a") + b"data: [DONE]\n\n",
        event("a") + b": ping\n\n",
        event("a") + event("b", model="other"),
        b"",
        b"data: [DONE]\n\n",
        event("a").replace(b'"a"', b'"\xff"'),
        event("a").replace(b'"a"', b'"a\n\ndata: x"'),
    ],
)
def test_everything_else_is_parsed(chunk: bytes) -> None:
    found = learned(event("The"))
    assert found is not None
    assert found.text(chunk) is None


@pytest.mark.parametrize(
    "chunk",
    [
        event("m"),  # Also the model's name: which of the two is the text?
        event("a").replace(b"\n", b"\r\n"),
        event('"'),
        event("a")[:-1],
        event("a", usage={"prompt_tokens": 1, "completion_tokens": 1}),
        b'data: {"choices":[{"delta":{"reasoning_content":"hm"}}]}\n\n',
        b"data: [DONE]\n\n",
        b": ping\n\n",
    ],
)
def test_what_proves_nothing_is_not_learned(chunk: bytes) -> None:
    assert learned(chunk) is None


def test_it_is_the_last_event_that_is_learned() -> None:
    found = learned(event("a", model="x") + event("The"))
    assert found is not None
    assert found.text(event("b")) == "b"
    assert found.text(event("b", model="x")) is None


@given(st.lists(st.text(max_size=8), min_size=1, max_size=6), st.integers(0, 400), st.binary(max_size=3))
def test_recognized_is_what_would_be_parsed(texts: list[str], at: int, noise: bytes) -> None:
    found = learned(event("The"))
    assert found is not None
    try:
        whole = b"".join(event(text) for text in texts)
    except UnicodeEncodeError:  # Half a surrogate pair is no text.
        return
    chunk = whole[:at] + noise + whole[at:]
    text = found.text(chunk)
    if text is None:
        return
    parser = EventParser()
    said = [json.loads(data)["choices"][0]["delta"]["content"] for data in parser.feed(chunk)]
    assert "".join(said) == text
    assert not parser.open
    assert parsed(chunk) == ([TextDelta(text)] if text else [])
