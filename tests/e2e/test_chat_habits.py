"""What people complain of in other chats, tried in this one: scrolling, drafts, Enter, copying, pasting."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from stoa.gateway import Finish, TextDelta, Usage
from tests.conftest import FIRST_KEY, Running
from tests.support.browsers import Chromium, opened, signed_in
from tests.support.doubles import answer

PASTE = """([types, files]) => {
  const data = new DataTransfer();
  for (const [type, text] of types) data.setData(type, text);
  for (const name of files) data.items.add(new File(["x"], name, { type: "image/png" }));
  const paste = new ClipboardEvent("paste", { clipboardData: data, bubbles: true, cancelable: true });
  document.querySelector("#say").dispatchEvent(paste);
}"""


@pytest.fixture
async def chrome(launched: Any) -> AsyncIterator[Chromium]:
    async with opened(launched) as found:
        yield found
        assert found.complaints == []


def scripted(server: Running, *scripts: Any) -> None:
    server.model.requests.clear()
    server.model.scripts = list(scripts)


async def holds(page: Any, expression: str) -> None:
    """Returns once the expression is true in the page. Playwright's own wait needs `eval`, which the page forbids."""
    async with asyncio.timeout(15):
        while not await page.evaluate(f"() => {expression}"):
            await asyncio.sleep(0.02)


async def say(page: Any, text: str) -> None:
    await page.fill("#say", text)
    await page.press("#say", "Enter")


async def test_scrolling_up_stops_following_and_scrolling_down_resumes_it(
    shared_server: Running, chrome: Chromium
) -> None:
    lines, more, last = ("".join(f"{word} {number}\n\n" for number in range(60)) for word in ("one", "two", "three"))
    gates = [asyncio.Event(), asyncio.Event()]
    steps = [
        [TextDelta(lines)],
        gates[0],
        [TextDelta(more)],
        gates[1],
        [TextDelta(last)],
        [Usage(1, 1), Finish("stop")],
    ]
    scripted(shared_server, steps)
    page = await signed_in(await chrome.context(), shared_server.url)
    await say(page, "Count")
    await page.get_by_text("one 59").wait_for()
    await holds(page, "innerHeight + scrollY > document.documentElement.scrollHeight - 2")
    await page.mouse.move(400, 300)
    await page.mouse.wheel(0, -9)  # A touchpad's smallest gesture.
    await holds(page, "innerHeight + scrollY < document.documentElement.scrollHeight - 4")
    before = await page.evaluate("scrollY")
    gates[0].set()
    await page.get_by_text("two 59").wait_for()
    assert await page.evaluate("scrollY") == before
    await page.click(".to-end")
    gates[1].set()
    await page.wait_for_selector(".verified .good")
    assert await page.evaluate("innerHeight + scrollY >= document.documentElement.scrollHeight - 2")


async def test_an_enter_that_ends_a_composition_sends_nothing(shared_server: Running, chrome: Chromium) -> None:
    page = await signed_in(await chrome.context(), shared_server.url)
    await page.fill("#say", "にほん")
    for kind in ("isComposing: true", "keyCode: 229"):
        await page.evaluate(
            "() => document.querySelector('#say').dispatchEvent("
            f"new KeyboardEvent('keydown', {{ key: 'Enter', {kind}, bubbles: true, cancelable: true }}))"
        )
    assert await page.input_value("#say") == "にほん"
    assert await page.locator(".message").count() == 0


async def test_what_is_copied_is_what_the_model_wrote(shared_server: Running, chrome: Chromium) -> None:
    text = "Run **this**:\n\n```python\nprint(1)\n```\n\n| a | b |\n|---|---|\n| 1 | 2 |\n\n- مد\n- جزر\n"
    scripted(shared_server, answer(text))
    context = await chrome.context(permissions=["clipboard-read", "clipboard-write"])
    page = await signed_in(context, shared_server.url)
    await say(page, "How?")
    await page.wait_for_selector(".verified .good")
    await page.click(".act-copy")
    await page.get_by_role("button", name="Copied").wait_for()
    assert (await page.evaluate("navigator.clipboard.readText()")).strip() == text.strip()
    await page.click(".code .copy")
    await page.locator(".code .copy", has_text="Copied").wait_for()
    assert await page.evaluate("navigator.clipboard.readText()") == "print(1)"
    directions = (
        "['ul', 'table', '.code'].map(one => getComputedStyle(document.querySelector(`.block ${one}`)).direction)"
    )
    assert await page.evaluate(directions) == ["rtl", "ltr", "ltr"]


