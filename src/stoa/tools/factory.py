"""Builds tools from definitions: one HTTP client, the installed Python tools, and the sessions with MCP servers."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

from stoa.kernel.schema_checker import SchemaChecker
from stoa.outbound import Outbound
from stoa.tools import rules
from stoa.tools.providers.mcp.failures import Failure
from stoa.tools.providers.mcp.sessions import Sessions
from stoa.tools.providers.mcp.tool import McpTool
from stoa.tools.providers.python import PythonTool, Threads, registered
from stoa.tools.types import Definition, Listing, Program, Tool, ToolKind, Unlisted

if TYPE_CHECKING:
    import aiohttp

FETCH_SECONDS_MAX: Final = 20.0
DOCUMENT_BYTES_MAX: Final = 8_000_000


class ToolFactory:
    """Long-lived; `close` ends its connections, sessions and their programs."""

    def __init__(self, *, outbound: Outbound, schemas: SchemaChecker, programs: Sequence[Program] = ()) -> None:
        self._check = schemas.argument_problem
        self._outbound = outbound
        self._session: aiohttp.ClientSession | None = None
        self._threads = Threads()
        self._mcp = Sessions({program.name: program for program in programs}, outbound=outbound)

    async def close(self) -> None:
        await self._mcp.close()
        if self._session is not None:
            await self._session.close()

    @cached_property
    def _callables(self) -> Mapping[str, Callable[..., Any]]:
        return registered()

    def callables(self) -> Sequence[str]:
        return list(self._callables)

    def servers(self, project_id: UUID) -> Sequence[str]:
        return self._mcp.programs_of(project_id)

    def outdated(self, definition_id: UUID) -> bool:
        return self._mcp.outdated(definition_id)

    def __call__(self, definition: Definition, secrets: Mapping[str, str]) -> Sequence[Tool]:
        if definition.type is ToolKind.HTTP:
            from stoa.tools.providers.http import HttpTool  # noqa: PLC0415 — the server starts without aiohttp

            return [HttpTool(definition, secrets, self._client(), self._outbound, self._check)]
        if definition.type is ToolKind.MCP:
            wanted = definition.config.get("tools")
            offers = [offer for offer in definition.offers or () if wanted is None or offer.name in wanted]
            return [McpTool(definition, offer, secrets, self._mcp, self._check) for offer in offers]
        function = self._callables.get(definition.config["entry_point"])
        return [PythonTool(definition, function, self._threads, self._check)] if function is not None else []

    async def list_offers(self, definition: Definition, secrets: Mapping[str, str]) -> Listing:
        try:
            return await self._mcp.list(definition, secrets)
        except Failure as failure:
            raise Unlisted(failure.message) from failure

    async def fetch(self, url: str, ca_bundle: str | None = None) -> str:
        """Raises Unlisted. The sentence continues after the field's name."""
        if problem := rules.url_problem(url):
            raise Unlisted(problem)
        import aiohttp  # noqa: PLC0415 — the server starts without it

        from stoa.outbound.client import BodyError, read_bounded  # noqa: PLC0415
        from stoa.outbound.describing import failure  # noqa: PLC0415

        try:
            tls = (await self._outbound.trusting(ca_bundle)).tls()
            async with (
                asyncio.timeout(FETCH_SECONDS_MAX),
                self._client().get(url, allow_redirects=False, ssl=tls) as response,
            ):
                if response.status != 200:
                    raise Unlisted(f"answered {response.status} instead of a document; redirects are not followed")
                content = await read_bounded(response, DOCUMENT_BYTES_MAX)
        except TimeoutError as error:
            raise Unlisted(f"did not answer within {FETCH_SECONDS_MAX:g} seconds") from error
        except BodyError as error:
            raise Unlisted(f"cannot be read: its answer {error}") from error
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise Unlisted(f"cannot be read: {failure(error, url).rstrip('.')}") from error
        if len(content) > DOCUMENT_BYTES_MAX:
            raise Unlisted(f"answered with more than {DOCUMENT_BYTES_MAX} bytes")
        return content.decode("utf-8", "replace")

    def _client(self) -> "aiohttp.ClientSession":
        from stoa.outbound.client import client  # noqa: PLC0415 — the server starts without aiohttp

        if self._session is None:
            self._session = client(self._outbound)
        return self._session
