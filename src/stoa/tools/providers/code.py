"""Python code of a flow as a tool: each call runs in the operator's sandbox."""

from collections.abc import Mapping, Sequence
from typing import Any, Final, cast

import orjson

from stoa.tools import rules
from stoa.tools.sandbox import Code, Ended, Sandbox, SandboxError
from stoa.tools.types import Call, ToolKind, ToolResult

OUTPUT_BYTES_MAX: Final = 65_536
"""Of what an agent reads."""


class CodeTool:
    """`sandbox` None: the operator does not allow code (any more). `whole`: the result is the complete return value, as
    JSON with `content`; otherwise the text for an agent."""

    kind = ToolKind.PYTHON
    approval = False
    editable_params: Sequence[str] = ()
    parameters: Mapping[str, Any] = {"type": "object", "properties": {}, "additionalProperties": True}

    def __init__(
        self,
        name: str,
        description: str,
        code: Code,
        sandbox: Sandbox | None,
        *,
        whole: bool = False,
        seconds: float,
    ) -> None:
        self.name = name
        self.description = description
        self.idempotent = sandbox is not None and sandbox.closed
        self._code = code
        self._sandbox = sandbox
        self._whole = whole
        self._seconds = seconds

    async def call(self, arguments: Mapping[str, Any], call: Call) -> ToolResult:
        if self._sandbox is None:
            return ToolResult("This server runs no Python code: its operator has set no sandbox.", "tool_unavailable")
        try:
            outcome = await self._sandbox.run(call.project_id, self._code, arguments, self._seconds)
        except SandboxError as error:
            return ToolResult(str(error), "tool_unavailable")
        if isinstance(outcome, Ended):
            return ToolResult(outcome.message, "tool_timeout" if outcome.timed_out else "tool_failed")
        given = with_content(outcome.result)
        if self._whole:
            return ToolResult(orjson.dumps(given).decode())
        said = given["content"] if len(given) == 1 else given
        return ToolResult(
            rules.limited(said if isinstance(said, str) else orjson.dumps(said).decode(), OUTPUT_BYTES_MAX)
        )


def with_content(result: Any) -> Mapping[str, Any]:
    """A result in the platform's form: an object with `content` unchanged, anything else as `content`."""
    if isinstance(result, dict) and "content" in result:
        return cast("Mapping[str, Any]", result)
    return {"content": result}
