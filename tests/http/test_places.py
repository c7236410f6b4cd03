"""Where an answer stands: the rows of a table and the sheet they are from, in every dialect, whatever is put in before
them."""

import io
import json

import openpyxl

from tests.conftest import Running, serving
from tests.support.knowledge import base_of, search, settled, upload
from tests.support.scripted_model import ScriptedServer


def parts(count: int, *first: str) -> bytes:
    rows = [
        f"bolt-{number:03},{number} euros,kept in hall {number % 7} on the third shelf from the door"
        for number in range(1, count + 1)
    ]
    return "\n".join(["part,price,place", *first, *rows]).encode()


async def test_a_piece_of_a_table_says_which_rows_it_is(shared_server: Running) -> None:
    base = await base_of(shared_server)
    book = openpyxl.Workbook()
    book.active.title = "Rooms"  # type: ignore[union-attr]
    for row in (("room", "seats"), ("Ada", 12), ("Grace", 8)):
        book.active.append(row)  # type: ignore[union-attr]
    saved = io.BytesIO()
    book.save(saved)
    [item, _] = await upload(shared_server, base["id"], ("parts.csv", parts(200)), ("rooms.xlsx", saved.getvalue()))
    assert {one["status"] for one in await settled(shared_server, base["id"])} == {"processed"}
    [hit] = await search(shared_server, base["id"], "bolt-150", mode="keyword", limit=1)
    first, last = hit["metadata"]["rows"]
    lines = hit["content"].splitlines()
    assert (first <= 150 <= last, lines[0]) == (True, "| part | price | place |")
    assert [line.split()[1] for line in lines[2:]] == [f"bolt-{number:03}" for number in range(first, last + 1)]
    [room] = await search(shared_server, base["id"], "Grace", mode="keyword", limit=1)
    assert (room["metadata"]["rows"], room["metadata"]["sheet"]) == ([1, 2], "Rooms")
    store = await shared_server.call(
        "POST",
        f"/kb/{base['id']}/v1/vector_stores/{base['id']}/search",
        json={"query": "bolt-150", "max_num_results": 10},
    )
    assert any(one["attributes"].get("rows") == f"{first}-{last}" for one in store["data"])
    # Two rows put in at the top move every number, and no chunk's id or vector but those around them.
    await upload(
        shared_server,
        base["id"],
        ("parts.csv", parts(200, "nut-1,1 euro,hall 1", "nut-2,2 euros,hall 2")),
        ids=json.dumps([item["id"]]),
    )
    await settled(shared_server, base["id"])
    [moved] = await search(shared_server, base["id"], "bolt-150", mode="keyword", limit=1)
    assert (moved["id"], moved["metadata"]["rows"]) == (hit["id"], [first + 2, last + 2])


async def test_an_ollama_connection_embeds_with_or_without_v1(dsn: str, tmp_path: object) -> None:
    async with ScriptedServer() as ollama, serving(dsn, tmp_path, None, allow_private_addresses=True) as server:  # type: ignore[arg-type]
        for name, base_url in (
            ("bare", ollama.url.removesuffix("/v1")),
            ("full", ollama.url),
            ("slash", f"{ollama.url}/"),
        ):
            made = await server.call(
                "POST", "/v1/connections", 201, json={"name": name, "type": "ollama", "config": {"base_url": base_url}}
            )
            embedder = {"provider": "connection", "model": "text-embedding-x", "connection_id": made["data"]["id"]}
            refused = await server.call("POST", "/v1/knowledgebases", 400, json={"name": name, "embedder": embedder})
            assert "form than expected" in json.dumps(refused)  # it is no embedder, but it was asked
        assert [path for path in ollama.paths if path.endswith("/embeddings")] == ["/v1/embeddings"] * 3
