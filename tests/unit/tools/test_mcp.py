"""MCP sessions and servers that misbehave: whatever a server does, a call ends in time with something to tell the
model."""

import asyncio
import gzip
import os
import sys
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from stoa.outbound import Outbound
from stoa.tools import Call, Definition, Program, ToolKind
from stoa.tools.providers.mcp.failures import Failure
from stoa.tools.providers.mcp.sessions import Sessions
from stoa.tools.providers.mcp.tool import McpTool
from stoa.tools.types import Offer
from tests.support.doubles import until
from tests.support.mcp_servers import Diary, over_http

BAD = str(Path(__file__).parents[2] / "support" / "bad_mcp.py")
CALL = Call(UUID(int=1), UUID(int=2), UUID(int=3), "the-key")
TOUCH = Offer("touch", "Touches.", {"type": "object"})
NOW = datetime(2026, 1, 1, tzinfo=UTC)


async def anything(_: object, __: object) -> None:
    """Arguments fit, whatever they are."""


class Bench:
    """Sessions with one misbehaving program."""

    def __init__(self, diary: Path, **bounds: Any) -> None:
        self.path = diary
        self.diary = Diary(diary)
        self.bounds: dict[str, Any] = {"connect_seconds_max": 5.0, "probe_seconds_max": 0.4, **bounds}
        self.sessions: Sessions

    def start(self, mode: str, **env: str) -> "Bench":
        program = Program("bad", sys.executable, ("-S", "-E", BAD, mode, str(self.path)), env)
        self.sessions = Sessions({"bad": program}, outbound=Outbound(allow_private=True), **self.bounds)
        return self

    def definition(
        self, number: int = 1, timeout: float = 5.0, project: int = 2, updated_at: datetime = NOW, **config: Any
    ) -> Definition:
        return Definition(
            UUID(int=number),
            UUID(int=project),
            "bad",
            ToolKind.MCP,
            "About.",
            {"server": "bad", **config},
            (),
            idempotent=None,
            approval=False,
            editable_params=(),
            timeout_seconds=timeout,
            output_bytes_max=1_000,
            created_at=NOW,
            updated_at=updated_at,
        )

    async def call(self, timeout: float = 5.0, **arguments: Any) -> tuple[str | None, str]:
        result = await McpTool(self.definition(timeout=timeout), TOUCH, {}, self.sessions, anything).call(
            arguments, CALL
        )
        return result.code, result.text

    def started(self) -> list[int]:
        return [int(line.split()[1]) for line in self.diary.lines() if line.startswith("started")]


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Callable[..., Bench]]:
    made: list[Bench] = []

    def start(mode: str, env: dict[str, str] | None = None, **bounds: Any) -> Bench:
        made.append(Bench(tmp_path / "diary", **bounds).start(mode, **(env or {})))
        return made[-1]

    yield start
    for one in made:
        await one.sessions.close()
        await until(lambda one=one: not any(running(pid) for pid in one.started()), 5)  # type: ignore[misc]


def running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    try:
        return " Z " not in Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return Path("/proc").exists() is False


async def test_a_server_is_started_once_and_ends_by_itself(bench: Callable[..., Bench]) -> None:
    good = bench("good")
    answers = await asyncio.gather(*(good.call(text=str(number)) for number in range(20)))
    assert answers == [(None, f"touched {number}") for number in range(20)]
    assert len(good.started()) == 1
    assert [line for line in good.diary.lines() if line.startswith("call")] == ["call the-key"] * 20
    await good.sessions.close()
    assert good.diary.lines()[-1] == "stdin closed", "it was asked to end before it was made to"
    assert (await good.call())[0] == "tool_unavailable"


@pytest.mark.parametrize(
    ("mode", "code", "said"),
    [
        ("dies", "tool_failed", "ended with code 3"),
        ("garbage", None, "after the garbage"),
        ("wrong", None, "5"),
        ("refuses", "tool_failed", "no such luck"),
        ("big", "tool_failed", "more than 8388608 bytes"),
        ("endless", "tool_failed", "more than 8388608 bytes"),
        ("nonsense", None, "?"),
        ("drips", "tool_timeout", "No answer"),
        ("hangs", "tool_timeout", "No answer"),
        ("refuses_to_open", "tool_failed", "ended with code 1"),
    ],
)
async def test_what_a_server_does_to_a_call(
    bench: Callable[..., Bench], mode: str, code: str | None, said: str
) -> None:
    bad = bench(mode)
    found, text = await bad.call(timeout=0.6 if code == "tool_timeout" else 5.0)
    assert (found, said in text) == (code, True), text


