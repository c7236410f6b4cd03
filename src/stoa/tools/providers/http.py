"""Tools that are HTTP endpoints."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, Final
from urllib.parse import urlsplit

import aiohttp

from stoa.kernel.schemas import value_problem
from stoa.outbound import AddressRefused, literal, public
from stoa.tools import rules
from stoa.tools.types import Call, Definition, ToolKind, ToolResult

_READ_BYTES: Final = 64 * 1024
_ERROR_CHARACTERS_MAX: Final = 2_000
_REFUSED: Final = ToolResult("The address is private, which this server's operator has not allowed (STOA_ALLOW_PRIVATE_ADDRESSES).", "tool_address_refused")


class HttpTool:
    """One endpoint. Arguments fill the URL's placeholders; the others go into the query (GET, DELETE) or a JSON body."""

    kind = ToolKind.HTTP

    def __init__(self, definition: Definition, secrets: Mapping[str, str], session: aiohttp.ClientSession, *, allow_private: bool) -> None:
        self._definition = definition
        self._secrets = secrets
        self._session = session
        self._allow_private = allow_private
        self.name = definition.name
        self.description = definition.description
        self.parameters: Mapping[str, Any] = definition.config["parameters"]
        self.idempotent = definition.idempotent
        self.approval = definition.approval
        self.editable_params: Sequence[str] = definition.editable_params

    async def call(self, arguments: Mapping[str, Any], call: Call) -> ToolResult:
        if problem := value_problem(dict(arguments), self.parameters):
            return ToolResult(f"The arguments do not fit: {problem}", "tool_bad_arguments")
        url, rest = rules.filled(self._definition.config["url"], arguments)
        host = urlsplit(url).hostname or ""
        if literal(host) and not self._allow_private and not public(host):
            return _REFUSED
        try:
            async with asyncio.timeout(self._definition.timeout_seconds):
                return self._clean(await self._exchange(url, rest, call))
        except TimeoutError:
            return ToolResult(f"No answer came within {self._definition.timeout_seconds:g} seconds.", "tool_timeout")
        except aiohttp.ClientConnectorDNSError as error:
            return _REFUSED if isinstance(error.os_error, AddressRefused) else ToolResult(f"The host {host} cannot be resolved.", "tool_unreachable")
        except (aiohttp.ClientError, OSError, ValueError) as error:
            if isinstance(error, AddressRefused) or isinstance(error.__cause__, AddressRefused):
                return _REFUSED
            return ToolResult(f"{host} cannot be reached: {type(error).__name__}.", "tool_unreachable")

    async def _exchange(self, url: str, rest: Mapping[str, Any], call: Call) -> ToolResult:
        config, method = self._definition.config, self._definition.config["method"]
        headers = {name: rules.revealed(value, self._secrets) for name, value in config.get("headers", {}).items()}
        query = [(name, rules.revealed(value, self._secrets)) for name, value in config.get("query", {}).items()]
        body: dict[str, Any] = {}
        if method in ("GET", "DELETE"):
            query += rules.as_query(rest)
        else:
            body["json"] = rest
        if method != "GET":
            headers["Idempotency-Key"] = call.key
        async with self._session.request(method, url, headers=headers, params=query, allow_redirects=False, **body) as response:
            content = await self._bounded(response)
        if content is None:
            return ToolResult(f"The answer is over {self._definition.output_bytes_max} bytes.", "tool_output_too_large")
        text = content.decode(response.get_encoding() if response.charset else "utf-8", "replace").replace("\0", "\ufffd")
        if response.status < 300:
            return ToolResult(text)
        if response.status < 400:
            return ToolResult(f"The service answered {response.status}: it wants the call elsewhere, and redirects are not followed.", "tool_refused")
        code = "tool_refused" if response.status < 500 else "tool_failed"
        return ToolResult(f"The service answered {response.status}: {text[:_ERROR_CHARACTERS_MAX]}", code)

    async def _bounded(self, response: aiohttp.ClientResponse) -> bytes | None:
        content = b""
        while chunk := await response.content.read(_READ_BYTES):
            content += chunk
            if len(content) > self._definition.output_bytes_max:
                return None
        return content

    def _clean(self, result: ToolResult) -> ToolResult:
        """A service that repeats a secret to us does not repeat it to the model."""
        text = result.text
        for secret in self._secrets.values():
            if len(secret) >= 4:
                text = text.replace(secret, "[secret]")
        return ToolResult(text, result.code)
