"""A base takes the embedder that reads its items, unless somebody has named one."""

import asyncio
from typing import Any

import pytest

from stoa.embedding import MINILM, MULTILINGUAL, MultilingualEmbedder
from tests.conftest import Running
from tests.support.knowledge import base_of, search, settled, upload

pytestmark = pytest.mark.skipif(
    not MultilingualEmbedder.is_installed(), reason="the extra stoa-server[multilingual] is not installed"
)
LEAVE = "Каждый сотрудник имеет право на тридцать дней оплачиваемого отпуска в год. Заявление подаётся за месяц."
SERVER = "Сервер перезапускается каждую ночь в три часа. Резервные копии хранятся девяносто дней."
ENGLISH = "The printer on the third floor takes paper of two sizes, and its toner is changed by the desk on Fridays."


async def shown(server: Running, base: dict[str, Any]) -> dict[str, Any]:
    return (await server.call("GET", f"/v1/knowledgebases/{base['id']}"))["data"]


async def test_items_in_another_language_bring_the_embedder_that_reads_them(shared_server: Running) -> None:
    base = await base_of(shared_server)
    await upload(shared_server, base["id"], ("printer.txt", ENGLISH.encode()))
    await settled(shared_server, base["id"])
    assert ((await shown(shared_server, base))["embedder"]["model"], base.get("reindex")) == (MINILM, None)
    await upload(shared_server, base["id"], ("leave.txt", LEAVE.encode()), ("server.txt", SERVER.encode()))
    async with asyncio.timeout(60):
        while (now := await shown(shared_server, base))["embedder"]["model"] == MINILM:
            await asyncio.sleep(0.05)
    assert now["embedder"] == {"provider": "local", "model": MULTILINGUAL, "dimensions": 384}
    for question, name in (("How much vacation do I have?", "leave.txt"), ("when is toner replaced", "printer.txt")):
        for mode in ("semantic", "hybrid"):
            hits = await search(shared_server, base["id"], question, mode=mode)
            assert hits[0]["metadata"]["source"] == name, (question, mode)


async def test_an_explicit_embedder_is_kept(shared_server: Running) -> None:
    named = await base_of(shared_server, embedder={"provider": "local", "model": MINILM})
    await upload(shared_server, named["id"], ("leave.txt", LEAVE.encode()))
    await settled(shared_server, named["id"])
    now = await shown(shared_server, named)
    assert (now["embedder"]["model"], now.get("reindex")) == (MINILM, None)
    assert (await base_of(shared_server, language="german"))["embedder"]["model"] == MULTILINGUAL