async def test_a_mute_server_is_given_up_and_not_started_again_at_once(bench: Callable[..., Bench]) -> None:
    mute = bench("mute", connect_seconds_max=0.3)
    assert (await mute.call())[0] == "tool_unreachable"
    with pytest.raises(Failure, match="did not open a session"):
        await mute.sessions.list(mute.definition(), {})
    held = next(iter(mute.sessions._held.values()))
    assert held.failures == 2
    held.not_before += 60
    code, text = await mute.call()
    assert (code, "tried again in" in text) == ("tool_unreachable", True)
    assert len(mute.started()) == 2
    await until(lambda: not any(running(pid) for pid in mute.started()))


async def test_a_mute_server_is_not_started_for_every_call_that_has_no_time_for_it(bench: Callable[..., Bench]) -> None:
    mute = bench("mute", connect_seconds_max=30.0)
    assert [(await mute.call(timeout=seconds))[0] for seconds in (0.3, 0.1, 0.1)] == ["tool_timeout"] * 3
    assert len(mute.started()) == 1, "the pause of half a second leaves the others no time"


async def test_a_server_that_hangs_is_ended_with_its_children_and_started_anew(bench: Callable[..., Bench]) -> None:
    hangs = bench("hangs")
    other = asyncio.create_task(hangs.call(timeout=20))
    await until(lambda: any(line.startswith("child") for line in hangs.diary.lines()))
    assert (await hangs.call(timeout=0.2))[0] == "tool_timeout"
    child = next(int(line.split()[1]) for line in hangs.diary.lines() if line.startswith("child"))
    await until(lambda: not running(child) and not running(hangs.started()[0]))
    assert await other == ("tool_failed", "The MCP server stopped answering; it was ended."), (
        "whoever else waited is told at once"
    )
    assert (await hangs.call(timeout=1.5))[0] == "tool_timeout"
    assert len(hangs.started()) == 2


async def test_a_call_that_takes_long_does_not_end_a_server_that_lives(bench: Callable[..., Bench]) -> None:
    waits = bench("waits")
    assert (await waits.call(timeout=0.2))[0] == "tool_timeout"
    await until(lambda: waits.diary.lines().count("cancelled") == 1)
    assert await waits.sessions.list(waits.definition(), {})
    assert len(waits.started()) == 1


async def test_a_server_that_died_is_started_again(bench: Callable[..., Bench]) -> None:
    dies = bench("dies_once")
    assert (await dies.call())[0] == "tool_failed"
    assert await dies.call(text="you") == (None, "touched you")
    assert len(dies.started()) == 2


async def test_a_cancelled_call_is_cancelled_at_the_server(bench: Callable[..., Bench]) -> None:
    waits = bench("waits")
    task = asyncio.create_task(waits.call(timeout=30))
    await until(lambda: any(line.startswith("call") for line in waits.diary.lines()))
    begun = asyncio.get_running_loop().time()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await until(lambda: "cancelled" in waits.diary.lines())
    assert asyncio.get_running_loop().time() - begun < 1


async def test_a_cancel_while_the_server_starts_leaves_nothing(bench: Callable[..., Bench]) -> None:
    mute = bench("mute", connect_seconds_max=30.0)
    task = asyncio.create_task(mute.call(timeout=30))
    await until(mute.started)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await until(lambda: not running(mute.started()[0]))


async def test_pages_without_end_come_to_one(bench: Callable[..., Bench]) -> None:
    bad = bench("pages")
    assert [offer.name for offer in (await bad.sessions.list(bad.definition(), {})).offers] == ["touch"]


async def test_a_list_that_is_none(bench: Callable[..., Bench]) -> None:
    bad = bench("no_list")
    with pytest.raises(Failure, match=r"no MCP.*tools"):
        await bad.sessions.list(bad.definition(), {})


async def test_an_invalid_tool_is_skipped_and_the_others_are_listed(bench: Callable[..., Bench]) -> None:
    bad = bench("schema")
    listing = await bad.sessions.list(bad.definition(), {})
    assert (list(listing.offers), listing.problem) == ([], "Left out: 'touch' (its schema is no object's)")


async def test_a_list_that_changes(bench: Callable[..., Bench]) -> None:
    changes = bench("changes")
    assert len((await changes.sessions.list(changes.definition(), {})).offers) == 1
    assert not changes.sessions.outdated(UUID(int=1))
    await changes.call()
    await until(lambda: changes.sessions.outdated(UUID(int=1)))
    assert [offer.name for offer in (await changes.sessions.list(changes.definition(), {})).offers] == [
        "touch",
        "again",
    ]
    assert not changes.sessions.outdated(UUID(int=1))


