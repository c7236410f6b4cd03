"""A long conversation in a real browser: earlier messages come by themselves, what is read stays where it is, and the
page stays small."""

import asyncio
from typing import Any

import asyncpg
import pytest

from tests.conftest import Running
from tests.support.browsers import opened, signed_in

TURNS = 150
COPIED = (
    "INSERT INTO messages (org_id, project_id, conversation_id, position, id, role, content, text, status)"
    " SELECT org_id, project_id, conversation_id, position + 2 * n, gen_random_uuid(), role,"
    " jsonb_build_array(jsonb_build_object('type', 'text', 'text', 'Message ' || (position + 2 * n))), '', status"
    " FROM messages, generate_series(1, $2::int) AS n WHERE conversation_id = $1"
)
UP = """async () => {
  const all = () => [...document.querySelectorAll('.said, .block')];
  const shown = () => all().find(one => one.getBoundingClientRect().top > 100);
  let jumps = 0;
  for (let frame = 0; frame < 40; frame += 1) {
    const one = shown(), before = one?.getBoundingClientRect().top;
    document.scrollingElement.scrollTop -= 400;
    await new Promise(requestAnimationFrame);
    await new Promise(requestAnimationFrame);
    const moved = one?.isConnected ? one.getBoundingClientRect().top - before : 400;
    if (moved > 500 || moved < 0) jumps += 1;
  }
  return {
    jumps, first: document.querySelector('.load-earlier') === null, there: document.querySelectorAll('.message').length,
  };
}"""


@pytest.fixture
async def talk(shared_server: Running) -> str:
    talk = await shared_server.conversation()
    await shared_server.ask(talk)
    connection = await asyncpg.connect(shared_server.dsn)
    try:
        await connection.execute(COPIED, talk, TURNS - 1)
        await connection.execute("UPDATE conversations SET message_count = $2 WHERE id = $1", talk, 2 * TURNS)
    finally:
        await connection.close()
    return talk


async def test_a_long_conversation_is_read_to_its_beginning(shared_server: Running, launched: Any, talk: str) -> None:
    async with opened(launched) as chrome:
        page = await signed_in(await chrome.context(), shared_server.url)
        await page.goto(f"{shared_server.url}/console/chat/{talk}")
        await page.wait_for_selector(f"text=Message {2 * TURNS}")
        most, jumps = 0, 0
        async with asyncio.timeout(50):
            while True:
                found = await page.evaluate(UP)
                most, jumps = max(most, found["there"]), jumps + found["jumps"]
                if found["first"] and await page.evaluate("document.scrollingElement.scrollTop") == 0:
                    break
        assert jumps == 0
        assert most < 250
        assert (await page.locator(".said, .block").first.inner_text()) == "Hi"
        numbers = await page.locator(".chunk .said").all_inner_texts()
        assert len(numbers) == len(set(numbers))
        await page.evaluate("document.scrollingElement.scrollTop = document.scrollingElement.scrollHeight")
        await page.wait_for_selector(f"text=Message {2 * TURNS}")
        assert chrome.complaints == []
