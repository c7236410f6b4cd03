"""Tools that are Python callables, registered by packages of the operator's under the entry point group `stoa.tools`.

A callable takes keyword arguments and gives a string, or anything that JSON holds; its signature becomes the parameters.
It may be `async`; a plain one runs in a thread, which a timeout leaves behind: it should keep a timeout of its own.
"""

import asyncio
import inspect
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import entry_points
from typing import Any, Final

import orjson
from pydantic import TypeAdapter

from stoa.kernel.schemas import value_problem
from stoa.tools.types import Call, Definition, ToolKind, ToolResult

GROUP: Final = "stoa.tools"


def registered() -> Mapping[str, Callable[..., Any]]:
    """The callables by name; a package that cannot be imported is left out."""
    found: dict[str, Callable[..., Any]] = {}
    for point in entry_points(group=GROUP):
        try:
            found[point.name] = point.load()
        except ImportError:
            continue
    return found


class PythonTool:
    kind = ToolKind.PYTHON

    def __init__(self, definition: Definition, function: Callable[..., Any]) -> None:
        self._definition = definition
        self._function = function
        schema = TypeAdapter[Any](function).json_schema()  # pyright: ignore[reportArgumentType] — it takes callables too
        self.name = definition.name
        self.description = definition.description or inspect.getdoc(function) or definition.name
        self.parameters: Mapping[str, Any] = schema if schema.get("type") == "object" else {"type": "object"}
        self.idempotent = definition.idempotent
        self.approval = definition.approval
        self.editable_params: Sequence[str] = definition.editable_params

    async def call(self, arguments: Mapping[str, Any], call: Call) -> ToolResult:  # noqa: ARG002 — the port's shape
        if problem := value_problem(dict(arguments), self.parameters):
            return ToolResult(f"The arguments do not fit: {problem}", "tool_bad_arguments")
        try:
            async with asyncio.timeout(self._definition.timeout_seconds):
                if inspect.iscoroutinefunction(self._function):
                    given = await self._function(**arguments)
                else:
                    given = await asyncio.to_thread(self._function, **arguments)
        except TimeoutError:
            return ToolResult(f"No answer came within {self._definition.timeout_seconds:g} seconds.", "tool_timeout")
        except Exception as error:  # noqa: BLE001 — somebody else's code: what it raises is an outcome, told to the model
            return ToolResult(f"The tool failed: {type(error).__name__}: {str(error)[:500]}", "tool_failed")
        text = given if isinstance(given, str) else orjson.dumps(given, default=str, option=orjson.OPT_NON_STR_KEYS).decode()
        if len(text.encode()) > self._definition.output_bytes_max:
            return ToolResult(f"The answer is over {self._definition.output_bytes_max} bytes.", "tool_output_too_large")
        return ToolResult(text.replace("\0", "\ufffd"))
