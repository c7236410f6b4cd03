"""The console in a real browser: whatever happens to page, network or server, an answer is whole and there once."""

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Error

from stoa.gateway import Finish, TextDelta, Usage
from tests.conftest import FIRST_KEY, Running, serving
from tests.support.browsers import Chromium, opened, signed_in
from tests.support.doubles import ScriptedModel, ScriptedTool, ScriptedToolbox, answer, calling
from tests.support.processes import KEY, free_port, serve, url_of
from tests.support.scripted_model import ScriptedServer

MARKDOWN = ("# Tides\n\nThe **moon** pulls the sea.\n\n", "```python\nprint(1)\n", "```\n\n- one\n", "- two\n")


@pytest.fixture
async def chrome(launched: Any) -> AsyncIterator[Chromium]:
    """A browser whose pages must have complained of nothing, and asked nobody else for anything."""
    async with opened(launched) as found:
        yield found
        assert found.complaints == []
        assert found.elsewhere == []


async def say(page: Any, text: str) -> None:
    await page.fill("#say", text)
    await page.press("#say", "Enter")


async def holds(page: Any, expression: str) -> None:
    """Returns once the expression is true in the page. Playwright's own wait needs `eval`, which the page forbids."""
    async with asyncio.timeout(15):
        while True:
            with contextlib.suppress(Error):  # The page goes elsewhere at this moment.
                if await page.evaluate(f"() => {expression}"):
                    return
            await asyncio.sleep(0.02)


async def answers(page: Any) -> list[str]:
    return [re.sub(r"\s+", " ", text).strip() for text in await page.locator(".answer-body").all_inner_texts()]


async def test_an_answer_is_streamed_verified_and_the_same_after_a_reload(running: Running, chrome: Chromium) -> None:
    running.model.scripts = [answer(*MARKDOWN, reasoning="Hm.")]
    page = await signed_in(await chrome.context(), running.url)
    await say(page, "When is high tide?")
    await page.wait_for_selector(".verified .good")
    assert await page.locator(".steps").count() == 1
    await page.click(".steps > summary")
    await page.click(".step summary")
    assert "Hm." in await page.inner_text(".step pre")
    before = await page.locator(".answer-body .block").all_inner_texts()
    assert [text.split("\n")[0] for text in before][:2] == ["Tides", "The moon pulls the sea."]
    await page.reload()
    after = await page.locator(".answer-body .block").all_inner_texts()
    assert after == before
    assert await page.locator(".message.user").count() == 1


async def test_a_reload_and_a_second_tab_in_mid_answer(running: Running, chrome: Chromium) -> None:
    gate = asyncio.Event()
    running.model.scripts = [[[TextDelta("One ")], gate, [TextDelta("two.")], [Usage(1, 2), Finish("stop")]]]
    context = await chrome.context()
    page = await signed_in(context, running.url)
    await say(page, "Count")
    await page.wait_for_selector(".answer-body .block")
    await page.wait_for_url("**/console/chat/*")
    other = await context.new_page()
    await other.goto(page.url)
    await other.wait_for_selector(".answer-body .block")
    await page.reload()
    await page.wait_for_selector(".answer-body .block")
    gate.set()
    for one in (page, other):
        await one.wait_for_selector(".verified .good")
        assert await answers(one) == ["One two."]
    running.model.scripts = [answer("Three.")]
    await say(other, "More")
    await holds(page, "document.querySelectorAll('.answer-body .block').length === 2")
    await holds(page, "document.querySelectorAll('.answer-body')[1].innerText.trim() === 'Three.'")
    for one in (page, other):
        assert await one.locator(".said").all_text_contents() == ["Count", "More"]


async def test_a_lost_network(running: Running, chrome: Chromium) -> None:
    gate = asyncio.Event()
    running.model.scripts = [[[TextDelta("One ")], gate, [TextDelta("two.")], [Usage(1, 2), Finish("stop")]]]
    context = await chrome.context()
    page = await signed_in(context, running.url)
    await say(page, "Count")
    await page.wait_for_selector(".answer-body .block")
    await context.set_offline(True)
    await page.wait_for_selector(".connection:not([hidden])")
    gate.set()
    await context.set_offline(False)
    await page.wait_for_selector(".verified .good")
    assert await answers(page) == ["One two."]
    await page.wait_for_selector(".connection", state="hidden")


