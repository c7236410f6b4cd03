"""What every reranker promises, over the Null twin and over the `/rerank` wire as a scripted server on loopback speaks it; and in searches."""

import asyncio
import io
import json
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from pydantic import SecretStr

from stoa.knowledge.reranking import NullReranker, RemoteReranker, Reranker, RerankerError
from stoa.settings import Rerank
from tests.conftest import serving
from tests.doubles import ScriptedModel

Answer = Callable[[Mapping[str, Any]], web.Response]


def by_shared_words(body: Mapping[str, Any]) -> web.Response:
    """The more of the query's words, the better; in an order of its own, as such endpoints answer."""
    wanted = set(body["query"].lower().split())
    scores = [len(wanted & set(text.lower().replace(".", " ").split())) / len(wanted) for text in body["documents"]]
    results = sorted(({"index": index, "relevance_score": score} for index, score in enumerate(scores)), key=lambda one: -one["relevance_score"])
    return web.json_response({"id": "x", "results": results})


@dataclass
class Endpoint:
    url: str = ""
    answers: list[Answer] = field(default_factory=lambda: [by_shared_words])
    asked: list[tuple[Mapping[str, Any], Mapping[str, str]]] = field(default_factory=list)

    async def handle(self, request: web.Request) -> web.Response:
        self.asked.append((await request.json(), dict(request.headers)))
        return self.answers[min(len(self.asked), len(self.answers)) - 1](self.asked[-1][0])


@pytest.fixture
async def endpoint() -> AsyncIterator[Endpoint]:
    found = Endpoint()
    app = web.Application()
    app.router.add_post("/v1/rerank", found.handle)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    found.url = f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
    yield found
    await runner.cleanup()


@pytest.fixture(params=["null", "remote"])
def reranker(request: pytest.FixtureRequest, endpoint: Endpoint) -> Reranker:
    return NullReranker() if request.param == "null" else RemoteReranker(endpoint.url, "judge", "key-1")


async def test_one_score_in_bounds_per_text_in_their_order(reranker: Reranker) -> None:
    texts = ["a storm over the sea", "bread and butter", "the sea", "", "bread and butter"]
    scores = await reranker.rerank("sea storm", texts)
    assert len(scores) == 5
    assert all(0 <= score <= 1 for score in scores)
    assert scores[1] == scores[4]
    assert scores[0] >= scores[2] >= scores[1]
    assert await asyncio.gather(*(reranker.rerank("sea storm", texts) for _ in range(5))) == [scores] * 5
    assert reranker.identity


async def test_nothing_and_the_end(reranker: Reranker, endpoint: Endpoint) -> None:
    assert list(await reranker.rerank("x", [])) == []
    assert endpoint.asked == []
    await reranker.close()
    await reranker.close()
    with pytest.raises(RerankerError) as refused:
        await reranker.rerank("x", ["y"])
    assert refused.value.code == "reranker_closed"


async def test_what_is_sent(endpoint: Endpoint) -> None:
    await RemoteReranker(endpoint.url + "/", "judge", "key-1").rerank("q", ["a", "b" * 20_000, ""])
    [(body, headers)] = endpoint.asked
    assert (body["model"], body["query"], body["top_n"], len(body["documents"][1]), body["documents"][2]) == ("judge", "q", 3, 8_000, " ")
    assert headers["Authorization"] == "Bearer key-1"


async def test_logits_become_scores(endpoint: Endpoint) -> None:
    endpoint.answers = [lambda _: web.json_response({"data": [{"index": 1, "score": -7.5}, {"index": 0, "score": 3.0}]})]
    first, second = await RemoteReranker(endpoint.url, "judge", None).rerank("q", ["a", "b"])
    assert 1 > first > 0.9 > 0.1 > second > 0


