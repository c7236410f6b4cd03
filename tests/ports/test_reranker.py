"""What every reranker promises, over the Null twin, the `/rerank` wire as a scripted server on loopback speaks it, and
a cross-encoder that onnxruntime
runs; and in searches."""

import asyncio
import io
import json
import math
import shutil
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from pydantic import SecretStr

from stoa.embedding.reranking import LocalReranker, NullReranker, RemoteReranker, Reranker, RerankerError
from stoa.settings import Rerank, SettingsError, load
from tests.conftest import serving
from tests.support.cross_encoders import EventType, export
from tests.support.doubles import ScriptedModel

Answer = Callable[[Mapping[str, Any]], web.Response]


def by_shared_words(body: Mapping[str, Any]) -> web.Response:
    """The more of the query's words, the better; in an order of its own, as such endpoints answer."""
    wanted = set(body["query"].lower().split())
    scores = [
        len(wanted & set(text.lower().replace(".", " ").split())) / max(len(wanted), 1) for text in body["documents"]
    ]
    results = sorted(
        ({"index": index, "relevance_score": score} for index, score in enumerate(scores)),
        key=lambda one: -one["relevance_score"],
    )
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


@pytest.fixture(params=["null", "remote", "local"])
async def reranker(request: pytest.FixtureRequest, endpoint: Endpoint, tmp_path: Path) -> AsyncIterator[Reranker]:
    match request.param:
        case "null":
            made: Reranker = NullReranker()
        case "remote":
            made = RemoteReranker(endpoint.url, "judge", "key-1")
        case _:
            made = LocalReranker(export(tmp_path / "judge"))
    yield made
    await made.close()


async def test_one_score_in_bounds_per_text_in_their_order(reranker: Reranker) -> None:
    texts = ["a storm over the sea", "bread and butter", "the sea", "", "bread and butter"]
    scores = await reranker.rerank("sea storm", texts)
    assert len(scores) == 5
    assert all(0 <= score <= 1 for score in scores)
    assert scores[1] == scores[4]
    assert scores[0] >= scores[2] >= scores[1]
    assert await asyncio.gather(*(reranker.rerank("sea storm", texts) for _ in range(5))) == [scores] * 5
    assert reranker.identity


async def test_every_text_is_judged(reranker: Reranker) -> None:
    texts = ["", "\ud800 half of a pair", "\0", "the sea " * 5_000, "\U0001f30a", "[SEP] [PAD]"]
    scores = await reranker.rerank("\udfff the sea " * 2_000, texts)
    assert len(scores) == len(texts)
    assert all(0 <= score <= 1 for score in scores)
    assert len(await reranker.rerank("", ["the sea"])) == 1


async def test_no_texts_and_a_repeated_close(reranker: Reranker, endpoint: Endpoint) -> None:
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
    assert (body["model"], body["query"], body["top_n"], len(body["documents"][1]), body["documents"][2]) == (
        "judge",
        "q",
        3,
        8_000,
        " ",
    )
    assert headers["Authorization"] == "Bearer key-1"


async def test_logits_become_scores(endpoint: Endpoint) -> None:
    endpoint.answers = [
        lambda _: web.json_response({"data": [{"index": 1, "score": -7.5}, {"index": 0, "score": 3.0}]})
    ]
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
        (
            lambda _: web.Response(text='{"results": [{"index": 0, "score": NaN}, {"index": 1, "score": 1}]}'),
            "reranker_protocol_error",
            1,
        ),
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


@pytest.fixture
async def local(tmp_path: Path) -> AsyncIterator[Callable[..., LocalReranker]]:
    made: list[LocalReranker] = []

    def make(*kind: EventType, **options: Any) -> LocalReranker:
        made.append(LocalReranker(export(tmp_path / "judge", *kind, **options)))
        return made[-1]

    yield make
    for one in made:
        await one.close()