async def test_a_message_sent_without_a_network_is_sent_once(running: Running, chrome: Chromium) -> None:
    context = await chrome.context()
    page = await signed_in(context, running.url)
    await say(page, "Hello")
    await page.wait_for_selector(".verified .good")
    await context.set_offline(True)
    await say(page, "Again")
    await page.wait_for_selector(".connection:not([hidden])")
    await context.set_offline(False)
    await holds(page, "document.querySelectorAll('.verified .good').length === 2")
    assert await page.locator(".message.user").count() == 2
    assert len(running.model.requests) == 2


async def test_a_server_killed_in_mid_answer(tmp_path: Path, chrome: Chromium) -> None:
    port = free_port()
    async with ScriptedServer() as model:
        words = [f"word{number} " for number in range(30)]
        script = {"pieces": words, "stall": 8, "id": "a", "again": {"stall": -1}}  # Silent until it is asked again.
        model.script = lambda _: script
        environment = {
            "STOA_BOOTSTRAP_KEY": KEY, "OPENAI_API_KEY": "x", "OPENAI_BASE_URL": model.url,
            "STOA_DEFAULT_MODEL": "openai/scripted",
        }  # fmt: skip
        async with serve(tmp_path, port=port, **environment) as (process, said):
            page = await signed_in(await chrome.context(), url_of(said), KEY)
            await say(page, "Talk")
            await page.wait_for_selector("text=word5")
            process.kill()
            await process.wait()
            await page.wait_for_selector(".connection:not([hidden])")
        async with serve(tmp_path, port=port, **environment):
            await page.wait_for_selector(".verified .good", timeout=40_000)
            wanted = " ".join(f"word{number}" for number in range(30))
            assert await answers(page) == [wanted]
            await page.reload()
            assert await answers(page) == [wanted]
    chrome.complaints.clear()  # That the server was gone.


async def test_files_by_choice_and_by_drop(running: Running, chrome: Chromium, tmp_path: Path) -> None:
    note = tmp_path / "tides.txt"
    note.write_text("High tide is at six.")
    page = await signed_in(await chrome.context(), running.url)
    await page.set_input_files(".attach input", str(note))
    await page.wait_for_selector(".attachments li:not(:has(progress))")
    drop = """() => {
      const dataTransfer = new DataTransfer();
      dataTransfer.items.add(new File(["low"], "dropped.txt", {type: "text/plain"}));
      const drop = new DragEvent("drop", {dataTransfer, bubbles: true, cancelable: true});
      document.querySelector(".composer").dispatchEvent(drop);
    }"""
    await page.evaluate(drop)
    await holds(page, "document.querySelectorAll('.attachments li:not(:has(progress))').length === 2")
    await say(page, "What do they say?")
    await page.wait_for_selector(".verified .good")
    assert await page.locator(".message.user .file").all_inner_texts() == ["tides.txt", "dropped.txt"]
    conversation_id = page.url.rsplit("/", 1)[1]
    stored = (await running.call("GET", f"/v1/conversations/{conversation_id}/messages"))["data"][0]["content"]
    assert [part["type"] for part in stored] == ["text", "file", "file"]


async def test_an_approval_by_keyboard(dsn: str, tmp_path: Path, chrome: Chromium) -> None:
    tool = ScriptedTool("pay", approval=True, editable_params=("amount",))
    model = ScriptedModel([calling(("pay", '{"to": "Ada", "amount": 10}')), answer("Paid.")])
    async with serving(dsn, tmp_path, model, toolbox=ScriptedToolbox(tool)) as running:
        conversation_id = await running.conversation(agent={"tools": ["pay"], "approvals": ["pay"]})
        page = await signed_in(await chrome.context(), running.url)
        await page.goto(f"{running.url}/console/chat/{conversation_id}")
        await say(page, "Pay Ada")
        await page.wait_for_selector(".card.waiting")
        await page.focus(".card input[name=amount]")
        await page.keyboard.press("Control+A")
        await page.keyboard.type("7")
        await page.keyboard.press("Tab")
        await page.keyboard.press("Tab")
        assert await page.evaluate("document.activeElement.textContent") == "Approve"
        await page.keyboard.press("Enter")
        await page.wait_for_selector(".verified .good")
        assert "Paid." in (await answers(page))[0]
        assert tool.made[0][0] == {"to": "Ada", "amount": 7}


