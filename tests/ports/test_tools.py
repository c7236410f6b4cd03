"""The Tool port, over every adapter: HTTP endpoints, Python callables, MCP servers over stdio and over HTTP."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from stoa.kernel.schema_checker import SchemaChecker
from stoa.outbound import Outbound
from stoa.tools import Call, Definition, Program, Tool, ToolFactory, ToolKind, rules
from tests.support.doubles import until
from tests.support.mcp_servers import Diary, build, command, over_http

CALL = Call(UUID(int=1), UUID(int=2), UUID(int=3), "key")
SECRET = "t0ken-of-the-service"
TEXT = {"type": "object", "properties": {"text": {"type": "string"}}, "required": ["text"]}
SIZE = {"type": "object", "properties": {"size": {"type": "integer"}}, "required": ["size"]}


@dataclass
class Adapter:
    """Makes one of four tools: echo(text), slow(), fail(), long(size). `stopped` says whether a call of slow was ended
    where it runs."""

    kind: ToolKind
    make: Callable[..., Any]
    stopped: Callable[[], bool]
    begun: Callable[[], bool]

    async def tool(self, name: str, **fields: Any) -> Tool:
        return await self.make(name, **fields)


def definition(
    kind: ToolKind, name: str, config: dict[str, Any], *, number: int = 1, timeout: float = 10.0, output: int = 10_000
) -> Definition:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    return Definition(
        UUID(int=number),
        UUID(int=2),
        name,
        kind,
        "About.",
        config,
        (),
        idempotent=None if kind is ToolKind.MCP else False,
        approval=False,
        editable_params=(),
        timeout_seconds=timeout,
        output_bytes_max=output,
        created_at=now,
        updated_at=now,
    )


@pytest.fixture(params=["http", "python", "mcp stdio", "mcp http"])
async def adapter(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Adapter]:
    diary = Diary(tmp_path / "diary")
    adapters = {
        "http": http_adapter,
        "python": python_adapter,
        "mcp stdio": stdio_adapter,
        "mcp http": mcp_http_adapter,
    }
    async for made in adapters[request.param](diary, tmp_path):
        yield made


async def http_adapter(diary: Diary, _: Path) -> AsyncIterator[Adapter]:
    async def echo(request: Request) -> Response:
        return PlainTextResponse((await request.json())["text"])

    async def slow(request: Request) -> Response:
        diary.note("slow begun")
        while not await request.is_disconnected():
            await asyncio.sleep(0.01)
        diary.note("slow cancelled")
        return PlainTextResponse("never")

    async def fail(_: Request) -> Response:
        return PlainTextResponse("out of luck", 500)

    async def long(request: Request) -> Response:
        return PlainTextResponse("x" * (await request.json())["size"])

    app = Starlette(routes=[Route(f"/{one.__name__}", one, methods=["POST"]) for one in (echo, slow, fail, long)])
    suppliers = ToolFactory(schemas=SchemaChecker(), outbound=Outbound(allow_private=True))
    async with over_http(app) as web:

        async def make(name: str, **fields: Any) -> Tool:
            parameters = {"echo": TEXT, "long": SIZE}.get(name, {"type": "object"})
            return suppliers(
                definition(
                    ToolKind.HTTP,
                    name,
                    {"url": f"{web.url}/{name}", "method": "POST", "parameters": parameters},
                    **fields,
                ),
                {},
            )[0]

        yield told(ToolKind.HTTP, make, diary)
        await suppliers.close()


async def python_adapter(diary: Diary, _: Path) -> AsyncIterator[Adapter]:
    def echo(text: str) -> str:
        return text

    async def slow() -> str:
        diary.note("slow begun")
        try:
            await asyncio.sleep(60)
        finally:
            diary.note("slow cancelled")
        return "never"

    def fail() -> str:
        raise RuntimeError("out of luck")

    def long(size: int) -> str:
        return "x" * size

    suppliers = ToolFactory(schemas=SchemaChecker(), outbound=Outbound())
    suppliers.__dict__["_callables"] = {one.__name__: one for one in (echo, slow, fail, long)}

    async def make(name: str, **fields: Any) -> Tool:
        return suppliers(definition(ToolKind.PYTHON, name, {"entry_point": name}, **fields), {})[0]

    yield told(ToolKind.PYTHON, make, diary)
    await suppliers.close()


async def mcp_adapter(suppliers: ToolFactory, diary: Diary, config: dict[str, Any]) -> AsyncIterator[Adapter]:
    async def make(name: str, **fields: Any) -> Tool:
        server = definition(ToolKind.MCP, "bench", config, **fields)
        listing = await suppliers.list_offers(server, {})
        made = suppliers(
            Definition(**{field: getattr(server, field) for field in server.__slots__} | {"offers": listing.offers}), {}
        )
        return next(one for one in made if one.name == f"bench__{name}")

    yield told(ToolKind.MCP, make, diary)
    await suppliers.close()


async def stdio_adapter(diary: Diary, path: Path) -> AsyncIterator[Adapter]:
    program, args = command(path / "diary")
    async for made in mcp_adapter(
        ToolFactory(schemas=SchemaChecker(), outbound=Outbound(), programs=[Program("bench", program, args)]),
        diary,
        {"server": "bench"},
    ):
        yield made


async def mcp_http_adapter(diary: Diary, _: Path) -> AsyncIterator[Adapter]:
    async with over_http(build(diary).streamable_http_app()) as web:
        async for made in mcp_adapter(
            ToolFactory(schemas=SchemaChecker(), outbound=Outbound(allow_private=True)),
            diary,
            {"url": f"{web.url}/mcp"},
        ):
            yield made


def told(kind: ToolKind, make: Callable[..., Any], diary: Diary) -> Adapter:
    return Adapter(kind, make, lambda: "slow cancelled" in diary.lines(), lambda: "slow begun" in diary.lines())


async def test_the_port(adapter: Adapter) -> None:
    echo = await adapter.tool("echo")
    assert echo.kind is adapter.kind
    assert echo.parameters["properties"]["text"]["type"] == "string"
    assert isinstance(echo.idempotent, bool)
    assert (await echo.call({"text": "häl\u2028lo 😀"}, CALL)).text == "häl\u2028lo 😀"
    # Many at once, each with its own answer.
    assert [
        one.text for one in await asyncio.gather(*(echo.call({"text": str(number)}, CALL) for number in range(20)))
    ] == [str(number) for number in range(20)]
    # What cannot be stored is replaced, and what does not fit is told.
    assert (await echo.call({"text": "a\0b"}, CALL)).text == "a\ufffdb"
    assert (await echo.call({}, CALL)).code == "tool_bad_arguments"
    assert (await echo.call({"text": 5}, CALL)).code == "tool_bad_arguments"
    failed = await (await adapter.tool("fail")).call({}, CALL)
    assert (failed.code, "out of luck" in failed.text) == ("tool_failed", True)
    # Too much is cut where it can be seen, at the limit's last whole character.
    long = await adapter.tool("long", output=1_000)
    cut = await long.call({"size": 100_000}, CALL)
    assert (cut.code, cut.text) == (None, "x" * 1_000 + "\n[Cut here: the answer is longer than 1000 bytes.]")
    assert (await long.call({"size": 1_000}, CALL)).text == "x" * 1_000
    assert (await (await adapter.tool("echo", output=7)).call({"text": "äääää"}, CALL)).text.startswith("äää\n[Cut")


async def test_time(adapter: Adapter) -> None:
    slow = await adapter.tool("slow", timeout=0.3)
    begun = time.monotonic()
    result = await slow.call({}, CALL)
    assert (result.code, time.monotonic() - begun < 2) == ("tool_timeout", True), result
    assert "0.3 seconds" in result.text
    await until(adapter.stopped)


async def test_cancel(adapter: Adapter) -> None:
    task = asyncio.create_task((await adapter.tool("slow")).call({}, CALL))
    await until(adapter.begun)
    task.cancel()
    begun = time.monotonic()
    with pytest.raises(asyncio.CancelledError):
        await task
    await until(adapter.stopped)
    assert time.monotonic() - begun < 1


async def test_what_mcp_servers_give_back(tmp_path: Path) -> None:
    diary = Diary(tmp_path / "diary")
    async for adapter in stdio_adapter(diary, tmp_path):
        weather = await adapter.tool("weather")
        assert (await weather.call({"city": "Rome"}, CALL)).text.replace(" ", "").replace(
            "\n", ""
        ) == '{"city":"Rome","degrees":21}'
        assert (
            weather.idempotent,
            (await adapter.tool("echo")).idempotent,
            (await adapter.tool("slow")).idempotent,
        ) == (True, True, False)
        media = rules.offered_name("bench", "media.show")
        shown = (await (await adapter.tool(media.removeprefix("bench__"))).call({}, CALL)).text
        assert shown.splitlines() == [
            "Look:",
            "[image, image/png, 300 bytes: not shown]",
            "[resource note://1]",
            "Dear diary",
            "[resource blob://1, application/zip, 300 bytes: not shown]",
            "[link to resource file:///a.txt, text/plain] a.txt: A file",
        ]
