"""Local copies: bounded, gone with their context, and gone after a crash."""

import asyncio
import multiprocessing
from pathlib import Path

from stoa.storage import Copies


def die_with_a_copy(root: Path) -> None:
    import os  # noqa: PLC0415

    async def hold() -> None:
        async with Copies(root).hold(1) as path:
            path.write_bytes(b"secret")
            os._exit(9)

    asyncio.run(hold())


def files(root: Path) -> list[Path]:
    return [path for path in root.rglob("*") if path.is_file() and path.name != "lock"]


async def test_copies_wait_for_free_space(tmp_path: Path) -> None:
    copies = Copies(tmp_path, bytes_max=10)
    large, small = asyncio.Event(), asyncio.Event()

    async def hold(size: int, held: asyncio.Event, until: asyncio.Event) -> None:
        async with copies.hold(size):
            held.set()
            await until.wait()

    ends = [asyncio.Event() for _ in range(3)]
    async with asyncio.timeout(10), asyncio.TaskGroup() as group:
        first = asyncio.Event()
        group.create_task(hold(8, first, ends[0]))
        await first.wait()
        group.create_task(hold(100, large, ends[1]))  # Larger than all the room: alone.
        second = asyncio.Event()
        group.create_task(hold(2, second, ends[2]))
        await second.wait()
        assert not large.is_set()
        ends[0].set()
        ends[2].set()
        await large.wait()
        group.create_task(hold(1, small, ends[2]))
        await asyncio.sleep(0)
        assert not small.is_set()
        ends[1].set()
        await small.wait()
    assert files(tmp_path) == []
    copies.close()
    assert list(tmp_path.iterdir()) == []


async def test_what_a_dead_process_left_goes_and_a_living_ones_stays(tmp_path: Path) -> None:
    dying = multiprocessing.get_context("spawn").Process(target=die_with_a_copy, args=(tmp_path,))
    dying.start()
    await asyncio.to_thread(dying.join, 60)
    assert len(files(tmp_path)) == 1
    living = Copies(tmp_path)
    async with living.hold(1) as path:
        Copies(tmp_path).clear()
        assert files(tmp_path) == [path]
    living.close()