async def test_a_whole_chat_without_a_mouse(running: Running, chrome: Chromium) -> None:
    running.model.scripts = [answer("First."), answer("Second.")]
    context = await chrome.context()
    page = await context.new_page()
    await page.goto(running.url)
    keyboard = page.keyboard
    for _ in range(8):  # Past the e-mail address and the password.
        if await page.evaluate("document.activeElement.id") == "key":
            break
        await keyboard.press("Tab")
    await keyboard.type(FIRST_KEY)
    await keyboard.press("Enter")
    await page.wait_for_selector("#say")
    assert await page.evaluate("document.activeElement.id") == "say"
    await keyboard.type("Hello")
    await keyboard.press("Shift+Enter")
    await keyboard.type("there")
    await keyboard.press("Enter")
    await page.wait_for_selector(".verified .good")
    assert await page.locator(".said").inner_text() == "Hello\nthere"
    await keyboard.press("ArrowUp")  # Edits the last message, in a conversation of its own.
    await holds(page, "document.querySelector('#say')?.value.startsWith('Hello') && !document.querySelector('.answer')")
    await page.focus("body")
    await page.evaluate("document.activeElement.blur()")
    await keyboard.press("?")
    assert await page.locator("#keyboard").is_visible()
    await keyboard.press("Escape")
    await keyboard.press("/")
    assert await page.evaluate("document.activeElement.id") == "search"
    await keyboard.type("Hello")
    await keyboard.press("Enter")
    await page.wait_for_selector("table.list")
    assert await page.locator("table.list tbody tr").count() == 1
    await page.evaluate("document.activeElement.blur()")
    await keyboard.press("g")
    await keyboard.press("n")
    await page.wait_for_selector("#welcome")


async def test_a_conversation_is_renamed_forked_and_deleted_with_its_receipt(
    running: Running, chrome: Chromium
) -> None:
    page = await signed_in(await chrome.context(), running.url)
    await say(page, "Hello")
    await page.wait_for_selector(".verified .good")
    await page.click(".rename")
    await page.fill(".renaming", "A better name")
    composing = "new KeyboardEvent('keydown', { key: 'Enter', isComposing: true, bubbles: true })"
    await page.evaluate(f"() => document.querySelector('.renaming').dispatchEvent({composing})")
    await page.press(".renaming", "Enter")
    await page.wait_for_selector(".talks >> text=A better name")
    await page.click(".act-pin")
    await holds(page, "document.querySelector('.talks h2').textContent === 'Pinned'")
    await holds(page, "document.activeElement.textContent === 'Unpin'")
    await page.focus(".talks [data-pin]")
    await page.keyboard.press("Enter")
    await holds(page, "document.querySelector('.talks h2').textContent === 'Today'")
    assert await page.inner_text(".act-pin") == "Pin"
    first = page.url
    await page.click(".act-fork")
    await page.wait_for_url(lambda url: "/console/chat/" in url and url != first)
    assert await page.locator(".message").count() == 2
    other = await page.context.new_page()
    await other.goto(page.url)
    await other.fill("#say", "Typed into a conversation that is deleted meanwhile")
    await page.click(".act-delete")
    assert await page.locator("#delete-talk .danger").is_disabled()
    await page.fill("#delete-word", "delete")
    await page.press("#delete-word", "Enter")
    await page.wait_for_url("**/console/deletions/*")
    assert await page.locator("table.list tbody tr").count() > 1
    await other.evaluate("() => dispatchEvent(new Event('online'))")
    await other.wait_for_selector("#welcome")
    assert await other.inner_text(".toast") == "That conversation was deleted."
    assert await other.input_value("#say") == "Typed into a conversation that is deleted meanwhile"


async def test_regenerate_keeps_the_earlier_answer_folded(running: Running, chrome: Chromium) -> None:
    running.model.scripts = [answer("First."), answer("Second.")]
    page = await signed_in(await chrome.context(), running.url)
    await say(page, "Hello")
    await page.wait_for_selector(".verified .good")
    await page.click(".act-regenerate")
    await page.wait_for_selector("text=Second.")
    await page.wait_for_selector("article.answer:not(details article) .verified .good")
    assert await page.locator("details.earlier").count() == 1
    await page.reload()
    assert await page.locator("details.earlier").count() == 1
    assert "Second." in await page.locator(".answer-body").last.inner_text()


async def test_stop_keeps_what_was_said(running: Running, chrome: Chromium) -> None:
    running.model.scripts = [[[TextDelta("Half of it")], asyncio.Event()]]
    page = await signed_in(await chrome.context(), running.url)
    await say(page, "Go on")
    await page.wait_for_selector("text=Half of it")
    await page.press("#say", "Escape")
    await page.wait_for_selector(".answer[data-status=canceled]")
    await page.reload()
    assert await answers(page) == ["Half of it"]
    assert "Stopped." in await page.inner_text(".answer-foot")