async def test_the_environment_is_the_operators_and_its_secrets_stay_in(
    bench: Callable[..., Bench], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STOA_SECRET_KEY", "ours")
    secret = bench("secret", {"API_TOKEN": "hush-hush"})
    assert await secret.call() == (None, "the token is [secret], and stoa has []")


async def test_sessions_are_bounded(bench: Callable[..., Bench]) -> None:
    """The one that was idle longest makes room; where all are at work the call is refused."""
    few = bench("waits", sessions_of_project_max=2)

    def call(number: int, project: int = 2) -> asyncio.Task[Any]:
        return asyncio.create_task(
            McpTool(few.definition(number, timeout=20, project=project), TOUCH, {}, few.sessions, anything).call(
                {}, CALL
            )
        )

    working = [call(1), call(2)]
    await until(lambda: sum(line.startswith("call") for line in few.diary.lines()) == 2)
    refused = await call(3)
    assert (refused.code, "2 MCP servers already" in refused.text) == ("tool_unavailable", True)
    elsewhere = call(4, project=9)
    await until(lambda: sum(line.startswith("call") for line in few.diary.lines()) == 3)
    working[0].cancel()
    await asyncio.wait([working[0]])
    late = call(3)
    await until(lambda: sum(line.startswith("call") for line in few.diary.lines()) == 4)
    assert not running(few.started()[0]) or not running(few.started()[1])
    for task in (*working, elsewhere, late):
        task.cancel()
    await asyncio.wait([*working, elsewhere, late])


async def test_idle_sessions_are_closed_and_changed_definitions_get_new_ones(bench: Callable[..., Bench]) -> None:
    idle = bench("good", idle_seconds_max=0.2)
    assert (await idle.call())[0] is None
    await until(lambda: not running(idle.started()[0]))
    assert (await idle.call())[0] is None
    changed = idle.definition(updated_at=datetime(2026, 1, 2, tzinfo=UTC))
    assert (await McpTool(changed, TOUCH, {}, idle.sessions, anything).call({}, CALL)).code is None
    assert len(idle.started()) == 3


async def test_a_program_that_cannot_be_started(tmp_path: Path) -> None:
    theirs = Program("theirs", "x", projects=frozenset({UUID(int=9)}))
    sessions = Sessions(
        {"gone": Program("gone", str(tmp_path / "no-such-program")), "theirs": theirs},
        outbound=Outbound(allow_private=True),
    )
    for server, said in (("gone", "cannot be started"), ("theirs", "has declared no"), ("unheard", "has declared no")):
        definition = Bench(tmp_path / "d").start("good").definition(config=None, server=server)
        with pytest.raises(Failure, match=said) as failed:
            await sessions.list(definition, {})
        assert failed.value.code == "tool_unavailable"
        assert sessions.programs_of(UUID(int=2)) == ["gone"]
        await sessions.close()
        sessions = Sessions(sessions._programs, outbound=Outbound(allow_private=True))


@pytest.mark.parametrize(
    ("misdeed", "code"),
    [
        ("garbage", "tool_failed"),
        ("html", "tool_failed"),
        ("huge", "tool_failed"),
        ("gzip", "tool_failed"),
        ("drip", "tool_unreachable"),
        ("hang", "tool_unreachable"),
    ],
)
async def test_endpoints_that_misbehave(misdeed: str, code: str) -> None:
    bomb = gzip.compress(b" " * 20_000_000)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        if misdeed == "hang":
            await asyncio.sleep(5)
        headers = [
            (b"content-type", b"text/html" if misdeed == "html" else b"application/json"),
            (b"mcp-session-id", b"x"),
        ]
        headers += [(b"content-encoding", b"gzip")] if misdeed == "gzip" else []
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        for _ in range(40 if misdeed == "drip" else 0):
            await send({"type": "http.response.body", "body": b" ", "more_body": True})
            await asyncio.sleep(0.1)
        body = bomb if misdeed == "gzip" else b'{"result": "' + b"x" * (20_000_000 if misdeed == "huge" else 5) + b'"}'
        await send({"type": "http.response.body", "body": body})

    async with over_http(app) as web:
        sessions = Sessions({}, outbound=Outbound(allow_private=True), connect_seconds_max=1.5)
        definition = Bench(Path("unused")).definition(config=None, server=None, url=f"{web.url}/mcp")
        begun = asyncio.get_running_loop().time()
        with pytest.raises(Failure) as failed:
            await sessions.list(definition, {})
        assert (failed.value.code, asyncio.get_running_loop().time() - begun < 5) == (code, True), failed.value.message
        await sessions.close()
