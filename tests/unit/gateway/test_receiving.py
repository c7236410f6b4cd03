"""When a reply ends, and how long the provider wants us to wait."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from stoa.gateway import Finish, TextDelta
from stoa.gateway.providers import receiving
from stoa.gateway.providers.openai_reading import OpenAIReading
from stoa.gateway.providers.receiving import Reception
from stoa.gateway.providers.streaming import _seconds
from tests.support.wires import CLEAN, Body, chunk


class Held(Body):
    """A reply whose server keeps its connection open: silent, or with comments."""

    comments = False

    async def chunks(self) -> AsyncIterator[bytes]:
        async for one in super().chunks():
            yield one
        while self.comments:
            yield b": ping\n\n"
            await asyncio.sleep(0.002)
        await asyncio.Event().wait()


@pytest.mark.parametrize("comments", [False, True])
@pytest.mark.parametrize("pushed", [False, True])
async def test_a_reason_without_an_end_mark_ends_a_reply_soon(
    monkeypatch: pytest.MonkeyPatch, *, comments: bool, pushed: bool
) -> None:
    monkeypatch.setattr(receiving, "AFTER_REASON_SECONDS_MAX", 0.02)
    body = Held([chunk({"content": "Hello "}), chunk({"content": "there."}), chunk({}, "stop")])
    body.comments = comments
    reception = Reception(OpenAIReading(CLEAN), lambda: OpenAIReading(CLEAN), CLEAN)
    deltas: list[object] = []

    def take(batch: object) -> bool:
        deltas.extend(batch)  # type: ignore[arg-type]
        return True

    async with asyncio.timeout(10):
        async for batch in reception.batches(body):  # type: ignore[arg-type]
            deltas += batch
            if pushed:
                reception.push_to(take)
    assert deltas == [TextDelta("Hello "), TextDelta("there."), Finish("stop")]
    assert body.ended


DATE = "Tue, 01 Dec 2026 10:00:00 GMT"


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "3"}, 3),
        ({"retry-after": "1.5"}, 1.5),
        ({"retry-after-ms": "300", "retry-after": "1"}, 0.3),
        ({"retry-after": "Tue, 01 Dec 2026 10:00:07 GMT", "date": DATE}, 7),
        ({"retry-after": "Tue, 01 Dec 2026 09:00:00 GMT", "date": DATE}, 0),
        ({"retry-after": "Tue, 01 Dec 2026 10:00:07 GMT"}, None),
        ({"retry-after": "soon", "date": DATE}, None),
        ({"retry-after": "-1"}, None),
        ({"retry-after": "nan"}, None),
    ],
)
def test_how_long_to_wait(headers: dict[str, str], seconds: float | None) -> None:
    assert _seconds(headers) == seconds