@pytest.mark.parametrize(
    ("answer", "code", "times"),
    [
        (lambda _: web.Response(status=401), "reranker_unauthorized", 1),
        (lambda _: web.Response(status=404), "reranker_not_found", 1),
        (lambda _: web.Response(status=422), "reranker_refused_request", 1),
        (lambda _: web.Response(status=302, headers={"Location": "/elsewhere"}), "reranker_refused_request", 1),
        (lambda _: web.Response(status=429), "reranker_rate_limited", 2),
        (lambda _: web.Response(status=503), "reranker_overloaded", 2),
        (lambda _: web.Response(text="no json"), "reranker_protocol_error", 1),
        (lambda _: web.json_response({"results": [{"index": 0, "relevance_score": 1}]}), "reranker_protocol_error", 1),
        (lambda _: web.json_response({"results": [{"index": 0}, {"index": 1}]}), "reranker_protocol_error", 1),
        (lambda _: web.json_response([1, 2]), "reranker_protocol_error", 1),
        (lambda _: web.Response(text='{"results": [{"index": 0, "score": NaN}, {"index": 1, "score": 1}]}'), "reranker_protocol_error", 1),
    ],
)
async def test_failures_are_typed(endpoint: Endpoint, answer: Answer, code: str, times: int) -> None:
    endpoint.answers = [answer]
    with pytest.raises(RerankerError) as failed:
        await RemoteReranker(endpoint.url, "judge", None).rerank("q", ["a", "b"])
    assert failed.value.code == code
    assert len(endpoint.asked) == times


async def test_nobody_there_and_one_that_comes_back(endpoint: Endpoint) -> None:
    with pytest.raises(RerankerError) as failed:
        await RemoteReranker("http://127.0.0.1:9", "judge", None).rerank("q", ["a"])
    assert failed.value.code == "reranker_unreachable"
    endpoint.answers = [lambda _: web.Response(status=503), by_shared_words]
    assert await RemoteReranker(endpoint.url, "judge", None).rerank("a", ["a", "b"]) == [1.0, 0.0]


TEXTS = {"one.md": b"Storm storm storm storm.", "two.md": b"A storm over the wide open sea is no joke.", "three.md": b"Bread."}


async def test_searches_are_reranked(dsn: str, tmp_path: Path, endpoint: Endpoint) -> None:
    chosen = Rerank(base_url=endpoint.url, model="judge", api_key=SecretStr("key-1"))
    async with serving(dsn, tmp_path, ScriptedModel(), reranker=chosen) as server:
        body = {"name": "Sea", "retriever": {"mode": "keyword", "reranker": {"provider": "server"}}}
        base = (await server.call("POST", "/v1/knowledgebases", 201, json=body))["data"]
        assert base["retriever"]["reranker"] == {"provider": "server"}
        files = [("files", (name, io.BytesIO(content))) for name, content in TEXTS.items()]
        await server.call("POST", f"/v1/knowledgebases/{base['id']}/upload", 201, files=files, data={"input": json.dumps({"metadata": [{}] * 3})})
        async with asyncio.timeout(60):
            while {item["status"] for item in (await server.call("GET", f"/v1/knowledgebases/{base['id']}/items"))["data"]} != {"processed"}:
                await asyncio.sleep(0.03)

        async def found(status: int = 200, **fields: Any) -> Any:
            return await server.call("POST", f"/kb/{base['id']}/v1/documents/search", status, json={"query": "storm sea", **fields})

        plain = (await found(rerank=False))["data"]
        assert endpoint.asked == []
        answer = await found(explain=True)
        assert [hit["metadata"]["source"] for hit in answer["data"]] == ["two.md", "one.md"]
        assert [hit["score"] for hit in answer["data"]] == [1.0, 0.5]
        assert (answer["explain"]["rerank"]["reranker"].partition("@")[0], answer["explain"]["rerank"]["candidates"]) == ("judge", 2)
        assert {hit["id"] for hit in answer["data"]} == {hit["id"] for hit in plain}
        assert len((await found(limit=1))["data"]) == 1
        assert len((await found(similarity_threshold=0.9))["data"]) == 1
        endpoint.answers = [lambda _: web.Response(status=500)]
        assert "rerank=false" in (await found(503))["error"]["message"]
        assert len((await found(rerank=False))["data"]) == 2
        wrong = await server.call("POST", "/v1/knowledgebases", 400, json={"name": "x", "retriever": {"reranker": {"provider": "connection"}}})
        assert list(wrong["error"]["details"]) == ["retriever.reranker.connection_id"]


async def test_without_a_reranker_it_is_said(running: Any) -> None:
    base = (await running.call("POST", "/v1/knowledgebases", 201, json={"name": "Sea"}))["data"]
    refused = await running.call("POST", f"/kb/{base['id']}/v1/documents/search", 400, json={"query": "x", "rerank": True})
    assert list(refused["error"]["details"]) == ["rerank"]
    refused = await running.call("POST", "/v1/knowledgebases", 400, json={"name": "x", "retriever": {"reranker": {"provider": "server"}}})
    assert list(refused["error"]["details"]) == ["retriever.reranker.provider"]