async def test_cells_of_a_spreadsheet_are_text_and_a_picture_is_a_file(
    shared_server: Running, chrome: Chromium
) -> None:
    page = await signed_in(await chrome.context(), shared_server.url)
    await page.evaluate(PASTE, [[["text/plain", "1\t2"], ["text/html", "<table>"]], ["cells.png"]])
    assert await page.locator(".attachments li").count() == 0
    await page.evaluate(PASTE, [[], ["picture.png"]])
    await page.locator(".attachments li", has_text="picture.png").wait_for()
    for text, direction in (("a word ", "ltr"), ("كلمة ", "rtl"), ("", "auto")):  # A long text is not laid out twice.
        await page.evaluate("() => document.querySelector('#say').select()")
        await page.keyboard.insert_text(text * 2_000 or "x")
        assert await page.get_attribute("#say", "dir") == direction


async def test_what_was_not_taken_stands_in_the_field_again(shared_server: Running, chrome: Chromium) -> None:
    """Refused, without a session, or left alone before the conversation was there: nothing that was typed is lost."""
    scripted(shared_server, answer("Yes."))
    context = await chrome.context()
    page = await signed_in(context, shared_server.url)
    refusal = {"error": {"code": "rate_limited", "message": "Not so many."}}
    await page.route("**/v1/conversations", lambda route: route.fulfill(status=403, json=refusal))
    await say(page, "A long question")
    await page.get_by_text("Not so many.").wait_for()
    assert await page.input_value("#say") == "A long question"
    assert await page.locator(".message").count() == 0
    await page.unroute("**/v1/conversations")

    await context.clear_cookies()
    await page.press("#say", "Enter")
    await page.fill("#key", FIRST_KEY)
    await page.press("#key", "Enter")
    await page.wait_for_selector("#say")
    assert await page.input_value("#say") == "A long question"

    await page.route("**/v1/conversations", lambda route: route.abort())
    await page.press("#say", "Enter")
    await page.wait_for_selector(".connection:not([hidden])")
    await page.unroute("**/v1/conversations")
    await page.wait_for_selector(".verified .good")
    assert await page.locator(".said").all_text_contents() == ["A long question"]
    assert await page.input_value("#say") == ""


async def test_a_screen_reader_hears_each_sentence_or_the_whole_answer(
    shared_server: Running, chrome: Chromium
) -> None:
    async def heard(page: Any, choice: str) -> list[str]:
        scripted(shared_server, answer("One is said. ", "Two is said. ", "And three."))
        await page.evaluate(f"() => localStorage.setItem('stoa-reading', '{choice}')")
        await page.goto(f"{shared_server.url}/")
        await page.evaluate(
            "() => { window.heard = []; new MutationObserver(all => all.forEach(one => one.addedNodes.forEach("
            "node => window.heard.push(node.textContent))))"
            ".observe(document.querySelector('.announcer'), { childList: true }); }"
        )
        await say(page, "Count")
        await page.wait_for_selector(".verified .good")
        return [text.strip() for text in await page.evaluate("window.heard")]

    page = await signed_in(await chrome.context(), shared_server.url)
    assert await heard(page, "done") == ["One is said. Two is said. And three."]
    spoken = await heard(page, "")
    assert " ".join(spoken) == "One is said. Two is said. And three."
    assert all(text.endswith(".") for text in spoken)


async def test_forks_stand_in_a_tree(shared_server: Running, chrome: Chromium) -> None:
    first = await shared_server.conversation(title="The trunk")
    fork = (await shared_server.call("POST", f"/v1/conversations/{first}/fork", 201, json={"title": "A branch"}))[
        "data"
    ]
    twig = await shared_server.call("POST", f"/v1/conversations/{fork['id']}/fork", 201, json={"title": "A twig"})
    context = await chrome.context()
    await context.add_init_script("const now = Date.now; Date.now = () => now() + 7200_000;")
    page = await signed_in(context, shared_server.url)
    await page.goto(f"{shared_server.url}/console/chat/{fork['id']}")
    assert await page.locator(".forks time").all_text_contents() == ["just now"] * 3, "by the server's clock"
    await page.click(".forks > summary")
    names = await page.locator(".forks a > span:first-child").all_text_contents()
    assert names == ["The trunk", "A branch", "A twig"]
    assert await page.locator(".forks ul ul ul a").count() == 1
    assert await page.locator(".forks a[aria-current]").inner_text() != ""
    await page.get_by_role("link", name="A twig").first.click()
    await page.wait_for_url(f"**/console/chat/{twig['data']['id']}")
