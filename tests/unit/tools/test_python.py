"""Python tools of an installed package: found by entry point, called with checked arguments, their failures told."""

import asyncio
import threading
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

import pytest

from stoa.kernel.schema_checker import SchemaChecker
from stoa.outbound import Outbound
from stoa.tools import Call, Definition, ToolFactory, ToolKind
from stoa.tools.providers.python import BusyThreads, Threads

MODULE = '''
import asyncio

def add(a: int, b: int = 1) -> int:
    """Adds two numbers."""
    return a + b

async def hang() -> str:
    await asyncio.sleep(60)

def broken(text: str) -> str:
    raise RuntimeError("no " + text)

def wordy() -> str:
    return "x" * 2_000

def leaves() -> str:
    raise SystemExit(1)

def odd() -> str:
    return "half \\ud800 a pair"
'''
CALL = Call(UUID(int=1), UUID(int=2), UUID(int=3), "key")


@pytest.fixture
def suppliers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ToolFactory:
    """An installed package with four tools, and one whose module is missing."""
    (tmp_path / "stoa_sample_tools.py").write_text(MODULE)
    info = tmp_path / "stoa_sample_tools-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: stoa-sample-tools\nVersion: 1.0\n")
    names = "".join(
        f"{name} = stoa_sample_tools:{name}\n" for name in ("add", "hang", "broken", "wordy", "leaves", "odd")
    )
    (info / "entry_points.txt").write_text(f"[stoa.tools]\n{names}gone = no_such_module:x\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    return ToolFactory(schemas=SchemaChecker(), outbound=Outbound())


def definition(name: str) -> Definition:
    now = datetime.now(UTC)
    return Definition(
        UUID(int=1),
        UUID(int=2),
        name,
        ToolKind.PYTHON,
        "About.",
        {"entry_point": name},
        (),
        idempotent=False,
        approval=False,
        editable_params=(),
        timeout_seconds=0.2,
        output_bytes_max=1_000,
        created_at=now,
        updated_at=now,
    )


async def test_python_tools(suppliers: ToolFactory) -> None:
    assert sorted(suppliers.callables()) == ["add", "broken", "hang", "leaves", "odd", "wordy"]
    add, hang, broken, wordy, leaves, odd = (
        suppliers(definition(name), {})[0] for name in ("add", "hang", "broken", "wordy", "leaves", "odd")
    )
    assert add.parameters["properties"]["a"]["type"] == "integer"
    assert add.parameters["required"] == ["a"]
    assert (await add.call({"a": 2}, CALL)).text == "3"
    assert (await add.call({"c": 2}, CALL)).code == "tool_bad_arguments"
    assert (await add.call({"a": "two"}, CALL)).code == "tool_bad_arguments"
    assert (await hang.call({}, CALL)).code == "tool_timeout"
    failed = await broken.call({"text": "luck"}, CALL)
    assert (failed.code, "RuntimeError: no luck" in failed.text) == ("tool_failed", True)
    assert (await wordy.call({}, CALL)).text == "x" * 1_000 + "\n[Cut here: the answer is longer than 1000 bytes.]"
    assert (await leaves.call({}, CALL)).code == "tool_failed", "a tool that calls exit() ends its call alone"
    assert (await odd.call({}, CALL)).text == "half ? a pair"
    assert list(suppliers(definition("missing"), {})) == []


async def test_threads_that_hang_are_bounded_and_take_nobody_elses() -> None:
    gate = threading.Event()
    threads = Threads(2)
    stuck = [asyncio.create_task(threads.run(gate.wait, {})) for _ in range(2)]
    await asyncio.sleep(0)
    with pytest.raises(BusyThreads):
        await threads.run(int, {})
    stuck[0].cancel()  # Its thread goes on.
    with pytest.raises(BusyThreads):
        await threads.run(int, {})
    assert await asyncio.to_thread(int) == 0
    gate.set()
    assert await stuck[1] is True
    assert await threads.run(int, {}) == 0
