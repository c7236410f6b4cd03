"""Checks values against tenants' schemas within a time limit: in this process if the shape of the schema shows that the
check is quick, else in a process that is killed at the timeout."""

import asyncio
from collections.abc import Mapping
from typing import Any, Final

import orjson

from stoa.kernel import confined, schema_costs, schemas

SECONDS_MAX: Final = 2.0
"""For one check. The first one includes the start of the process."""
PROCESSES_MAX: Final = 2
"""Concurrent checks: two slow checks delay a third one, and nothing else."""
WAIT_SECONDS_MAX: Final = 10.0
VALUE_BYTES_MAX: Final = 16 * 1024 * 1024
ANSWER_BYTES_MAX: Final = 64 * 1024
_TOO_LONG: Final = "cannot be checked: its schema takes too long, or too much memory"


class SchemaChecker:
    """Long-lived; `close` ends its processes. They are started at first use."""

    def __init__(self) -> None:
        self._idle: list[asyncio.subprocess.Process] = []
        self._places = asyncio.Semaphore(PROCESSES_MAX)
        self._closed = False

    async def close(self) -> None:
        self._closed = True
        while self._idle:
            await confined.end(self._idle.pop())

    async def schema_problem(self, schema: Mapping[str, Any]) -> str | None:
        """Why the schema cannot be used, as a phrase that follows its name; None if it can."""
        try:
            size = len(orjson.dumps(schema))
        except (TypeError, ValueError):
            return "is no usable JSON schema: it is nested too deeply, or holds what JSON cannot"
        if size > schema_costs.BYTES_MAX:
            return f"is larger than {schema_costs.BYTES_MAX // 1024} KiB"
        cost = schema_costs.cost(schema)
        if cost.problem is not None:
            return f"is no usable JSON schema: it {cost.problem}"
        if cost.cheap(1):
            return schemas.schema_problem(schema)
        answer = await self._ask({"schema": schema})
        return f"is no usable JSON schema: it {_TOO_LONG}" if answer is None else answer["problem"]

    async def output_problem(self, text: str, schema: Mapping[str, Any]) -> str | None:
        """Where and why a text does not match the schema; None if it does."""
        try:
            value = orjson.loads(schemas.unfenced(text))
        except orjson.JSONDecodeError as error:
            return f"$ is no JSON ({error.msg} at character {error.pos})"
        return await self.value_problem(value, schema)

    async def argument_problem(self, arguments: Mapping[str, Any], parameters: Mapping[str, Any]) -> str | None:
        """Why a tool's arguments do not match. If the schema cannot be used (an MCP server's), the called server has to
        check them."""
        if await self.schema_problem(parameters) is not None:
            return None
        return await self.value_problem(dict(arguments), parameters)

    async def value_problem(self, value: Any, schema: Mapping[str, Any]) -> str | None:
        """The same for a value: `$.items[2].price "x" is not of type "number"`."""
        cost = schema_costs.cost(schema)
        if cost.problem is not None:
            return f"$ cannot be checked: the schema {cost.problem}"
        if cost.cheap(schema_costs.nodes(value)):
            return schemas.value_problem(value, schema)
        answer = await self._ask({"schema": schema, "value": value})
        return f"$ {_TOO_LONG}" if answer is None else answer["problem"]

    async def _ask(self, question: Mapping[str, Any]) -> Any:
        """The answer; None when it took too long or the process died of it."""
        try:
            line = orjson.dumps(question) + b"\n"
        except (TypeError, ValueError):  # Nested deeper than JSON is read here, or a number beyond 64 bits.
            return None
        if len(line) > VALUE_BYTES_MAX:
            return None
        try:
            async with asyncio.timeout(WAIT_SECONDS_MAX), self._places:
                return await self._answer(line)
        except TimeoutError:
            return None

    async def _answer(self, line: bytes) -> Any:
        process = (
            self._idle.pop() if self._idle else await confined.start("stoa.kernel.schema_process", ANSWER_BYTES_MAX)
        )
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            async with asyncio.timeout(SECONDS_MAX):
                process.stdin.write(line)
                await process.stdin.drain()
                answer = orjson.loads(await process.stdout.readline())
        except (TimeoutError, OSError, ValueError):
            await confined.end(process)
            return None
        except BaseException:
            await confined.end(process)
            raise
        if self._closed:
            await confined.end(process)
        else:
            self._idle.append(process)
        return answer