@pytest.mark.parametrize(("kind", "squared"), [("one logit", 1), ("two logits", 2)])
async def test_a_local_model_judges_query_and_text_together(
    local: Callable[..., LocalReranker], kind: EventType, squared: int
) -> None:
    """The logit is 4 * share - 2; of two logits, the other is its opposite."""
    reranker = local(kind, model="onnx/model.onnx")
    scores = await reranker.rerank(
        "storm sea",
        ["a storm over the sea", "the sea", "bread and butter", *["sea"] * 300, "the open sea and no storm"],
    )
    expected = [1 / (1 + math.exp(-squared * logit)) for logit in (2, 0, -2, *[0] * 300, 2)]
    assert scores == pytest.approx(expected)
    assert reranker.identity == "judge@local"


@pytest.mark.parametrize(
    ("configuration", "tokens"),
    [
        ({}, 64),
        ({"max_position_embeddings": 514, "model_type": "xlm-roberta"}, 512),
        ({"max_position_embeddings": 8192}, 512),
    ],
)
async def test_pairs_are_cut_to_what_the_model_reads(
    local: Callable[..., LocalReranker], configuration: dict[str, Any], tokens: int
) -> None:
    """Its judgement is their number, in hundreds; it has no segments, and one number for a pair without a second
    axis."""
    short, long = await local("length", **configuration).rerank("sea", ["storm", "storm " * 1_000])
    assert short == pytest.approx(1 / (1 + math.exp(-5 / 100)))
    assert long == pytest.approx(1 / (1 + math.exp(-tokens / 100)))


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (shutil.rmtree, "is no directory"),
        (lambda path: (path / "model.onnx").unlink(), "holds neither model.onnx nor onnx/model.onnx"),
        (lambda path: (path / "tokenizer.json").unlink(), "holds no tokenizer.json"),
        (lambda path: (path / "tokenizer.json").write_text("{}"), "tokenizer.json cannot be read"),
        (lambda path: (path / "model.onnx").write_bytes(b"no model"), "model.onnx cannot be loaded"),
        (lambda path: (path / "config.json").write_text("{"), "config.json cannot be read"),
        (lambda path: export(path, "pixels"), "takes pixel_values tensor"),
        (lambda path: export(path, "three logits"), "one or two numbers"),
    ],
)
async def test_what_is_wrong_with_a_local_model_is_said(
    tmp_path: Path, spoil: Callable[[Path], Any], said: str
) -> None:
    spoil(export(tmp_path / "judge"))
    reranker = LocalReranker(tmp_path / "judge")
    for use in (reranker.prepare, lambda: reranker.rerank("q", ["a"])):
        with pytest.raises(RerankerError, match=said) as refused:
            await use()
        assert refused.value.code == "reranker_unusable"
    await reranker.close()


async def test_a_server_does_not_start_with_a_model_that_is_none(dsn: str, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"reranker\.path .STOA_RERANKER_PATH.: .*is no directory"):
        async with serving(dsn, tmp_path / "data", ScriptedModel(), reranker=Rerank(path=tmp_path / "nowhere")):
            pass


def test_a_reranker_is_an_endpoint_or_a_path(tmp_path: Path) -> None:
    chosen = load({"STOA_RERANKER_PATH": "/models/judge"}, {}).reranker
    assert chosen is not None
    assert chosen.path == Path("/models/judge")
    for table in (
        'base_url = "http://x"',
        'path = "/x"\nmodel = "y"',
        'path = "/x"\nbase_url = "http://x"\nmodel = "y"',
        "",
    ):
        (tmp_path / "stoa.toml").write_text(f"[reranker]\n{table}")
        with pytest.raises(SettingsError, match="needs base_url and model of an endpoint, or else the path"):
            load({}, {}, tmp_path / "stoa.toml")


TEXTS = {
    "one.md": b"Storm storm storm storm.",
    "two.md": b"A storm over the wide open sea is no joke.",
    "three.md": b"Bread.",
}


