"""A tool of an MCP server's, as an agent calls it."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from stoa.tools import rules
from stoa.tools.providers.mcp.failures import Failure
from stoa.tools.providers.mcp.sessions import Sessions
from stoa.tools.types import Call, CheckArguments, Definition, Offer, ToolKind, ToolResult


class McpTool:
    kind = ToolKind.MCP

    def __init__(
        self,
        definition: Definition,
        offer: Offer,
        secrets: Mapping[str, str],
        sessions: Sessions,
        check: CheckArguments,
    ) -> None:
        self._check = check
        self._definition = definition
        self._offer = offer
        self._secrets = secrets
        self._sessions = sessions
        self.name = rules.offered_name(definition.name, offer.name)
        self.description = offer.description or definition.description
        self.parameters: Mapping[str, Any] = offer.parameters
        self.idempotent = rules.repeatable(offer, definition.idempotent)
        self.approval = definition.approval
        self.editable_params: Sequence[str] = definition.editable_params

    async def call(self, arguments: Mapping[str, Any], call: Call) -> ToolResult:
        if problem := await self._check(arguments, self.parameters):
            return ToolResult(f"The arguments do not fit: {problem}", "tool_bad_arguments")
        try:
            async with asyncio.timeout(self._definition.timeout_seconds):
                result = await self._sessions.call(
                    self._definition, self._secrets, self._offer.name, arguments, call.key
                )
        except TimeoutError:
            self._sessions.suspect(self._definition)
            return ToolResult(f"No answer came within {self._definition.timeout_seconds:g} seconds.", "tool_timeout")
        except Failure as failure:
            result = ToolResult(failure.message, failure.code)
        text = rules.without_secrets(result.text, {**self._secrets, **self._sessions.environment(self._definition)})
        return ToolResult(rules.limited(text, self._definition.output_bytes_max), result.code)
