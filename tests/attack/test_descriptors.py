"""A node that may open few files, and clients that take what they can get."""

import asyncio
import resource
from pathlib import Path

from tests.support.nodes import Node, script, started
from tests.support.scripted_model import ScriptedServer

DESCRIPTORS = 256
"""As `ulimit -n 256`."""
CONNECTIONS = 300
RUNS = 80
SPARE = 24
"""What the node itself may open meanwhile: files, the database."""


async def _until_refused(node: Node, held: list[asyncio.StreamWriter]) -> int:
    """Opens idle connections; gives how many were answered 503 and closed."""
    opened = [await asyncio.open_connection("127.0.0.1", node.port) for _ in range(CONNECTIONS)]
    held += [writer for _, writer in opened]

    async def refused(reader: asyncio.StreamReader) -> bool:
        try:
            answer = await asyncio.wait_for(reader.read(200), 1)
        except TimeoutError:
            return False
        except ConnectionError:
            return True
        assert answer == b"" or answer.startswith(b"HTTP/1.1 503"), answer
        return True

    return sum(await asyncio.gather(*(refused(reader) for reader, _ in opened)))


async def _let_in_again(node: Node) -> None:
    """The node closes what its clients have left; then others come in again."""
    async with asyncio.timeout(10), node.client() as other:
        while (await other.get("/v1/projects")).status_code != 200:
            await asyncio.sleep(0.05)


async def test_the_last_descriptors_are_kept(dsn: str, tmp_path: Path) -> None:
    """Clients cannot take those that calls of models need, nor both together those of the database and the journal:
    the node stays ready, answers whom it has, and is itself again when they are gone."""
    held: list[asyncio.StreamWriter] = []
    async with (
        ScriptedServer() as upstream,
        started([dsn], tmp_path / "nodes", upstream.url) as (node,),
        node.client() as early,
    ):
        pid = node.process.pid
        conversations = await asyncio.gather(*(node.conversation() for _ in range(RUNS)))
        assert (await early.get("/ready")).status_code == 200
        hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)[1]
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (DESCRIPTORS, hard))
        try:
            assert await _until_refused(node, held) > CONNECTIONS // 2
            slow = {"content": script(pieces=["a "], stall=1), "background": True}
            sent = [await early.post(f"/v3/conversations/{one}/messages", json=slow) for one in conversations]
            assert {answer.status_code for answer in sent} == {202}, [one.text for one in sent if one.is_error][:2]
            used = [int(one.name) for one in Path(f"/proc/{pid}/fd").iterdir()]
            assert len(used) > DESCRIPTORS // 2, "clients and calls of models together"
            assert max(used) < DESCRIPTORS * 3 // 4 + SPARE, "and none of the last"
            assert (await early.get("/ready")).status_code == 200
        finally:
            for writer in held:
                writer.transport.abort()
        await _let_in_again(node)
        assert (await early.get("/ready")).status_code == 200
        logged = node.log.read_text()
        assert "Too many open files" not in logged
        assert '"event": "bug"' not in logged