async def test_searches_are_reranked(dsn: str, tmp_path: Path, endpoint: Endpoint) -> None:
    chosen = Rerank(base_url=endpoint.url, model="judge", api_key=SecretStr("key-1"))
    async with serving(dsn, tmp_path, ScriptedModel(), reranker=chosen) as server:
        body = {"name": "Sea", "retriever": {"mode": "keyword", "reranker": {"provider": "server"}}}
        base = (await server.call("POST", "/v1/knowledgebases", 201, json=body))["data"]
        assert base["retriever"]["reranker"] == {"provider": "server"}
        files = [("files", (name, io.BytesIO(content))) for name, content in TEXTS.items()]
        await server.call(
            "POST",
            f"/v1/knowledgebases/{base['id']}/upload",
            201,
            files=files,
            data={"input": json.dumps({"metadata": [{}] * 3})},
        )
        async with asyncio.timeout(60):
            while {
                item["status"] for item in (await server.call("GET", f"/v1/knowledgebases/{base['id']}/items"))["data"]
            } != {"processed"}:
                await asyncio.sleep(0.03)

        async def found(status: int = 200, **fields: Any) -> Any:
            return await server.call(
                "POST", f"/kb/{base['id']}/v1/documents/search", status, json={"query": "storm sea", **fields}
            )

        plain = (await found(rerank=False))["data"]
        assert endpoint.asked == []
        answer = await found(explain=True)
        assert [hit["metadata"]["source"] for hit in answer["data"]] == ["two.md", "one.md"]
        assert [hit["score"] for hit in answer["data"]] == [1.0, 0.5]
        assert (
            answer["explain"]["rerank"]["reranker"].partition("@")[0],
            answer["explain"]["rerank"]["candidates"],
        ) == ("judge", 2)
        assert {hit["id"] for hit in answer["data"]} == {hit["id"] for hit in plain}
        assert len((await found(limit=1))["data"]) == 1
        assert len((await found(similarity_threshold=0.9))["data"]) == 1
        endpoint.answers = [lambda _: web.Response(status=500)]
        assert "rerank=false" in (await found(503))["error"]["message"]
        assert len((await found(rerank=False))["data"]) == 2
        wrong = await server.call(
            "POST", "/v1/knowledgebases", 400, json={"name": "x", "retriever": {"reranker": {"provider": "connection"}}}
        )
        assert list(wrong["error"]["details"]) == ["retriever.reranker.connection_id"]


async def test_searches_are_reranked_by_a_local_model(dsn: str, tmp_path: Path) -> None:
    async with serving(
        dsn, tmp_path / "data", ScriptedModel(), reranker=Rerank(path=export(tmp_path / "judge"))
    ) as server:
        body = {"name": "Sea", "retriever": {"mode": "keyword", "reranker": {"provider": "server"}}}
        base = (await server.call("POST", "/v1/knowledgebases", 201, json=body))["data"]
        texts = {
            "one.md": b"Storm sea.",
            "two.md": b"It is no joke to butter bread over the wide open sea, "
            b"and a storm is no joke over bread and butter.",
        }
        files = [("files", (name, io.BytesIO(content))) for name, content in texts.items()]
        await server.call("POST", f"/v1/knowledgebases/{base['id']}/upload", 201, files=files)
        async with asyncio.timeout(60):
            while {
                item["status"] for item in (await server.call("GET", f"/v1/knowledgebases/{base['id']}/items"))["data"]
            } != {"processed"}:
                await asyncio.sleep(0.03)
        search = f"/kb/{base['id']}/v1/documents/search"
        asked = {"query": "storm to the sea", "explain": True}
        plain = [
            hit["metadata"]["source"]
            for hit in (await server.call("POST", search, json={**asked, "rerank": False}))["data"]
        ]
        answer = await server.call("POST", search, json=asked)
        assert (plain, [hit["metadata"]["source"] for hit in answer["data"]]) == (
            ["one.md", "two.md"],
            ["two.md", "one.md"],
        )
        assert answer["explain"]["rerank"]["reranker"] == "judge@local"


async def test_without_a_reranker_it_is_said(running: Any) -> None:
    base = (await running.call("POST", "/v1/knowledgebases", 201, json={"name": "Sea"}))["data"]
    refused = await running.call(
        "POST", f"/kb/{base['id']}/v1/documents/search", 400, json={"query": "x", "rerank": True}
    )
    assert list(refused["error"]["details"]) == ["rerank"]
    refused = await running.call(
        "POST", "/v1/knowledgebases", 400, json={"name": "x", "retriever": {"reranker": {"provider": "server"}}}
    )
    assert list(refused["error"]["details"]) == ["retriever.reranker.provider"]
