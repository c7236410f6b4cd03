"""A run that produces what cannot be stored fails with a typed error, and no other run of the node notices."""

import asyncio
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from stoa.gateway import Capabilities, Finish, ModelError, TextDelta, Usage
from stoa.tools import ToolResult
from tests.conftest import serving
from tests.support.doubles import ScriptedModel, ScriptedTool, ScriptedToolbox, answer, calling

DEEP = '{"a":' * 300 + "1" + "}" * 300


async def test_sixty_neighbours_of_twelve_poisoned_runs(dsn: str, tmp_path: Path) -> None:
    """The poison is the error code of a tool's result, which nothing on the way makes storable: JSON refuses one kind,
    jsonb the other."""

    class Model(ScriptedModel):
        """Poisoned runs call the tool, the others speak; each in as many pieces as it takes to share ticks with all."""

        def _say(self, _: Any) -> Any:
            request = self.requests[-1]
            poisoned = "poison" in str(request.messages[0].parts)
            words = [[TextDelta(f"word {number} ")] for number in range(30)]
            gaps: list[Any] = [step for word in words for step in (word, Pause())]
            end = calling(("poison", "{}")) if poisoned else [[Usage(1, 30), Finish("stop")]]
            return super()._say([*gaps, *end])

    class Pause(asyncio.Event):
        async def wait(self) -> Any:
            await asyncio.sleep(0.005)

    tool = ScriptedTool("poison", [ToolResult("no", "\ud800")] * 6 + [ToolResult("no", "\0")])
    model = Model([answer("unused")], Capabilities(images=False, tools=True, context_tokens=8_000))
    async with serving(dsn, tmp_path, model, toolbox=ScriptedToolbox(tool), runs_max=200) as server:

        async def one(text: str) -> Any:
            conversation = await server.conversation(agent={"tools": ["poison"]})
            return await server.ask(conversation, text)

        async with asyncio.timeout(60):
            runs = await asyncio.gather(*(one("poison" if number % 6 == 5 else "hi") for number in range(72)))
        found = Counter((run["status"], (run.get("error") or {}).get("code"), run["attempt"]) for run in runs)
        assert found == {("completed", None, 1): 60, ("failed", "output_unstorable", 1): 12}
        assert len(model.requests) == 72, "no model was asked twice"
        assert len(tool.made) == 12
        assert (await server.call("GET", "/v1/doctor"))["data"]["healthy"]


@pytest.mark.parametrize(
    ("script", "status", "output"),
    [
        (
            [[TextDelta("half \ud83d")], [TextDelta("and NUL \0 é\0")], [Usage(1, 1), Finish("stop")]],
            "completed",
            "half \ufffdand NUL \ufffd é\ufffd",
        ),
        ([[TextDelta("Hi")], [Usage(10**30, -5), Finish("stop")]], "completed", "Hi"),
    ],
)
async def test_what_a_model_says_is_made_storable(
    dsn: str, tmp_path: Path, script: Any, status: str, output: str
) -> None:
    async with serving(dsn, tmp_path, ScriptedModel([script])) as server:
        run = await server.ask(await server.conversation())
        assert (run["status"], run["output"]) == (status, output)
        assert (await server.call("GET", "/v1/doctor"))["data"]["healthy"]


@pytest.mark.parametrize("message", ["half \ud83d", "NUL \0", "{" * 10_000])
async def test_an_error_that_cannot_be_stored_ends_the_run_all_the_same(dsn: str, tmp_path: Path, message: str) -> None:
    script = [[TextDelta("Hi")], ModelError("model_error", message, retryable=False)]
    async with serving(dsn, tmp_path, ScriptedModel([script])) as server:
        run = await server.ask(await server.conversation())
        assert (run["status"], run["error"]["code"], run["output"], run["attempt"]) == (
            "failed",
            "model_error",
            "Hi",
            1,
        )
        assert (await server.call("GET", "/v1/doctor"))["data"]["healthy"]


@pytest.mark.parametrize("arguments", [DEEP, '{"a": 1e999}', '{"a": "\\ud800"}', "[1]", '{"a": "\\u0000"}'])
async def test_arguments_that_cannot_be_stored_are_refused_to_the_model(
    dsn: str, tmp_path: Path, arguments: str
) -> None:
    tool = ScriptedTool("look", [ToolResult("a\0b\ud800")])
    model = ScriptedModel([calling(("look", arguments)), answer("Done.")], Capabilities(images=False, tools=True))
    async with serving(dsn, tmp_path, model, toolbox=ScriptedToolbox(tool)) as server:
        run = await server.ask(await server.conversation(agent={"tools": ["look"]}))
        assert (run["status"], run["output"]) == ("completed", "Done.")
        storable = arguments.endswith('u0000"}')
        assert len(tool.made) == int(storable)
        assert (await server.call("GET", "/v1/doctor"))["data"]["healthy"]
        await server.ask(run["conversation_id"], "Go on")