async def test_the_link_of_the_first_start_signs_in(running: Running, chrome: Chromium) -> None:
    page = await (await chrome.context()).new_page()
    await page.goto(f"{running.url}/console/sign-in#{running.server.sign_in_link}")
    await page.wait_for_selector("#say")
    assert "stoa_lnk" not in page.url


async def test_a_knowledge_base_from_its_making_to_its_receipt(
    running: Running, chrome: Chromium, tmp_path: Path
) -> None:
    good, bad = tmp_path / "tides.md", tmp_path / "damaged.pdf"
    good.write_text("# Tides\n\nHigh tide is at six.")
    bad.write_bytes(b"%PDF-1.4 broken")
    page = await signed_in(await chrome.context(), running.url)
    await page.goto(f"{running.url}/console/knowledge")
    await page.click(".empty [data-open=new-base]")
    await page.fill("#base-name", "Papers")
    await page.press("#base-name", "Enter")
    await page.wait_for_url("**/console/knowledge/*-*")
    await page.set_input_files(".drop input", [str(good), str(bad)])
    await page.wait_for_selector("#items tr:has-text('tides.md') >> text=Ready", timeout=60_000)
    await page.wait_for_selector("#items tr:has-text('damaged.pdf') >> text=cannot be opened as a PDF")
    await page.fill("#q", "when is high tide")
    await page.select_option("#mode-1", "keyword")
    await page.press("#q", "Enter")
    await page.wait_for_selector("#found")
    assert await page.locator("#found > div").count() == 2
    assert await page.locator("#found mark").count() > 0
    await page.click("#found details >> nth=0")
    assert "score" in await page.locator("#found dl").first.inner_text()
    await page.click("#items tr:has-text('damaged.pdf') .remove")
    await page.click("#items tr:has-text('damaged.pdf') .remove")
    await page.wait_for_selector("#items >> text=Receipt")
    await page.click(".head [data-open=delete-base]")
    assert await page.locator("#delete-base .danger").is_disabled()
    await page.fill("#delete-base-word", "Papers")
    await page.press("#delete-base-word", "Enter")
    await page.wait_for_url("**/console/deletions/*")


async def test_a_key_is_made_shown_once_and_revoked(running: Running, chrome: Chromium) -> None:
    page = await signed_in(await chrome.context(), running.url)
    await page.goto(f"{running.url}/console/keys")
    await page.click("[data-open=new-key]")
    await page.fill("#key-name", "Reporting")
    await page.press("#key-name", "Enter")
    await page.wait_for_selector("#made-key[open]")
    secret = await page.inner_text("#made-key code")
    assert secret.startswith("stoa_acc_")
    await page.click("#made-key .primary")
    await page.click("tr:has-text('Reporting') .revoke")
    await page.wait_for_selector("#revoke-key[open]")
    await page.fill("#revoke-word", "Reporting")
    await page.press("#revoke-word", "Enter")
    await page.wait_for_selector("tr:has-text('Reporting')", state="detached")
    assert secret not in await page.content()


async def test_a_citation_opens_its_passage(running: Running, chrome: Chromium) -> None:
    running.model.scripts = [
        calling(("search_knowledge", '{"query": "when is high tide"}')),
        answer("At six [1]."),
    ]
    base = (await running.call("POST", "/v1/knowledgebases", 201, json={"name": "Papers"}))["data"]["id"]
    files = [("files", ("tides.md", b"# Tides\n\nHigh tide is at six."))]
    item = (await running.call("POST", f"/v1/knowledgebases/{base}/upload", 201, files=files))["data"][0]["id"]
    async with asyncio.timeout(60):
        while (await running.call("GET", f"/v1/knowledgebase-items/{item}"))["data"]["status"] != "processed":
            await asyncio.sleep(0.05)
    page = await signed_in(await chrome.context(), running.url)
    await page.click(".bases summary")
    await page.check(f"[name=base][value='{base}']")
    await page.keyboard.press("Escape")
    await say(page, "When is high tide?")
    await page.wait_for_selector(".verified .good")
    assert "Searched the documents" in await page.inner_text(".steps > summary")
    await page.click(".cite[data-cite='1']")
    await page.wait_for_selector(".passage.chosen")
    assert "High tide is at six." in await page.inner_text(".passage.chosen")
    assert "tides.md" in await page.inner_text(".passage.chosen h3")
    await page.keyboard.press("Escape")
    assert await page.locator(".sources").is_hidden()
    assert await page.evaluate("document.activeElement.dataset.cite") == "1"
