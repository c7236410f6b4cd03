"""A server process under attack, and the invariants that must hold meanwhile."""

import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from tests.support.nodes import KEY, Node
from tests.support.witness import Witness

STREAM_SECONDS = 0.05
"""The interval between two pieces of the other client's stream."""


class Target:
    """The server under attack. `undisturbed` proves what must hold during an attack."""

    def __init__(self, node: Node) -> None:
        self.node = node
        self.key = KEY

    @property
    def port(self) -> int:
        return self.node.port

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection("127.0.0.1", self.port)

    async def exchange(self, request: bytes, seconds_max: float = 10) -> bytes:
        """The server's answer to these bytes, until it closes or pauses after an answer."""
        reader, writer = await self.connect()
        answer = bytearray()
        try:
            writer.write(request)
            async with asyncio.timeout(seconds_max):
                while data := await reader.read(65536):
                    answer += data
        except (ConnectionError, TimeoutError):
            pass
        finally:
            writer.close()
        return bytes(answer)

    def log_lines(self) -> list[dict[str, object]]:
        lines = self.node.log.read_text().splitlines() if self.node.log.exists() else []
        return [json.loads(line) for line in lines if line.startswith("{")]

    @asynccontextmanager
    async def undisturbed(self) -> AsyncGenerator[None]:
        """During the block: /health answers, another client's stream loses nothing, memory stays bounded; afterwards
        the log has no bug."""
        conversation = await self.node.conversation()
        pieces = [f"word{number} " for number in range(40)]
        script = json.dumps({"pieces": pieces, "delay": STREAM_SECONDS})
        async with self.node.client() as other:
            streaming = asyncio.create_task(_stream(other, conversation, f"[[script {script}]]"))
            async with Witness(self.port, self.node.process.pid) as witness:
                yield
            text = await asyncio.wait_for(streaming, 60)
        assert text == "".join(pieces), "the other client's stream is whole"
        witness.judge()
        assert self.node.process.is_alive()
        bugs = [line for line in self.log_lines() if line.get("event") == "bug" or "Traceback" in str(line)]
        assert not bugs, bugs[:3]


async def _stream(client: object, conversation: str, content: str) -> str:
    text, ended = [], False
    async with client.stream(  # type: ignore[attr-defined]
        "POST", f"/v3/conversations/{conversation}/messages", json={"content": content}, timeout=60
    ) as response:
        assert response.status_code == 200
        async for line in response.aiter_lines():
            if line.startswith("data:"):
                event = json.loads(line.removeprefix("data:"))
                if event["type"] == "agent.response.delta":
                    text.append(event["data"]["delta"])
                ended = ended or event["type"] == "run.completed"
    assert ended
    return "".join(text)
